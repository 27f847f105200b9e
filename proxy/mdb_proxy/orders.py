"""What the supervisor tells a worker at its start, and what the worker tells of itself: one line.

The order comes through the worker's stdin, so that no secret stands in an argument or a variable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mdb_engine.manifest import Manifest

READY = "ready"
DRAINED = "drained"


def packed(manifests: Mapping[str, Manifest]) -> list[str]:
    """Manifests as texts."""
    return [m.model_dump_json(by_alias=True, exclude_unset=True) for m in manifests.values()]


def unpacked(texts: list[str]) -> dict[str, Manifest]:
    """Manifests from such texts: they were checked before."""
    found = (Manifest.model_validate_json(text) for text in texts)
    return {manifest.slug: manifest for manifest in found}


@dataclass(frozen=True, slots=True)
class Order:
    """How one worker is to serve.

    Attributes:
        number: from 1. workers: how many there are. folder: of the sockets.
        mongo_uri: holds a password. manifests, entrances: packed. bounds: a worker's part.
        listeners: as JSON. handed: descriptors of sockets, by the listener's number.
        registered: their slugs are in the ledger; before that no worker may read it.
    """

    number: int
    workers: int
    mongo_uri: str = field(repr=False)
    db_name: str
    listeners: list[str]
    folder: str
    log_level: str
    log_format: str
    manifests: list[str] = field(default_factory=list, repr=False)
    entrances: dict[str, Any] = field(default_factory=dict, repr=False)
    handed: dict[str, int] = field(default_factory=dict)
    bounds: dict[str, Any] = field(default_factory=dict)
    registered: bool = True

    def line(self) -> bytes:
        """The order as the worker reads it."""
        return json.dumps(asdict(self)).encode() + b"\n"

    def to(self, number: int, manifests: Mapping[str, Manifest]) -> Order:
        """The same order for a certain worker, with these manifests."""
        return replace(self, number=number, manifests=packed(manifests))


def order_in(line: bytes) -> Order:
    """The order in a line."""
    return Order(**json.loads(line))


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker says: that it is ready or drained, or why it ends (exit code, sentence)."""

    event: str
    code: int = 0
    sentence: str = ""

    def line(self) -> str:
        """The report as the supervisor reads it."""
        return json.dumps(asdict(self))


def report_in(line: bytes) -> Report:
    """The report in a line; what is none is a sentence."""
    try:
        found: Any = json.loads(line)
        return Report(**found)
    except (ValueError, TypeError):
        return Report("", sentence=line.decode(errors="replace").strip())
