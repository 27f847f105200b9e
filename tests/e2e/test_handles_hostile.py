"""Every public method of a handle with what an attacker hands it: values that lie or change."""

import asyncio
from collections import UserDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from bson import Code, Regex, encode
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.errors import PyMongoError

from mdb_engine.database import ScopedCollection, ScopedCursor, ScopedDatabase, ScopedGridFSBucket
from mdb_engine.exceptions import MongoDBEngineError
from tests.e2e.test_handles import FOREIGN, READS, WRITES, carried_out, two_apps

DEFINING: dict[str, Callable[[Any, Any], Awaitable[Any]]] = {
    "create_index": lambda c, f: c.create_index("n", name="p", partialFilterExpression=f),
    "index_manager": lambda c, f: c.index_manager.create_index("n", partialFilterExpression=f),
    "estimated_document_count": lambda c, f: c.estimated_document_count(hint=f),
    "find.options": lambda c, f: c.find({}, f, sort=f, min=f, max=f, hint=f, let=f).to_list(),
    "find.projection": lambda c, f: c.find({}, {"secret": 1, "x": f}).to_list(),
    "find.chained": lambda c, f: c.find().sort("n").hint(f).collation(f).to_list(),
    "find.explain": lambda c, f: c.find(f).explain(),
    "find_one.options": lambda c, f: c.find_one({}, f),
    "array_filters": lambda c, f: c.update_many({}, {"$set": {"tags.$[x]": 1}}, array_filters=[f]),
    "update.let": lambda c, f: c.update_many(f, {"$set": {"hit": 1}}, let=f),
    "delete.let": lambda c, f: c.delete_many(f, let=f),
    "aggregate.let": lambda c, f: c.aggregate([{"$match": f}], let=f, hint=f).to_list(),
    "modify.options": lambda c, f: c.find_one_and_update(f, {"$set": {"hit": 1}}, f, f),
    "watch": lambda c, f: c.watch([{"$match": f}]).try_next(),
    "options": lambda c, f: c.options(comment=f),
    "list_indexes": lambda c, f: c.list_indexes(comment=f).to_list(),
}
"""Ways for a filter into the methods that the other table does not have."""

CODES: list[Any] = [
    {"$where": "while (true) {}"}, {"$where": Code("true")}, {"$or": [{"$where": "1"}]},
    {"$and": ({"$where": "1"},)}, {"n": {"$not": {"$where": "1"}}},
    {"$expr": {"$function": {"body": "function() { return true }", "args": [], "lang": "js"}}},
    {"$expr": {"$let": {"vars": {}, "in": {"$function": {"body": "1", "args": [], "lang": "js"}}}}},
    RawBSONDocument(encode({"$where": "1"})), UserDict({"$where": "1"}),
    {"$nor": [RawBSONDocument(encode({"$where": "1"}))]},
]  # fmt: skip


def test_no_way_for_code(mongo_uri: str) -> None:
    async def body() -> None:
        async with two_apps(mongo_uri) as (_, db, _raw):
            for value in CODES:
                for name, call in (READS | WRITES).items():
                    found = await carried_out(lambda c=call, v=value: c(db.tasks, v))
                    assert isinstance(found, Exception), (name, value)
                    assert isinstance(found, MongoDBEngineError | TypeError), (name, found)

    asyncio.run(body())


class Text(str):
    """Is equal to what it is not."""

    __slots__ = ()

    def __eq__(self, _: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("n")

    def startswith(self, *_: Any) -> bool:
        return False


class Both(list[Any]):
    """Shows Python nothing."""

    def __iter__(self) -> Any:
        return iter(())

    def copy(self) -> Any:
        return []


class Turning(Mapping[str, Any]):
    """Another document each time that it is looked at."""

    def __init__(self) -> None:
        self.turn = 0

    def _now(self) -> dict[str, Any]:
        self.turn += 1
        return {"n": 1} if self.turn % 2 else {"$where": "1"}

    def __getitem__(self, name: str) -> Any:
        return {"n": 1, "$where": "1"}[name]

    def __iter__(self) -> Any:
        return iter(self._now())

    def __len__(self) -> int:
        return 1


LIARS: list[Any] = [
    {Text("$where"): "1"}, {Text("app_id"): "crm"}, {"n": {Text("$where"): "1"}},
    {"$or": Both([{"app_id": "crm"}])}, {"n": {"$in": Both([{"$where": "1"}])}}, Turning(),
    {"n": Turning()}, {"app_id": Text("crm")}, UserDict({"app_id": "crm"}),
    {"app_id": Regex("^c"), "secret": {"$regex": "of"}}, {"n": {"$gte": 0}},
    {"_id": {"$in": ["foreign"]}}, {"app_id": {"$in": ["crm"]}}, {"app_id": {"$gt": ""}},
    RawBSONDocument(encode({"$or": [{"app_id": "crm"}]}), CodecOptions(RawBSONDocument)),
]  # fmt: skip


def test_values_that_lie(mongo_uri: str) -> None:
    async def body() -> None:
        async with two_apps(mongo_uri) as (_, db, raw):
            for value in LIARS:
                for name, call in (READS | WRITES | DEFINING).items():
                    found = await carried_out(lambda c=call, v=value: c(db.tasks, v))
                    assert "of another app" not in repr(found), (name, value)
                    assert await raw["shop_tasks"].find_one({"_id": "foreign"}) == FOREIGN, name
                    lost = {"_id": {"$ne": "foreign"}, "app_id": {"$ne": "shop"}}
                    assert await raw["shop_tasks"].find_one(lost) is None, (name, value)

    asyncio.run(body())


async def changed_meanwhile(work: Any, change: Callable[[], None]) -> Any:
    """Begin a call, change what it was given, and let it go on."""
    task = asyncio.ensure_future(work)
    change()
    await asyncio.sleep(0)
    change()
    return await carried_out(lambda: task)


def test_values_that_change_while_they_are_sent(mongo_uri: str) -> None:
    def hostile(value: Any) -> Callable[[], None]:
        def change() -> None:
            if isinstance(value, list):
                value[:] = [{"$out": "stolen"}]
            else:
                value.clear()
                value.update({"$or": [{"app_id": "crm"}], "$where": "true"})

        return change

    def retagged(value: dict[str, Any]) -> Callable[[], None]:
        return lambda: value.update({"app_id": "crm", "$set": {"app_id": "crm"}})

    async def body() -> None:
        async with two_apps(mongo_uri) as (_, db, raw):
            for number in range(20):
                given: dict[str, Any] = {"n": 1}
                calls = [
                    db.tasks.find_one(given), db.tasks.count_documents(given),
                    db.tasks.find(given).to_list(), db.tasks.delete_many(given),
                ]  # fmt: skip
                stages: list[Any] = [{"$match": {"n": 1}}]
                calls.append(db.tasks.aggregate(stages).to_list())
                change, document = {"$set": {"n": 5}}, {"_id": f"new {number}", "n": {"x": 1}}
                found = [await changed_meanwhile(each, hostile(given)) for each in calls[:-1]]
                found.append(await changed_meanwhile(calls[-1], hostile(stages)))
                update = db.tasks.update_many({"n": {"$gt": 0}}, change)
                found.append(await changed_meanwhile(update, retagged(change)))
                insert = db.tasks.insert_one(document)
                found.append(await changed_meanwhile(insert, retagged(document)))
                assert "of another app" not in repr(found)
            assert await raw["shop_tasks"].find_one({"_id": "foreign"}) == FOREIGN
            assert await raw["shop_tasks"].count_documents({"app_id": {"$ne": "shop"}}) == 1
            assert not [n for n in await raw.list_collection_names() if "stolen" in n]

    asyncio.run(body())


def test_files(mongo_uri: str) -> None:
    async def body() -> None:
        async with two_apps(mongo_uri) as (_, db, raw):
            foreign = {"_id": 7, "filename": "x", "length": 0, "chunkSize": 1, "app_id": "crm"}
            await raw["shop_fs.files"].insert_one(dict(foreign))
            bucket = ScopedGridFSBucket(db)
            assert await bucket.find({}).to_list() == []
            for call in (
                lambda: bucket.open_download_stream(7),
                lambda: bucket.open_download_stream_by_name("x"),
                lambda: bucket.delete(7),
                lambda: bucket.rename(7, "y"),
                lambda: bucket.find({"$where": "1"}).to_list(),
            ):
                assert isinstance(await carried_out(call), MongoDBEngineError | PyMongoError)
            assert await raw["shop_fs.files"].find_one({"_id": 7}) == foreign

    asyncio.run(body())


PROPERTIES = {
    "codec_options", "full_name", "name", "read_concern", "read_preference", "with_options",
    "write_concern",
}  # fmt: skip
SEEN = {
    ScopedCollection: PROPERTIES
    | {name.partition(".")[0] for name in (READS | WRITES | DEFINING)}
    | {
        "create_indexes", "drop", "drop_index", "drop_indexes", "index_information", "insert_many",
        "insert_one", "rename",
    },
    ScopedDatabase: {
        "aggregate", "app_slug", "codec_options", "command", "create_collection",
        "drop_collection", "get_collection", "list_collection_names", "list_collections", "name",
        "read_scopes", "validate_collection", "watch", "with_options",
    },
    ScopedCursor: {
        "alive", "allow_disk_use", "batch_size", "clone", "close", "collation", "comment",
        "distinct", "explain", "hint", "limit", "max", "max_await_time_ms", "max_time_ms", "min",
        "next", "retrieved", "rewind", "skip", "sort", "to_list", "truncated", "where",
    },
}  # fmt: skip
"""What the suites of handles have looked at."""


@pytest.mark.parametrize("kind", SEEN, ids=lambda kind: kind.__name__)
def test_a_method_that_nobody_attacked_is_noticed(kind: type) -> None:
    public = {name for name in dir(kind) if not name.startswith("_")}
    odd = {"aggregate.facet", "update", "replace"}  # names of ways, not of methods
    assert public - SEEN[kind] == set()
    assert {name for name in SEEN[kind] - public if name not in odd} <= {
        "array_filters", "modify", "delete",
    }  # fmt: skip
