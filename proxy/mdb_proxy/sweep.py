"""Drops temporary collections that a broken-off plan left behind."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any, Final

import structlog
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from mdb_engine.scope.names import TEMPORARY

SWEEP_SECONDS: Final = 900.0
"""Longer than any plan may take, so that what is seen twice belongs to no living one."""

log = structlog.get_logger("mdb_proxy.sweep")


async def sweep(
    database: AsyncDatabase[dict[str, Any]], slugs: Iterable[str], seconds: float = SWEEP_SECONDS
) -> None:
    """Look every so many seconds; drop what was there the last time already. Never ends."""
    marks = "|".join(re.escape(slug) for slug in slugs)
    condition = {"name": {"$regex": f"^(?:{marks})_{re.escape(TEMPORARY)}"}}
    seen: set[str] = set()
    while True:
        try:
            found = set(await database.list_collection_names(filter=condition))
            for name in found & seen:
                await database.drop_collection(name)
                log.info("temporary.dropped", slug=name.partition("_@@")[0])
            seen = found - seen
        except PyMongoError as error:
            log.warning("sweep.failed", reason=type(error).__name__)
        await asyncio.sleep(seconds)
