"""Drops what nobody needs any more: temporary collections, definitions of dropped ones."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import structlog
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from mdb_engine.scope.names import TEMPORARY
from mdb_engine.scope.search_plans import SEARCH_INDEXES

SWEEP_SECONDS: Final = 900.0
"""Longer than any plan may take, so that what is seen twice belongs to no living one."""

log = structlog.get_logger("mdb_proxy.sweep")


Database = AsyncDatabase[dict[str, Any]]


async def look(database: Database, slugs: Iterable[str], seen: frozenset[str]) -> frozenset[str]:
    """Drop the temporaries that were seen before; give those that are seen for the first time."""
    marks = "|".join(re.escape(slug) for slug in slugs)
    condition = {"name": {"$regex": f"^(?:{marks})_{re.escape(TEMPORARY)}"}}
    found = frozenset(await database.list_collection_names(filter=condition))
    for name in found & seen:
        await database.drop_collection(name)
        log.info("temporary.dropped", slug=name.partition("_@@")[0])
    return found - seen


async def forget(database: Database) -> int:
    """Delete definitions of search indexes whose collections are gone; gives their number.

    The definitions are read first: each that is new by then belongs to a collection that is there.
    """
    keys = [each["_id"] async for each in database[SEARCH_INDEXES].find({}, {"_id": 1})]
    if not keys:
        return 0
    living = {
        each["info"].get("uuid") for each in await (await database.list_collections()).to_list()
    }
    gone = [key for key in keys if key["uuid"] not in living]
    if gone:
        await database[SEARCH_INDEXES].delete_many({"_id": {"$in": gone}})
        log.info("search_indexes.forgotten", count=len(gone))
    return len(gone)


async def sweep(database: Database, slugs: Callable[[], Iterable[str]]) -> None:
    """Look every now and then. Never ends."""
    seen: frozenset[str] = frozenset()
    while True:
        try:
            seen = await look(database, slugs(), seen)
            await forget(database)
        except PyMongoError as error:
            log.warning("sweep.failed", reason=type(error).__name__)
        await asyncio.sleep(SWEEP_SECONDS)
