"""The credentials that `mdb dev` makes: kept beside an embedded server, lent by any other."""

import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mdb_cli.keepsakes import Keepsake, read_keepsakes, write_keepsakes
from mdb_engine.credentials import SCRAM_SHA_256, Credential, derive
from mdb_engine.registry import credentials

if TYPE_CHECKING:
    from pymongo.asynchronous.database import AsyncDatabase

LENT: Final = "dev-{slug}"
PASSWORD_BYTES: Final = 18


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose logins, and where they are kept; no file: they are lent and taken back."""

    slugs: tuple[str, ...]
    kept_in: Path | None


@asynccontextmanager
async def logins(
    database: "AsyncDatabase[dict[str, Any]]", wanted: Wanted
) -> AsyncIterator[Mapping[str, Keepsake]]:
    """Give a login for every app, by slug."""
    if wanted.kept_in is not None:
        yield await _kept(database, wanted.slugs, wanted.kept_in)
        return
    lent: dict[str, Keepsake] = {}
    try:
        for slug in wanted.slugs:
            lent[slug] = await _made(database, slug, LENT.format(slug=slug), None)
        yield lent
    finally:
        for keepsake in lent.values():
            await credentials.remove(database, keepsake.name)


async def _kept(
    database: "AsyncDatabase[dict[str, Any]]", slugs: Iterable[str], path: Path
) -> dict[str, Keepsake]:
    """Give the logins of the last time; make those that are new, lost or no longer true."""
    known, stored = read_keepsakes(path), (await credentials.read_all(database)).known
    current: dict[str, Keepsake] = {}
    for slug in slugs:
        kept = known.get(slug)
        if kept is None or not opens(stored.get(kept.name), slug, kept.password):
            kept = await _made(database, slug, slug, kept.password if kept else None)
        current[slug] = kept
    if known != known | current:
        write_keepsakes(path, known | current)
    return current


def opens(credential: Credential | None, slug: str, password: str) -> bool:
    """Whether this stored credential lets the password into the app."""
    if credential is None or credential.app != slug or credential.disabled:
        return False
    keys = credential.scram.get(SCRAM_SHA_256)
    return keys is not None and derive(password, keys.salt, keys.iterations) == keys


async def _made(
    database: "AsyncDatabase[dict[str, Any]]", slug: str, name: str, password: str | None
) -> Keepsake:
    """Make a credential anew under its name."""
    await credentials.remove(database, name)
    password = password or secrets.token_urlsafe(PASSWORD_BYTES)
    credential, _ = await credentials.create(database, slug, name=name, password=password)
    return Keepsake(credential.name, password)
