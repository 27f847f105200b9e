"""Keeps the passwords that `mdb dev` made, so that the next start prints the same URIs.

The one place where a password lies readable on a disk: a file of mode 0600 in the folder of a
development server that listens on this machine only.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class Keepsake:
    """What an app's client needs to log in."""

    name: str
    password: str = field(repr=False)


def read_keepsakes(path: Path) -> dict[str, Keepsake]:
    """Give the keepsakes by slug; an absent or damaged file holds none."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {slug: Keepsake(row["name"], row["password"]) for slug, row in rows.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_keepsakes(path: Path, keepsakes: Mapping[str, Keepsake]) -> None:
    """Replace the file in one step; no other user can read it at any moment."""
    rows = {
        slug: {"name": kept.name, "password": kept.password}
        for slug, kept in sorted(keepsakes.items())
    }
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
