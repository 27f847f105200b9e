"""Which processes serve a database, and which claimed slugs each of them already honours.

A router honours a claim when it treats the slug as the owner of its names, and nothing that it
began before still runs on them. Whoever claims waits for all of them.
"""

from collections.abc import Collection
from typing import Final

from mdb_engine.registry.stores import ROUTERS, Database, store

ALIVE_SECONDS: Final = 10
"""A router that was not heard of for so long counts as gone: it refuses to create by itself."""

_FORGOTTEN_SECONDS: Final = 3600


async def prepare(database: Database) -> None:
    """See to it that the reports of routers that have gone do not stay for ever."""
    await store(database, ROUTERS).create_index("at", expireAfterSeconds=_FORGOTTEN_SECONDS)


async def report(database: Database, router: str, honours: Collection[str]) -> None:
    """Say that a router lives, and which slugs that are only claimed it honours already."""
    fields = {"at": "$$NOW", "honours": {"$literal": sorted(honours)}}
    await store(database, ROUTERS).update_one({"_id": router}, [{"$set": fields}], upsert=True)


async def leave(database: Database, router: str) -> None:
    """Nobody has to wait for this router any more."""
    await store(database, ROUTERS).delete_one({"_id": router})


async def behind(database: Database, slugs: Collection[str]) -> list[str]:
    """Routers that live and do not honour all these slugs yet."""
    since = {"$subtract": ["$$NOW", ALIVE_SECONDS * 1000]}
    condition = {
        "$expr": {"$gt": ["$at", since]},
        "honours": {"$not": {"$all": sorted(slugs)}},
    }
    found = store(database, ROUTERS).find(condition, {"_id": 1})
    return [document["_id"] async for document in found]
