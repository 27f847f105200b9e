"""Temporary collections that nobody needs any more."""

import asyncio
from typing import Any
from uuid import uuid4

from pymongo import AsyncMongoClient

from mdb_proxy.sweep import sweep

LEFT = ("shop_@@out.1", "shop_tasks", "shop_@out.x", "crm_@@out.2", "shop_eu_@@out.3")


async def swept(mongo_uri: str) -> list[str]:
    client: AsyncMongoClient[dict[str, Any]]
    async with AsyncMongoClient(mongo_uri) as client:
        database = client[f"sweep_{uuid4().hex[:8]}"]
        try:
            for name in LEFT:
                await database.create_collection(name)
            async with asyncio.TaskGroup() as group:
                sweeper = group.create_task(sweep(database, ["shop", "shop_eu"], 0.1))
                await asyncio.sleep(0.05)
                await database.create_collection("shop_@@out.young")
                await asyncio.sleep(0.1)
                sweeper.cancel()
            return sorted(await database.list_collection_names())
        finally:
            await client.drop_database(database)


def test_what_was_there_twice_goes(mongo_uri: str) -> None:
    left = asyncio.run(swept(mongo_uri))
    assert left == ["crm_@@out.2", "shop_@@out.young", "shop_@out.x", "shop_tasks"]
