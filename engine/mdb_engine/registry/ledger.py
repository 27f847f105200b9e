"""The ledger of slugs: who owns which names, for ever. Claims new slugs, confirms them, reads all.

The rules are in `claims.py`; this module reads, writes and waits.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Final

from bson import Timestamp
from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError

from mdb_engine.exceptions import InitializationError, ManifestValidationError
from mdb_engine.manifest.model import Manifest
from mdb_engine.registry.claims import (
    CLAIMED,
    LIVE,
    LedgerEntry,
    Listing,
    check_capture,
    check_folds,
    check_names,
    claim,
    from_document,
    listing,
    too_like,
)
from mdb_engine.registry.routers import behind
from mdb_engine.registry.stores import SLUGS, Database, store

SETTLE_SECONDS: Final = 5.0
"""How long every router has to learn of a claim before it counts."""
PATIENCE_SECONDS: Final = 30.0
"""How long is waited for routers that still run what they began under the new names."""

_POLL_SECONDS: Final = 0.1


def _utc_now() -> datetime:
    return datetime.now(UTC)


async def entries(database: Database) -> dict[str, LedgerEntry]:
    """Every entry by slug, claimed ones too: they own their names already."""
    found = store(database, SLUGS).find({})
    return {document["_id"]: from_document(document) async for document in found}


async def slugs(database: Database) -> frozenset[str]:
    """Every slug that was ever registered: the owners that names are resolved against."""
    return frozenset(await entries(database))


async def register(
    database: Database,
    manifests: Mapping[str, Manifest],
    *,
    wait: float = SETTLE_SECONDS,
    now: Callable[[], datetime] = _utc_now,
) -> None:
    """Enter the slugs of all manifests, whatever their status, and their home names.

    Running it again changes nothing. New slugs are claimed, then `wait` seconds pass so that
    other processes stop writing under their names, then the database is looked at once more. The
    very first registration of a database does not wait: nobody is served yet.

    Args:
        database: the physical database.
        manifests: by slug; all that this process knows.
        wait: seconds.
        now: the clock, for `first_seen`.

    Raises:
        ManifestValidationError: a slug, home name or read scope is not free. Nothing is entered.
        InitializationError: some router did not let go of the new names. Nothing is entered.
    """
    before = await entries(database)
    new = [slug for slug in manifests if slug not in before]
    found = await _look(database)
    check_folds(new, before)
    for slug in new:
        check_capture(slug, before, found)
    for manifest in manifests.values():
        check_names(manifest, {*before, *manifests}, found)
    mine = await _claim(database, [manifests[slug] for slug in new], now)
    if mine:
        await _settle(database, mine, new, wait)
    await _await_others(database, manifests, wait)
    await _add_homes(database, manifests)


async def _look(database: Database) -> Listing:
    return listing([info async for info in await database.list_collections()])


async def _claim(
    database: Database, new: list[Manifest], now: Callable[[], datetime]
) -> frozenset[str]:
    """Insert what is absent; gives the slugs that this call inserted.

    The longest come first: if the process dies in between, the slugs that are left out hold no
    names that the others would own.
    """
    if not new:
        return frozenset()
    ledger = store(database, SLUGS)
    await ledger.create_index([("fold", ASCENDING)], name="fold", unique=True)
    mine: set[str] = set()
    for manifest in sorted(new, key=lambda m: len(m.slug), reverse=True):
        try:
            await ledger.insert_one(claim(manifest, now()))
        except DuplicateKeyError:
            if await ledger.find_one({"_id": manifest.slug}) is None:
                await _withdraw(database, mine)
                raise too_like(manifest.slug) from None
        else:
            mine.add(manifest.slug)
    return frozenset(mine)


async def _settle(
    database: Database, mine: Collection[str], new: Collection[str], wait: float
) -> None:
    """Wait, look again, confirm; or take the claims back.

    Without slugs beside the `new` ones there is nobody to wait for.
    """
    known = [slug for slug in await entries(database) if slug not in new]
    try:
        if known and wait:
            await asyncio.sleep(wait)
            await _until_honoured(database, mine)
        await _confirm(database, mine, known)
    except (InitializationError, ManifestValidationError, asyncio.CancelledError):
        await _withdraw(database, mine)
        raise


async def _await_others(database: Database, manifests: Collection[str], wait: float) -> None:
    """Let whoever claimed the rest finish; finish it for a process that died."""
    pending = await _pending(database, manifests)
    for _ in range(round(wait / _POLL_SECONDS)):
        if not pending:
            return
        await asyncio.sleep(_POLL_SECONDS)
        pending = await _pending(database, manifests)
    if pending:
        if wait:
            await _until_honoured(database, pending)
        found = await entries(database)
        known = [slug for slug, entry in found.items() if entry.state == LIVE]
        await _confirm(database, pending, known)


async def _pending(database: Database, manifests: Collection[str]) -> list[str]:
    found = await entries(database)
    return [slug for slug in manifests if slug in found and found[slug].state == CLAIMED]


async def _until_honoured(database: Database, claimed: Collection[str]) -> None:
    """Wait until every living router honours the claims.

    Raises:
        InitializationError: one of them does not.
    """
    for _ in range(round(PATIENCE_SECONDS / _POLL_SECONDS)):
        if not await behind(database, claimed):
            return
        await asyncio.sleep(_POLL_SECONDS)
    msg = "another proxy has not let go of the new apps' names; try again"
    raise InitializationError(msg)


async def _confirm(database: Database, claimed: Collection[str], known: Collection[str]) -> None:
    found = await _look(database)
    for slug in claimed:
        check_capture(slug, known, found)
    since = await _operation_time(database)
    await store(database, SLUGS).update_many(
        {"_id": {"$in": sorted(claimed)}, "state": CLAIMED},
        {"$set": {"state": LIVE, "since": since}},
    )


async def _operation_time(database: Database) -> Timestamp | None:
    """The cluster's own time; a standalone has none."""
    reply = await database.command("ping")
    time = reply.get("operationTime")
    return time if isinstance(time, Timestamp) else None


async def _withdraw(database: Database, claimed: Collection[str]) -> None:
    await store(database, SLUGS).delete_many({"_id": {"$in": sorted(claimed)}, "state": CLAIMED})


async def _add_homes(database: Database, manifests: Mapping[str, Manifest]) -> None:
    """A home name that an app once had stays its alias, so names are only ever added."""
    for slug, entry in (await entries(database)).items():
        homes = manifests[slug].homes if slug in manifests else ()
        added = [name for name in homes if name not in entry.home]
        if added:
            await store(database, SLUGS).update_one(
                {"_id": slug}, {"$addToSet": {"home": {"$each": added}}}
            )
