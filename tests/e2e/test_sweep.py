"""Temporary collections that nobody needs any more."""

import asyncio
from typing import Any
from uuid import uuid4

from pymongo import AsyncMongoClient

from mdb_engine.scope.search_plans import SEARCH_INDEXES
from mdb_proxy.sweep import forget, look

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


async def forgotten(mongo_uri: str) -> list[str]:
    client: AsyncMongoClient[dict[str, Any]]
    async with AsyncMongoClient(mongo_uri) as client:
        database = client[f"sweep_{uuid4().hex[:8]}"]
        try:
            assert await forget(database) == 0
            for name in ("shop_a", "shop_b"):
                await database.create_collection(name)
            found = await (await database.list_collections()).to_list()
            for each in found:
                key = {"uuid": each["info"]["uuid"], "name": each["name"]}
                await database[SEARCH_INDEXES].insert_one({"_id": key})
            assert await forget(database) == 0
            await database["shop_a"].rename("shop_c")
            await database.drop_collection("shop_b")
            assert await forget(database) == 1
            return [each["_id"]["name"] async for each in database[SEARCH_INDEXES].find()]
        finally:
            await client.drop_database(database)


def test_definitions_of_collections_that_are_gone(mongo_uri: str) -> None:
    assert asyncio.run(forgotten(mongo_uri)) == ["shop_a"]
