"""`initial_data`: documents that an app has from the start, put in once for ever."""

from __future__ import annotations

from typing import Any

import structlog
from pymongo.asynchronous.database import AsyncDatabase

from mdb_engine.database.handle import ScopedDatabase
from mdb_engine.exceptions import MongoDBEngineError
from mdb_engine.manifest.model import Manifest
from mdb_engine.registry import apps

log = structlog.get_logger("mdb_engine.seeding")


async def seed(database: AsyncDatabase[Any], app: Manifest, own: ScopedDatabase) -> list[str]:
    """Fill the collections that were never filled before and hold nothing; gives their names.

    Raises:
        MongoDBEngineError: the cluster or a rule refuses a document; it may be tried again.
    """
    filled = []
    for name, documents in app.initial_data.items():
        if not documents or not await apps.claim_seeding(database, app.slug, name):
            continue
        try:
            if await own[name].find_one({}) is None:
                await own[name].insert_many([dict(each) for each in documents])
                filled.append(name)
        except MongoDBEngineError:
            await apps.release_seeding(database, app.slug, name)
            raise
    if filled:
        log.info("data.seeded", slug=app.slug, collections=filled)
    return filled
