"""The engine in a process, on a real server: its life, its handles, and the proxy beside it."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import gridfs
import httpx
import pytest
from bson import Binary, Decimal128
from fastapi import Depends
from pymongo import AsyncMongoClient
from pymongo.errors import DuplicateKeyError

from mdb_engine import MongoDBEngine
from mdb_engine.database import ScopedGridFSBucket
from mdb_engine.dependencies import get_engine, get_scoped_db
from mdb_engine.exceptions import (
    ConfigurationError,
    ManifestValidationError,
    MongoDBEngineError,
    UnauthorizedError,
)
from tests.support.programs import ROOT
from tests.support.proxies import Proxy

MANIFEST = {
    "slug": "shop",
    "name": "Shop",
    "managed_indexes": {"tasks": [{"type": "regular", "keys": {"a": 1}, "name": "by_a"}]},
    "initial_data": {"plans": [{"_id": 1}, {"_id": 2}]},
}


@asynccontextmanager
async def fresh(mongo_uri: str, **options: Any) -> AsyncIterator[tuple[MongoDBEngine, Any]]:
    """Give an engine on a database of its own, and that database looked at directly."""
    name = f"engine_{uuid4().hex[:12]}"
    client: AsyncMongoClient[dict[str, Any]]
    async with AsyncMongoClient(mongo_uri) as client:
        try:
            async with MongoDBEngine(mongo_uri, name, settle_seconds=0.2, **options) as engine:
                yield engine, client[name]
        finally:
            await client.drop_database(name)


def test_an_app_from_its_registration_on(mongo_uri: str, tmp_path: Path) -> None:
    async def body() -> None:
        async with fresh(mongo_uri) as (engine, raw):
            await engine.initialize()
            path = tmp_path / "shop.json"
            await asyncio.to_thread(path.write_text, f"// ours\n{json.dumps(MANIFEST)}")
            manifest = await engine.load_manifest(str(path))
            assert manifest == MANIFEST
            for _ in range(2):
                assert await engine.register_app(manifest) is True
            db = await engine.get_scoped_db("shop")
            assert db is engine.get_scoped_db("shop")
            assert await db.plans.count_documents({}) == 2
            assert "by_a" in await db.tasks.index_information()
            await db.plans.delete_many({})
            await engine.register_app(manifest)
            assert await db.plans.count_documents({}) == 0, "seeded once, for ever"
            copy = engine.get_app("shop")
            assert copy == MANIFEST
            assert copy is not engine.get_app("shop")
            assert await raw["apps_config"].count_documents({"_id": "shop"}) == 1
            assert engine.get_metrics()["summary"]["insert_many"]["count"] == 1
            assert (await engine.get_health_status())["status"] == "healthy"
            assert "mdb_engine_operation_seconds" in engine.get_prometheus_metrics()

    asyncio.run(body())


def test_what_cannot_be_registered(mongo_uri: str, tmp_path: Path) -> None:
    async def body() -> None:
        async with fresh(mongo_uri) as (engine, raw):
            assert await engine.register_app({"slug": "Not a slug", "name": "x"}) is False
            assert await engine.register_app({"slug": "shop", "name": "Shop"})
            await raw["shop_eu_tasks"].insert_one({"app_id": "shop"})
            assert await engine.register_app({"slug": "shop_eu", "name": "EU"}) is False
            with pytest.raises(ValueError, match="not registered"):
                engine.get_scoped_db("shop_eu")
            (tmp_path / "bad.json").write_text('{"slug": "x"}')
            with pytest.raises(ManifestValidationError) as raised:
                await engine.load_manifest(tmp_path / "bad.json")
            assert raised.value.path == "name"

    asyncio.run(body())


def test_reloading_serves_active_apps_only(mongo_uri: str) -> None:
    async def body() -> None:
        async with fresh(mongo_uri) as (engine, raw):
            for slug in ("shop", "crm"):
                await engine.register_app({"slug": slug, "name": slug})
            db = engine.get_scoped_db("crm")
            change = {"$set": {"status": "archived"}}
            await raw["apps_config"].update_one({"_id": "crm"}, change)
            await raw["apps_config"].insert_one(
                {"_id": "odd", "status": "active", "manifest": {"slug": "odd"}}
            )
            assert await engine.reload_apps() == 1
            assert engine.get_app("crm") is None
            with pytest.raises(ConfigurationError):
                await db.tasks.find_one()
            await engine.register_app({"slug": "shop", "name": "Shop", "status": "inactive"})
            with pytest.raises(ConfigurationError):
                engine.get_scoped_db("shop")

    asyncio.run(body())


def test_handles_without_a_manifest(mongo_uri: str) -> None:
    async def body() -> None:
        async with fresh(mongo_uri, allow_unregistered=True) as (engine, raw):
            await engine.get_scoped_db("loose").tasks.insert_one({"_id": 1})
            assert await raw["loose_tasks"].find_one() == {"_id": 1, "app_id": "loose"}

    asyncio.run(body())


def test_read_scopes(mongo_uri: str) -> None:
    async def body() -> None:
        async with fresh(mongo_uri) as (engine, _):
            for slug in ("shop", "shared"):
                await engine.register_app({"slug": slug, "name": slug})
            await engine.get_scoped_db("shared").catalog.insert_one({"_id": 1})
            db = engine.get_scoped_db("shop", read_scopes=["shop", "shared"])
            assert await db.shared_catalog.find().to_list() == [{"_id": 1, "app_id": "shared"}]
            join = {"from": "shared_catalog", "pipeline": [], "as": "found"}
            await db.tasks.insert_one({"_id": 5})
            found = await db.tasks.aggregate([{"$lookup": join}]).to_list()
            assert found[0]["found"] == [{"_id": 1, "app_id": "shared"}]
            for refused in (db.shared_catalog.insert_one({}), db.shared_catalog.drop()):
                with pytest.raises(UnauthorizedError):
                    await refused
            assert await engine.get_scoped_db("shop").shared_catalog.find().to_list() == []
            assert 'scopes_total{app="shop"} 1.0' in engine.get_prometheus_metrics()

    asyncio.run(body())


def test_transactions_and_streams(mongo_uri: str) -> None:
    async def body() -> None:
        async with fresh(mongo_uri) as (engine, raw):
            await engine.register_app(MANIFEST)
            db = engine.get_scoped_db("shop")
            async with db.watch() as stream, engine.start_session() as session:
                await raw["crm_tasks"].insert_one({"app_id": "crm"})
                async with session.start_transaction():
                    await db.tasks.insert_one({"_id": 1}, session=session)
                    assert await db.tasks.find_one({"_id": 1}) is None
                event = await asyncio.wait_for(stream.next(), 60)
                assert event["ns"] == {"db": "shop", "coll": "tasks"}
                assert event["fullDocument"]["_id"] == 1
            with pytest.raises(DuplicateKeyError) as raised:
                await db.tasks.insert_one({"_id": 1})
            assert isinstance(raised.value, MongoDBEngineError)
            assert "shop_tasks" not in str(raised.value)

    asyncio.run(body())


def test_results_are_cut_and_say_so(mongo_uri: str) -> None:
    async def body() -> None:
        async with fresh(mongo_uri) as (engine, _):
            limits = {"max_results": 25, "max_batch": 10}
            await engine.register_app({"slug": "shop", "name": "Shop", "limits": limits})
            tasks = engine.get_scoped_db("shop").tasks
            await tasks.insert_many([{"n": n} for n in range(60)])
            cursor = tasks.find().sort("n", 1)
            assert [each["n"] async for each in cursor] == list(range(25))
            assert cursor.truncated
            assert len(await tasks.find(limit=20_000).to_list(None)) == 25
            assert len(await tasks.find({}).limit(-50).to_list()) == 10
            assert len(await tasks.aggregate([]).to_list()) == 25
            assert await tasks.count_documents({}) == 60

    asyncio.run(body())


def test_a_frequent_query_gets_its_index(mongo_uri: str) -> None:
    async def body() -> None:
        async with fresh(mongo_uri) as (engine, _):
            await engine.register_app({"slug": "shop", "name": "Shop"})
            plain = engine.get_scoped_db("shop", auto_index=False).tasks
            await plain.insert_one({"status": "open"})
            for handle, expected in ((plain, False), (engine.get_scoped_db("shop").tasks, True)):
                for _ in range(4):
                    await handle.find({"status": "open"}).sort("at", -1).to_list(10)
                await engine._jobs.idle()
                found = await plain.index_information()
                assert ("auto_status_1_at_-1" in found) is expected

    asyncio.run(body())


def test_another_process_takes_names(mongo_uri: str) -> None:
    """A slug that somebody else registers owns its names here too, within seconds."""

    async def body() -> None:
        async with fresh(mongo_uri) as (engine, raw):
            await engine.register_app({"slug": "shop", "name": "Shop"})
            tasks = engine.get_scoped_db("shop").eu_tasks
            assert await tasks.find_one() is None
            async with MongoDBEngine(mongo_uri, raw.name, settle_seconds=0.1) as other:
                assert await other.register_app({"slug": "shop_eu", "name": "EU"})
            async with asyncio.timeout(60):
                while True:
                    try:
                        await tasks.find_one()
                    except MongoDBEngineError:
                        break
                    await asyncio.sleep(0.05)

    asyncio.run(body())


def test_a_lifespan(mongo_uri: str) -> None:
    async def body() -> None:
        async with fresh(mongo_uri) as (_, raw):
            engine = MongoDBEngine(mongo_uri, raw.name)
            app = SimpleNamespace(state=SimpleNamespace())
            async with engine.lifespan("shop", ROOT / "manifests" / "shop.json")(app):
                assert app.state.engine.get_app("shop")["name"] == "Corner Shop"
            with pytest.raises(ConfigurationError):
                async with engine.lifespan("crm", MANIFEST)(app):
                    pass

    asyncio.run(body())


def test_an_app_with_its_lifespan(mongo_uri: str) -> None:
    """`create_app`, dependencies, and documents as they are in the answer."""

    async def body() -> None:
        async with fresh(mongo_uri) as (_, raw):
            engine = MongoDBEngine(mongo_uri, raw.name, settle_seconds=0.2)
            app = engine.create_app("shop", MANIFEST, title="Shop")
            when = datetime(2030, 1, 2, tzinfo=UTC)

            @app.post("/tasks")
            async def add(task: dict[str, Any], db: Any = Depends(get_scoped_db)) -> dict[str, str]:
                exact = {"price": Decimal128("1.10"), "when": when, "data": Binary(b"\xff", 128)}
                result = await db.tasks.insert_one({**task, **exact})
                return {"id": str(result.inserted_id)}

            @app.get("/tasks", response_model=None)
            async def tasks(found: Any = Depends(get_engine)) -> Any:
                return await found.get_scoped_db("shop").tasks.find({}).to_list(10)

            transport = httpx.ASGITransport(app)
            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(transport=transport, base_url="http://shop") as client,
            ):
                made = (await client.post("/tasks", json={"a": 1})).json()["id"]
                [stored] = (await client.get("/tasks")).json()
            assert stored == {
                "_id": made, "app_id": "shop", "a": 1, "price": "1.10", "data": "/w==",
                "when": "2030-01-02T00:00:00",
            }  # fmt: skip
            assert (await engine.get_health_status())["status"] == "unhealthy", "it was shut down"

    asyncio.run(body())


def test_the_proxy_and_the_engine_see_the_same(proxy: Proxy, mongo_uri: str, name: str) -> None:
    async def body() -> None:
        async with MongoDBEngine(mongo_uri, proxy.db_name, settle_seconds=0.1) as engine:
            path = ROOT / "manifests" / "shop.json"
            assert await engine.register_app(await engine.load_manifest(path))
            db = engine.get_scoped_db("shop")
            with proxy.client("shop") as client:
                there = client["shop"]
                await db[name].insert_one({"_id": 1, "from": "engine"})
                there[name].insert_one({"_id": 2, "from": "client"})
                seen = [{"_id": 1, "from": "engine"}, {"_id": 2, "from": "client"}]
                assert list(there[name].find().sort("_id", 1)) == seen
                tagged = [each | {"app_id": "shop"} for each in seen]
                assert await db[name].find().sort("_id", 1).to_list() == tagged
                assert name in await db.list_collection_names()
                await files(db, there, name)

    asyncio.run(body())


async def files(db: Any, there: Any, name: str) -> None:
    """Files that one has written the other reads, from documents of the same layout."""
    data = bytes(range(256)) * 10
    ours, theirs = ScopedGridFSBucket(db, name), gridfs.GridFSBucket(there, name)
    mine = await ours.upload_from_stream("a", data, chunk_size_bytes=1000, metadata={"x": 1})
    other = theirs.upload_from_stream("b", io.BytesIO(data), chunk_size_bytes=1000)
    assert theirs.open_download_stream(mine).read() == data
    found = await ours.open_download_stream(other)
    assert await found.read() == data
    assert (found.length, found.chunk_size, found.filename) == (2560, 1000, "b")
    stored = {each["filename"]: each for each in there[f"{name}.files"].find()}
    assert stored["a"].keys() - {"metadata"} == stored["b"].keys()
    chunks = [{k: type(v) for k, v in each.items()} for each in there[f"{name}.chunks"].find()]
    assert all(each == chunks[0] for each in chunks)
    assert await found.seek(10) == 10
    assert await found.read(5) == data[10:15]
    lines = await ours.open_download_stream_by_name("a")
    assert b"".join([line async for line in lines]) == data
    target = io.BytesIO()
    await ours.download_to_stream_by_name("b", target)
    assert target.getvalue() == data
    await ours.rename(mine, "c")
    assert [each["filename"] async for each in ours.find({"_id": mine})] == ["c"]
    await ours.delete(mine)
    await ours.delete_by_name("b")
    assert there[f"{name}.chunks"].count_documents({}) == 0
