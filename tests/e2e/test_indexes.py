"""Managed indexes on a real server."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pymongo import AsyncMongoClient, MongoClient

from mdb_engine.indexes import Report, apply_indexes, plan_indexes
from mdb_engine.manifest import Manifest, load_folder, parse
from mdb_engine.registry.ledger import register
from mdb_engine.registry.stores import Database
from tests.support.programs import run

pytestmark = pytest.mark.server

SHIPPED = Path(__file__).parents[2] / "manifests"
VECTOR = {"fields": [{"type": "vector", "path": "v", "numDimensions": 3, "similarity": "cosine"}]}

OnServer = Callable[[Callable[[Database], Awaitable[None]]], None]


def shop(**collections: Any) -> Manifest:
    return parse({"slug": "shop", "name": "Shop", "managed_indexes": collections})


def row(name: str, kind: str = "regular", **keys: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **keys}


@pytest.fixture
def on_server(mongo_uri: str) -> OnServer:
    """Run a coroutine function on a database of its own."""

    def run(body: Callable[[Database], Awaitable[None]]) -> None:
        async def inside() -> None:
            async with AsyncMongoClient[dict[str, Any]](mongo_uri) as client:
                database = client[f"mdb_{uuid4().hex}"]
                try:
                    await body(database)
                finally:
                    await client.drop_database(database.name)

        asyncio.run(inside())

    return run


EVERY_KIND = [
    row("regular", keys={"a": 1}, options={"background": True}),
    row("unique", keys={"b": 1}, unique=True, collation={"locale": "en", "strength": 2}),
    row("compound", "compound", keys=[["c", 1], ["a", -1]], prefix=True),
    row("text", "text", keys={"d": "text", "e": "text"}, options={"weights": {"d": 3}}),
    row("sphere", "geospatial", keys={"f": "2dsphere"}),
    row("plane", "geospatial", keys={"g": "2d"}, options={"min": -10, "max": 10}),
    row("ttl", "ttl", keys={"h": 1}, options={"expireAfterSeconds": 60}),
    row("partial", "partial", keys={"i": 1}, partialFilterExpression={"j": {"$gt": 1}}),
    row("hashed", "hashed", keys={"k": "hashed"}),
    row("wildcard", "wildcard", keys={"$**": 1}, wildcardProjection={"l": 1}),
]


def test_every_kind_is_made_once(on_server: OnServer) -> None:
    manifest = shop(tasks=EVERY_KIND)
    labels = tuple(f"tasks.{index['name']}" for index in EVERY_KIND)

    async def body(database: Database) -> None:
        assert await plan_indexes(database, manifest) == Report(created=labels)
        assert "shop_tasks" not in await database.list_collection_names()
        assert await apply_indexes(database, manifest) == Report(created=labels)
        assert await plan_indexes(database, manifest) == Report(existing=labels)
        assert await apply_indexes(database, manifest) == Report(existing=labels)
        found = await database["shop_tasks"].index_information()
        assert set(found) == {"_id_", *(index["name"] for index in EVERY_KIND)}
        assert found["compound"]["key"] == [("app_id", 1), ("c", 1), ("a", -1)]
        assert found["ttl"]["expireAfterSeconds"] == 60
        assert "background" not in found["regular"]

    on_server(body)


@pytest.mark.parametrize("slug", ["crm", "shop"])
def test_shipped_manifests(on_server: OnServer, slug: str) -> None:
    async def body(database: Database) -> None:
        manifests = load_folder(SHIPPED)
        await register(database, manifests)
        report = await apply_indexes(database, manifests[slug])
        assert report == Report(created=report.created)
        assert len(report.created) == sum(map(len, manifests[slug].managed_indexes.values()))
        names = await database.list_collection_names()
        assert {f"{slug}_{name}" for name in manifests[slug].managed_indexes} <= set(names)

    on_server(body)


@pytest.mark.parametrize(
    "changed",
    [
        row("i", keys={"b": 1}),
        row("i", keys={"a": -1}),
        row("i", keys={"a": 1}, unique=True),
        row("i", keys={"a": 1}, sparse=True),
        row("i", "ttl", keys={"a": 1}, expireAfterSeconds=60),
        row("other", keys={"a": 1}),
    ],
)
def test_what_is_there_is_not_touched(on_server: OnServer, changed: dict[str, Any]) -> None:
    async def body(database: Database) -> None:
        await apply_indexes(database, shop(tasks=[row("i", keys={"a": 1})]))
        before = await database["shop_tasks"].index_information()
        manifest = shop(tasks=[changed, row("fine", keys={"z": 1})])
        plan = await plan_indexes(database, manifest)
        assert plan.created == ("tasks.fine",)
        assert [text.partition(":")[0] for text in plan.changed] == [f"tasks.{changed['name']}"]
        report = await apply_indexes(database, manifest)
        assert report == Report(created=("tasks.fine",), changed=(f"tasks.{changed['name']}",))
        after = await database["shop_tasks"].index_information()
        assert {name: after[name] for name in before} == before
        if changed["name"] == "i":
            report = await apply_indexes(database, manifest, replace=True)
            assert report.created == ("tasks.i",)
            assert await plan_indexes(database, manifest) == Report(
                existing=("tasks.i", "tasks.fine")
            )

    on_server(body)


def test_without_a_search_process(on_server: OnServer) -> None:
    parts = {"vector_index": {"definition": VECTOR}, "text_index": {"definition": {}}}
    indexes = [
        row("v", "vector", definition=VECTOR),
        row("w", "vectorSearch", definition=VECTOR),
        row("s", "search", definition={"mappings": {"dynamic": True}}),
        row("h", "hybrid", hybrid=parts),
        row("plain", keys={"a": 1}),
    ]

    async def body(database: Database) -> None:
        assert (await plan_indexes(database, shop(tasks=indexes))) == Report(
            created=("tasks.plain",),
            emulated=("tasks.v", "tasks.w", "tasks.h_vector"),
            unavailable=("tasks.s", "tasks.h_text"),
        )
        report = await apply_indexes(database, shop(tasks=indexes))
        assert report == Report(
            created=("tasks.plain",),
            emulated=("tasks.v", "tasks.w", "tasks.h_vector"),
            unavailable=("tasks.s", "tasks.h_text"),
        )

    on_server(body)


def test_what_the_server_refuses(on_server: OnServer) -> None:
    indexes = [
        row("u", keys={"a": 1}, unique=True),
        row("hay", "geospatial", keys={"g": "geoHaystack", "k": 1}),
        row("fine", keys={"b": 1}),
    ]

    async def body(database: Database) -> None:
        await database["shop_tasks"].insert_many([{"a": "secret"}, {"a": "secret"}])
        report = await apply_indexes(database, shop(tasks=indexes))
        assert report.created == ("tasks.fine",)
        assert report.refused == ("tasks.u: DuplicateKey", "tasks.hay: CannotCreateIndex")
        assert "secret" not in repr(report)

    on_server(body)


def test_names_of_a_longer_slug(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        other = parse({"slug": "shop_eu", "name": "EU"})
        manifest = shop(eu_tasks=[row("i", keys={"a": 1})])
        await register(database, {"shop": manifest, "shop_eu": other})
        report = await apply_indexes(database, manifest)
        assert report == Report(refused=("eu_tasks: the name is not the app's",))
        assert "shop_eu_tasks" not in await database.list_collection_names()

    on_server(body)


def test_long_lives_are_warned_of(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        index = row("t", "ttl", keys={"a": 1}, expireAfterSeconds=40_000_000)
        report = await apply_indexes(database, shop(tasks=[index]))
        assert report.created == ("tasks.t",)
        assert len(report.warnings) == 1

    on_server(body)


def test_the_command_line_plans_and_applies(mongo_uri: str, tmp_path: Path) -> None:
    def mdb(*arguments: str) -> tuple[int, list[dict[str, str]]]:
        options = ("--manifests", str(tmp_path), "--db-name", name, "--json")
        done = run("mdb", "index", *arguments, *options, MONGO_URI=mongo_uri)
        return done.returncode, json.loads(done.stdout or "[]")

    name = f"mdb_{uuid4().hex}"
    indexes = {"tasks": [row("i", keys={"a": 1}), row("v", "vector", definition=VECTOR)]}
    manifest = {"slug": "shop", "name": "Shop", "managed_indexes": indexes}
    (tmp_path / "shop.json").write_text(json.dumps(manifest))
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        try:
            assert mdb("plan")[0] != 0, "the app was never served"
            asyncio.run(registered(mongo_uri, name))
            made = {"app": "shop", "outcome": "created", "index": "tasks.i"}
            emulated = {"app": "shop", "outcome": "emulated", "index": "tasks.v"}
            assert mdb("plan", "shop") == (0, [made, emulated])
            assert client[name].list_collection_names(filter={"name": "shop_tasks"}) == []
            assert mdb("apply") == (0, [made, emulated])
            assert mdb("plan") == (0, [{**made, "outcome": "existing"}, emulated])
            assert mdb("plan", "crm")[0] != 0, "there is no such manifest"
        finally:
            client.drop_database(name)


async def registered(mongo_uri: str, name: str) -> None:
    async with AsyncMongoClient[dict[str, Any]](mongo_uri) as client:
        await register(client[name], {"shop": shop()})
