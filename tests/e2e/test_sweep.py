"""Temporary collections that nobody needs any more."""

import asyncio
from typing import Any
from uuid import uuid4

from pymongo import AsyncMongoClient

from mdb_proxy.sweep import look

SLUGS = ("shop", "shop_eu")
LEFT = ("shop_@@out.1", "shop_tasks", "shop_@out.x", "crm_@@out.2", "shop_eu_@@out.3")


async def swept(mongo_uri: str) -> list[str]:
    client: AsyncMongoClient[dict[str, Any]]
    async with AsyncMongoClient(mongo_uri) as client:
        database = client[f"sweep_{uuid4().hex[:8]}"]
        try:
            for name in LEFT:
                await database.create_collection(name)
            seen = await look(database, SLUGS, frozenset())
            assert seen == {"shop_@@out.1", "shop_eu_@@out.3"}
            await database.create_collection("shop_@@out.young")
            assert await look(database, SLUGS, seen) == {"shop_@@out.young"}
            return sorted(await database.list_collection_names())
        finally:
            await client.drop_database(database)


def test_what_was_there_twice_goes(mongo_uri: str) -> None:
    left = asyncio.run(swept(mongo_uri))
    assert left == ["crm_@@out.2", "shop_@@out.young", "shop_@out.x", "shop_tasks"]
