"""`collection_settings` of a manifest, on a real server."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import WriteError

from mdb_engine import MongoDBEngine
from mdb_engine.manifest.load import parse
from mdb_engine.settings import Settled, settle

SETTINGS: dict[str, Any] = {
    "people": {
        "validation": {"validator": {"$jsonSchema": {
            "required": ["name"], "properties": {"_id": {}, "name": {"bsonType": "string"}},
            "additionalProperties": False,
        }}},
        "collation": {"locale": "sv", "strength": 2},
    },
    "logs": {"capped": True, "size": 5000, "max": 2},
    "weather": {"timeseries": {"timeField": "t", "metaField": "m"}, "expireAfterSeconds": 3600},
}  # fmt: skip


def manifest(**changes: Any) -> dict[str, Any]:
    return {"slug": "shop", "name": "Shop", "collection_settings": {**SETTINGS, **changes}}


def test_collections_are_made_as_written(mongo_uri: str) -> None:
    name = f"settings_{uuid4().hex[:12]}"

    async def body() -> None:
        async with (
            AsyncMongoClient[dict[str, Any]](mongo_uri) as client,
            MongoDBEngine(mongo_uri, name, settle_seconds=0.1) as engine,
        ):
            try:
                assert await engine.register_app(manifest())
                await made(engine)
                await compared(engine)
            finally:
                await client.drop_database(name)

    asyncio.run(body())


async def made(engine: MongoDBEngine) -> None:
    db = engine.get_scoped_db("shop")
    await db.people.insert_one({"name": "Åsa"})
    assert await db.people.count_documents({"name": "åsa"}) == 1, "by the collation"
    with pytest.raises(WriteError):
        await db.people.insert_one({"name": 5})
    await db.logs.insert_many([{"n": n} for n in range(5)])
    assert await db.logs.count_documents({}) == 2
    assert (await db.weather.options())["timeseries"]["metaField"] == "m"


async def compared(engine: MongoDBEngine) -> None:
    """Running it again changes nothing; what can be changed is, the rest is told."""
    db = engine.get_scoped_db("shop")
    same = await settle(parse(manifest()), db)
    assert same == Settled(existing=("people", "logs", "weather"))
    other = manifest(
        people={"validation": {"validator": {"age": {"$gt": 0}}, "validationAction": "warn"}},
        logs={"capped": True, "size": 50_000},
        notes={"validation": {"validator": {"$where": "true"}}},
    )
    found = await settle(parse(other), db)
    assert found == Settled(
        existing=("weather",),
        changed=("people",),
        different=("logs: size",),
        refused=("notes: QueryValidationError",),
    )
    await db.people.insert_one({"name": 5})
    assert (await db.people.options())["validator"] == {"age": {"$gt": 0}}
