"""What an app can do with a handle in its hands: no foreign document, no lost tag, no way out."""

import asyncio
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import gridfs
import pymongo
import pytest
from bson import SON, Code, ObjectId, Regex, encode
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient, DeleteMany, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import PyMongoError

from mdb_engine import MongoDBEngine, ScopedDatabase
from mdb_engine.database import ScopedGridFSBucket
from mdb_engine.exceptions import MongoDBEngineError

FOREIGN = {"_id": "foreign", "app_id": "crm", "n": 1, "secret": "of another app"}
OWN = [{"_id": 1, "n": 1}, {"_id": 2, "n": 2, "tags": ["a"]}]


@asynccontextmanager
async def two_apps(mongo_uri: str) -> AsyncIterator[tuple[MongoDBEngine, ScopedDatabase, Any]]:
    """Give the engine, a handle of `shop`, and the physical database; a foreign document is in."""
    name = f"handles_{uuid4().hex[:12]}"
    client: AsyncMongoClient[dict[str, Any]]
    async with (
        AsyncMongoClient(mongo_uri) as client,
        MongoDBEngine(mongo_uri, name, settle_seconds=0.1) as engine,
    ):
        try:
            for slug in ("shop", "crm"):
                assert await engine.register_app({"slug": slug, "name": slug})
            raw = client[name]
            await raw["shop_tasks"].insert_one(dict(FOREIGN))
            await raw["crm_notes"].insert_one({"_id": "note", "app_id": "crm", "n": 1})
            await raw["crm_notes"].insert_one({"_id": "planted", "app_id": "shop", "n": 1})
            db = engine.get_scoped_db("shop")
            await db.tasks.insert_many([dict(each) for each in OWN])
            yield engine, db, raw
        finally:
            await client.drop_database(name)


DRIVER = (
    pymongo.AsyncMongoClient, pymongo.MongoClient, AsyncClientSession,
    pymongo.asynchronous.database.AsyncDatabase, pymongo.asynchronous.collection.AsyncCollection,
    pymongo.asynchronous.cursor.AsyncCursor, gridfs.AsyncGridFSBucket,
    pymongo.asynchronous.command_cursor.AsyncCommandCursor,
    pymongo.asynchronous.change_stream.AsyncChangeStream,
    pymongo.asynchronous.mongo_client.AsyncMongoClient,
)  # fmt: skip


def leads(value: Any, depth: int, path: str) -> Iterator[str]:
    """Give every attribute path of so many steps that ends at an object of the driver."""
    if isinstance(value, DRIVER):
        yield path
    if depth == 0 or isinstance(value, str | bytes | int | float | type | None):
        return
    for name in dir(value):
        try:
            found = getattr(value, name)
        except (AttributeError, NotImplementedError, MongoDBEngineError, TypeError):
            continue
        yield from leads(found, depth - 1, f"{path}.{name}")


def test_no_attribute_leads_to_the_driver(mongo_uri: str) -> None:
    async def body() -> None:
        async with two_apps(mongo_uri) as (engine, db, _):
            cursor = db.tasks.find()
            await cursor.next()
            aggregated = await db.tasks.aggregate([])
            stream = await db.tasks.watch()
            session = engine.start_session()
            bucket = ScopedGridFSBucket(db)
            file_id = await bucket.upload_from_stream("a", b"data")
            things = {
                "db": db, "collection": db.tasks, "cursor": cursor, "aggregated": aggregated,
                "stream": stream, "session": session, "transaction": session.start_transaction(),
                "result": await db.tasks.insert_one({}), "manager": db.tasks.index_manager,
                "indexes": await db.tasks.list_indexes(), "bucket": bucket,
                "file": await bucket.open_download_stream(file_id),
                "upload": bucket.open_upload_stream("b"), "files": bucket.find(),
                "view": engine.mongo_client, "other": db.tasks.with_options(),
            }  # fmt: skip
            found = [path for name, each in things.items() for path in leads(each, 3, name)]
            assert found == []
            assert list(leads({"x": 1}, 1, "x")) == []
            with pytest.raises(AssertionError):
                assert list(leads(type("T", (), {"c": AsyncMongoClient()})(), 1, "t")) == []
            await stream.close()
            await session.end_session()
            await cursor.close()

    asyncio.run(body())


READS: dict[str, Callable[[Any, Any], Awaitable[Any]]] = {
    "find": lambda c, f: c.find(f).to_list(),
    "find_one": lambda c, f: c.find_one(f),
    "find.distinct": lambda c, f: c.find(f).distinct("secret"),
    "aggregate": lambda c, f: c.aggregate([{"$match": f}]).to_list(),
    "aggregate.facet": lambda c, f: c.aggregate([{"$facet": {"x": [{"$match": f}]}}]).to_list(),
    "aggregate.union": lambda c, f: c.aggregate(
        [{"$unionWith": {"coll": "tasks", "pipeline": [{"$match": f}]}}]
    ).to_list(),
    "aggregate.lookup": lambda c, f: c.aggregate(
        [{"$lookup": {"from": "tasks", "pipeline": [{"$match": f}], "as": "x"}}]
    ).to_list(),
    "count_documents": lambda c, f: c.count_documents(f),
    "distinct": lambda c, f: c.distinct("secret", f),
}
WRITES: dict[str, Callable[[Any, Any], Awaitable[Any]]] = {
    "update_one": lambda c, f: c.update_one(f, {"$set": {"hit": 1}}, upsert=False),
    "update_many": lambda c, f: c.update_many(f, {"$set": {"hit": 1}}),
    "update.pipeline": lambda c, f: c.update_many(f, [{"$set": {"app_id": "crm"}}]),
    "update.unset": lambda c, f: c.update_many(f, [{"$unset": "app_id"}]),
    "update.upsert": lambda c, f: c.update_one(f, {"$set": {"hit": 1}}, upsert=True),
    "replace_one": lambda c, f: c.replace_one(f, {"hit": 1, "app_id": "crm"}),
    "replace.upsert": lambda c, f: c.replace_one(f, {"hit": 1}, upsert=True),
    "delete_one": lambda c, f: c.delete_one(f),
    "delete_many": lambda c, f: c.delete_many(f),
    "find_one_and_update": lambda c, f: c.find_one_and_update(f, {"$set": {"hit": 1}}),
    "find_one_and_replace": lambda c, f: c.find_one_and_replace(f, {"app_id": ["crm"]}),
    "find_one_and_delete": lambda c, f: c.find_one_and_delete(f),
    "bulk_write": lambda c, f: c.bulk_write(
        [
            InsertOne({"app_id": "crm"}),
            UpdateOne(f, {"$set": {"hit": 1}}, upsert=True),
            UpdateMany(f, [{"$replaceWith": {"app_id": "crm"}}]),
            ReplaceOne(f, {"app_id": "crm"}),
            DeleteMany(f),
        ],
        ordered=False,
    ),
}


class Sly(dict[str, Any]):
    """Shows Python something else than it writes."""

    def __contains__(self, _: object) -> bool:
        return False

    def get(self, *_: Any) -> Any:
        return None


FILTERS: list[Any] = [
    {}, {"app_id": "crm"}, {"_id": "foreign"}, {"app_id": {"$ne": "shop"}},
    {"$or": [{"app_id": "crm"}, {"_id": "foreign"}]}, {"$nor": [{"app_id": "shop"}]},
    {"app_id": Regex("c")}, {"app_id": re.compile("crm")}, {"$expr": {"$eq": ["$app_id", "crm"]}},
    {"app_id": {"$in": ("crm", re.compile("^crm"))}}, SON([("app_id", "crm")]), Sly(app_id="crm"),
    OrderedDict(app_id="crm"), RawBSONDocument(encode({"app_id": "crm"})),
    RawBSONDocument(encode({"app_id": "shop"})[:-1].replace(b"shop", b"crm\0") + b"\0"),
    {"$and": ({"app_id": "crm"},)}, {"$comment": "x"}, {"$query": {"app_id": "crm"}},
    {"$where": "true"}, {"a": Code("true")},
    {"$expr": {"$function": {"body": "x", "args": [], "lang": "js"}}},
    {"$jsonSchema": {"required": ["secret"]}}, {"$text": {"$search": "x"}}, {"$alwaysTrue": 1},
    [("app_id", "crm")], None, "foreign", {"$or": [Sly({"$where": "1"})]},
]  # fmt: skip


async def carried_out(call: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return await call()
    except (MongoDBEngineError, PyMongoError, TypeError, ValueError) as error:
        return error


def test_every_method_with_every_filter(mongo_uri: str) -> None:
    async def body() -> None:
        async with two_apps(mongo_uri) as (_, db, raw):
            for value in FILTERS:
                for name, call in (READS | WRITES).items():
                    found = await carried_out(lambda c=call, v=value: c(db.tasks, v))
                    assert "of another app" not in repr(found), (name, value)
                    assert "foreign'" not in repr(found) or name not in READS, (name, value)
                    assert await raw["shop_tasks"].find_one({"_id": "foreign"}) == FOREIGN
                    lost = {"_id": {"$ne": "foreign"}, "app_id": {"$ne": "shop"}}
                    assert await raw["shop_tasks"].find_one(lost) is None, (name, value)
            assert await raw["crm_notes"].count_documents({}) == 2

    asyncio.run(body())


NAMES: list[Any] = [
    "crm_notes", "../crm_notes", "$cmd", "system.views", "apps_config", "_mdb_engine_slugs",
    "shop_tasks", "a\0b", "", ".", "tasks.", "@crm.x", "x" * 300, b"tasks", None, 5, ["tasks"],
]  # fmt: skip


def test_every_place_for_a_name(mongo_uri: str) -> None:
    async def body() -> None:
        async with two_apps(mongo_uri) as (_, db, raw):
            before = set(await raw.list_collection_names())
            for name in NAMES:
                into, join = {"into": name}, {"from": name, "pipeline": [], "as": "x"}
                for call in (
                    lambda n=name: db[n].find().to_list(),
                    lambda j=join: db.tasks.aggregate([{"$lookup": j}]).to_list(),
                    lambda n=name: db.tasks.aggregate([{"$unionWith": n}]).to_list(),
                    lambda i=into: db.tasks.aggregate([{"$merge": i}]).to_list(),
                    lambda n=name: db.tasks.aggregate([{"$out": n}]).to_list(),
                    lambda n=name: db.command({"find": n}),
                    lambda n=name: db.command({"count": n}),
                    lambda n=name: db.tasks.rename(n),
                ):
                    found = await carried_out(call)
                    assert "planted" not in repr(found), name
                    assert "'note'" not in repr(found), name
                await carried_out(lambda n=name: db.drop_collection(n))
                await carried_out(lambda: db.tasks.insert_many([dict(each) for each in OWN]))
            after = set(await raw.list_collection_names())
            assert all(each.startswith("shop_") for each in after - before)
            assert await raw["crm_notes"].count_documents({}) == 2
            assert await raw["apps_config"].count_documents({}) == 2

    asyncio.run(body())


DOCUMENTS: list[Any] = [
    {"app_id": "crm"}, {"app_id": ["crm", "shop"]}, {"a": {"app_id": "crm"}},
    SON([("app_id", "crm"), ("a", 1)]), RawBSONDocument(encode({"app_id": "crm"})),
    Sly(app_id="crm"), {"$where": "data"}, {"a": Code("data")}, {"app_id": {"$ne": 1}},
]  # fmt: skip


def test_every_document_gets_the_tag(mongo_uri: str) -> None:
    async def body() -> None:
        async with two_apps(mongo_uri) as (_, db, raw):
            for value in DOCUMENTS:
                copy = value if isinstance(value, RawBSONDocument) else type(value)(value)
                await db.tasks.insert_one(copy)
                await carried_out(lambda v=value: db.tasks.replace_one({}, v, upsert=True))
                inserted = [{"_id": ObjectId(), "v": value}]
                await db.command({"insert": "tasks", "documents": inserted})
            assert await raw["shop_tasks"].count_documents({"app_id": {"$ne": "shop"}}) == 1
            assert await raw["shop_tasks"].count_documents({"app_id": {"$type": "array"}}) == 0

    asyncio.run(body())
