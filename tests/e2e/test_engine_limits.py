"""What an app may hold and add in a process, and what happens when its names become another's."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from mdb_engine import MongoDBEngine
from mdb_engine.exceptions import (
    CursorNotFoundError,
    MongoDBEngineError,
    OperationFailedError,
    OutOfDiskSpaceError,
    OverloadedError,
    RefusedError,
)

LIMITS = {"max_cursors": 2, "max_change_streams": 1, "max_transactions": 1, "max_collections": 3}
MANIFEST = {"slug": "shop", "name": "Shop", "limits": LIMITS}


@asynccontextmanager
async def opened(mongo_uri: str, name: str) -> AsyncIterator[MongoDBEngine]:
    async with MongoDBEngine(mongo_uri, name, settle_seconds=0.2) as engine:
        yield engine


@asynccontextmanager
async def shop(mongo_uri: str, **more: Any) -> AsyncIterator[tuple[MongoDBEngine, Any, Any]]:
    name = f"limits_{uuid4().hex[:12]}"
    client: AsyncMongoClient[dict[str, Any]]
    async with AsyncMongoClient(mongo_uri) as client:
        try:
            async with opened(mongo_uri, name) as engine:
                assert await engine.register_app({**MANIFEST, **more})
                yield engine, engine.get_scoped_db("shop"), client[name]
        finally:
            await client.drop_database(name)


async def repeated(work: Callable[[], Awaitable[None]]) -> None:
    """Do it again where the server says so: somebody else had a lock (an index is being built)."""
    for _ in range(5):
        try:
            return await work()
        except OperationFailure as error:
            if not error.has_error_label("TransientTransactionError"):
                raise
            await asyncio.sleep(0.2)
    raise AssertionError("never got the lock")


async def two_at_once(db: Any, one: Any, other: Any) -> None:
    async with one.start_transaction():
        await db.tasks.insert_one({"n": 10}, session=one)
        await db.tasks.find_one({"n": 10}, session=one)
        async with other.start_transaction():
            with pytest.raises(OverloadedError, match="transactions"):
                await db.tasks.insert_one({"n": 11}, session=other)


def test_cursors_streams_and_transactions(mongo_uri: str) -> None:
    async def body() -> None:
        async with shop(mongo_uri) as (engine, db, _):
            await db.tasks.insert_many([{"n": n} for n in range(10)])
            cursors = [db.tasks.find({}, batch_size=2) for _ in range(2)]
            for cursor in cursors:
                await cursor.next()
            with pytest.raises(OverloadedError, match="cursors"):
                await db.tasks.find({"n": {"$gt": 0}}).to_list()
            with pytest.raises(OverloadedError):
                await db.tasks.find({"$or": [{"n": 1}]}).to_list()
            with pytest.raises(OverloadedError):
                await db.tasks.aggregate([{"$match": {"n": 1}}]).to_list()
            await cursors.pop().to_list()
            assert len(await db.tasks.find({"n": {"$gt": 0}}).to_list()) == 9
            cursors.clear()
            async with await db.tasks.watch():
                with pytest.raises(OverloadedError, match="streams"):
                    await db.watch()
            async with await db.watch():
                pass
            async with engine.start_session() as one, engine.start_session() as other:
                await repeated(lambda: two_at_once(db, one, other))
                async with other.start_transaction():
                    await db.tasks.insert_one({"n": 12}, session=other)
            assert await db.tasks.count_documents({"n": {"$gte": 10}}) == 2

    asyncio.run(body())


def test_collections_and_bytes(mongo_uri: str) -> None:
    async def body() -> None:
        limits = {**LIMITS, "storage_bytes": 1}
        async with shop(mongo_uri, limits=limits) as (engine, db, _):
            for name in ("a", "b", "c"):
                await db[name].insert_one({"_id": 1})
            for call in (
                lambda: db.d.insert_one({"_id": 1}),
                lambda: db.d.update_one({"_id": 1}, {"$set": {"x": 1}}, upsert=True),
                lambda: db.create_collection("d"),
                lambda: db.a.aggregate([{"$out": "d"}]).to_list(),
            ):
                with pytest.raises(OperationFailedError, match="at most 3"):
                    await call()
            await db.c.drop()
            await db.d.insert_one({"_id": 1})
            await engine._following.survey()
            for write in (
                lambda: db.a.insert_one({"_id": 2}),
                lambda: db.a.update_one({"_id": 1}, {"$set": {"x": 1}}),
                lambda: db.a.insert_many([{"_id": 2}]),
            ):
                with pytest.raises(OutOfDiskSpaceError):
                    await write()
            assert await db.a.find_one({"_id": 1}) is not None
            await db.a.delete_one({"_id": 1})

    asyncio.run(body())


def test_nothing_new_while_the_ledger_cannot_be_read(mongo_uri: str) -> None:
    async def body() -> None:
        async with shop(mongo_uri) as (engine, db, _):
            await db.tasks.insert_one({"_id": 1})
            house = engine._following.house
            now = house.clock
            house.clock = lambda: now() + 5
            await db.tasks.insert_one({"_id": 2})
            assert await db.tasks.count_documents({}) == 2
            with pytest.raises(OverloadedError) as refused:
                await db.other.insert_one({})
            assert refused.value.code == 462
            house.clock = now
            await db.other.insert_one({})

    asyncio.run(body())


def test_an_engine_is_a_router(mongo_uri: str) -> None:
    async def body() -> None:
        async with shop(mongo_uri) as (engine, _, raw):
            routers = raw["_mdb_engine_routers"]
            assert await routers.count_documents({"_id": engine._following.router}) == 1
            async with opened(mongo_uri, raw.name):
                assert await routers.count_documents({}) == 2
            assert await routers.count_documents({}) == 1

    asyncio.run(body())


def test_names_that_become_anothers(mongo_uri: str) -> None:
    """`shop_eu` takes what begins with `eu_`: nothing of the shop goes on under these names."""

    async def body() -> None:
        async with shop(mongo_uri, limits={}) as (engine, db, raw):
            await db["tasks"].insert_many([{"n": n} for n in range(10)])
            plain = db["tasks"].find({}, batch_size=2)
            await plain.next()
            streams = [
                await each.watch(max_await_time_ms=100)
                for each in (db, db["tasks"], db["eu_notes"])
            ]
            session = engine.start_session()
            await session.start_transaction()
            await db["tasks"].insert_one({"n": 10}, session=session)
            async with opened(mongo_uri, raw.name) as other:
                assert await other.register_app({"slug": "shop_eu", "name": "EU"})
                with pytest.raises(MongoDBEngineError) as failed:
                    await db["tasks"].insert_one({"n": 11}, session=session)
                assert failed.value.has_error_label("TransientTransactionError")
                await session.end_session()
                with pytest.raises(RefusedError):
                    await db["eu_notes"].insert_one({})
                await other.get_scoped_db("shop_eu").notes.insert_one({"_id": "theirs"})
                assert len(await plain.to_list()) == 9, "its own name stays its own"
            await goes_on(db, raw, streams)

    asyncio.run(body())


async def goes_on(db: Any, raw: Any, streams: list[Any]) -> None:
    """Streams show what is the app's by the new rules; that of a lost collection ends."""
    # Somebody could write the shop's tag under the new owner's name only by hand.
    await raw["shop_eu_notes"].insert_one({"_id": "planted", "app_id": "shop"})
    await db["tasks"].insert_one({"_id": "ours"})
    *living, doomed = streams
    for stream in living:
        event = await asyncio.wait_for(stream.next(), 20)
        assert event["documentKey"]["_id"] == "ours"
        await stream.close()
    with pytest.raises(RefusedError):
        await asyncio.wait_for(doomed.next(), 20)
    assert not doomed.alive


def test_a_cursor_under_such_names_says_so(mongo_uri: str) -> None:
    async def body() -> None:
        async with shop(mongo_uri) as (engine, db, _):
            await db.tasks.insert_many([{"n": n} for n in range(10)])
            cursor = db.tasks.find({}, batch_size=2)
            await cursor.next()
            [feed] = engine._following.house.cursors["shop"]
            await feed.end()
            for read in (cursor.next, cursor.to_list):
                with pytest.raises(CursorNotFoundError):
                    await read()

    asyncio.run(body())
