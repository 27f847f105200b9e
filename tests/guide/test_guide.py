"""The guide that users were given keeps its promises: its blocks run as they stand there."""

import ast
import asyncio
import inspect
import logging
import re
import sys
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pymongo import AsyncMongoClient

from mdb_engine import ConfigurationError, ManifestValidator, MongoDBEngine
from mdb_engine.manifest import extras
from mdb_engine.manifest.comments import read_json
from tests.guide.blocks import Block, blocks
from tests.guide.table import INDEX, JSON, MODULES, PYTHON, SECTION, Call, Python
from tests.support import config
from tests.support.programs import ROOT

GUIDE = Path(config.GUIDE) if config.GUIDE else None
FOUND = blocks(GUIDE) if GUIDE else []
MINIMAL = {"schema_version": "2.0", "slug": "my_app", "name": "My App"}
MANIFEST: Mapping[str, Any] = {
    **MINIMAL,
    "managed_indexes": {
        "tasks": [{"type": "regular", "keys": {"created_at": 1}, "name": "by_age"}]
    },
}
SETTLE_SECONDS = 0.2

needs_guide = pytest.mark.skipif(GUIDE is None, reason="MDB_GUIDE names no guide")


def chosen(language: str) -> list[Any]:
    found = [each for each in FOUND if each.language == language]
    return [pytest.param(each, id=f"{each.heading} {each.number}") for each in found] or [None]


@needs_guide
@pytest.mark.parametrize(("language", "table"), [("python", PYTHON), ("json", JSON)])
def test_every_block_is_in_the_table(language: str, table: Mapping[Any, Any]) -> None:
    assert {each.key for each in FOUND if each.language == language} == set(table)


@needs_guide
@pytest.mark.parametrize("block", chosen("json"))
def test_a_manifest_is_valid(block: Block) -> None:
    document = read_json(block.text.replace("{ ... }", "{}"))
    kind = JSON[block.key]
    if kind == INDEX:
        document = {**MINIMAL, "managed_indexes": {"tasks": [document]}}
    elif kind == SECTION:
        document = {**MINIMAL, **document}
    assert tuple(ManifestValidator().validate(document)) == (True, None, None)


@asynccontextmanager
async def prelude(needs: tuple[str, ...], mongo_uri: str) -> AsyncIterator[dict[str, Any]]:
    """Give the names that a block takes for granted."""
    name = f"guide_{uuid4().hex[:12]}"
    engine = MongoDBEngine(mongo_uri, name, settle_seconds=SETTLE_SECONDS)
    made: dict[str, Any] = {
        "MongoDBEngine": MongoDBEngine,
        "app": FastAPI(),
        "datetime": datetime,
        "db_name": name,
        "engine": engine,
        "logger": logging.getLogger("guide"),
        "manifest": dict(MANIFEST),
        "mongo_uri": mongo_uri,
        "registered": True,
        "stored": True,
        "task": {"title": "a task"},
    }
    try:
        await engine.initialize()
        await engine.register_app(MANIFEST)
        made["db"] = engine.get_scoped_db("my_app")
        if "stored" in needs:
            await made["db"].tasks.insert_one({"due": datetime(2030, 1, 1)})  # noqa: DTZ001 - as users do
        yield {n: made[n] for n in needs} | {"__name__": "guide", "_db_name": name}
    finally:
        await engine.shutdown()
        async with AsyncMongoClient[dict[str, Any]](mongo_uri) as client:
            for each in (name, f"{name}_own"):
                await client.drop_database(each)


def filled(block: Block, row: Python) -> str:
    text = block.text
    for gap, filling in row.fill.items():
        assert gap in text, gap
        text = text.replace(gap, filling)
    return text


async def carry_out(text: str, names: dict[str, Any], raises: Mapping[int, str]) -> None:
    """Run a block statement by statement; those of the table must raise."""
    for place, node in enumerate(ast.parse(text).body):
        module = ast.Module([node], [])
        code = compile(module, "guide", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        try:
            result = eval(code, names)  # noqa: S307 - the guide's own text
            if inspect.isawaitable(result):
                await result
        except Exception as error:
            kinds = {kind.__name__ for kind in type(error).__mro__}
            if raises.get(place) not in kinds:
                raise
        else:
            assert place not in raises, f"statement {place} does not raise"


@needs_guide
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("block", chosen("python"))
def test_a_block_runs(
    block: Block, mongo_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = PYTHON[block.key]
    if row.owner:
        pytest.skip(f"needs {row.owner}, which is not there yet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(extras, "find_spec", lambda _: object())
    first = next((each.text for each in FOUND if each.language == "json"), "{}")
    (tmp_path / "manifest.json").write_text(first)

    async def run() -> None:
        async with prelude(row.needs, mongo_uri) as names:
            text = filled(block, row).replace("mongodb://localhost:27017", mongo_uri)
            text = text.replace('"my_database"', f'"{names["_db_name"]}_own"')
            await carry_out(text, names, row.raises)
            await served(names, row.calls)

    asyncio.run(run())


async def served(names: Mapping[str, Any], calls: tuple[Call, ...]) -> None:
    """Start and ask the app that the block has made, and end what it has opened."""
    app = names.get("app")
    if isinstance(app, FastAPI):
        async with app.router.lifespan_context(app):
            await asked(app, calls)
    if isinstance(names.get("engine"), MongoDBEngine):
        await names["engine"].shutdown()


async def asked(app: FastAPI, calls: tuple[Call, ...]) -> None:
    """Every GET without parameters, then the calls."""
    paths = [r.path for r in app.routes if isinstance(r, APIRoute) and "GET" in (r.methods or ())]
    gets = tuple(Call("GET", path) for path in paths if "{" not in path)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://guide") as client:
        for call in (*gets, *calls):
            answer = await client.request(call.method, call.path, json=call.body or None)
            assert answer.status_code == HTTPStatus.OK, (call, answer.text)
            assert call.gives in answer.text


TODO = ("Complete Example: Todo App", 1)


def block_of(language: str) -> Block:
    return next(each for each in FOUND if (each.key, each.language) == (TODO, language))


def stand_in() -> ModuleType:
    """Give what the Todo app wants of auth: somebody who is logged in."""

    async def setup_auth_from_manifest(*_: Any) -> None:
        pass

    async def get_current_user() -> dict[str, Any]:
        return {"_id": "somebody"}

    found = ModuleType("mdb_engine.auth")
    vars(found).update(
        setup_auth_from_manifest=setup_auth_from_manifest, get_current_user=get_current_user
    )
    return found


@asynccontextmanager
async def todo_app(mongo_uri: str) -> AsyncIterator[FastAPI]:
    """Give the guide's complete app as it stands, on a database of its own."""
    name = f"guide_{uuid4().hex[:12]}"
    text = block_of("python").text.replace("mongodb://localhost:27017", mongo_uri)
    names: dict[str, Any] = {"__name__": "guide"}
    exec(text.replace('"todo_db"', f'"{name}"'), names)  # noqa: S102 - the guide's own text
    try:
        yield names["app"]
    finally:
        await names["engine"].shutdown()
        async with AsyncMongoClient[dict[str, Any]](mongo_uri) as client:
            await client.drop_database(name)


@pytest.fixture
def _todo_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "manifest.json").write_text(block_of("json").text)
    monkeypatch.setitem(sys.modules, "mdb_engine.auth", stand_in())


@needs_guide
@pytest.mark.usefixtures("_todo_files")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_complete_app_runs_but_for_its_logins(
    mongo_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _: object())

    async def run() -> None:
        async with todo_app(mongo_uri) as app, app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://guide") as client:
                made = (await client.post("/todos", json={"title": "write"})).json()["id"]
                [todo] = (await client.get("/todos")).json()["todos"]
                assert (todo["_id"], todo["title"], todo["completed"]) == (made, "write", False)
                assert todo["app_id"] == "todo_app"
                done = await client.put(f"/todos/{made}", json={"completed": True})
                assert done.json() == {"success": True}
                assert (await client.get("/todos")).json()["todos"][0]["completed"] is True
                assert (await client.delete(f"/todos/{made}")).json() == {"success": True}
                assert (await client.delete(f"/todos/{made}")).status_code == HTTPStatus.NOT_FOUND

    asyncio.run(run())


@needs_guide
@pytest.mark.usefixtures("_todo_files")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_without_casbin_the_error_names_the_extra(
    mongo_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _: None)

    async def run() -> None:
        async with todo_app(mongo_uri) as app, app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://guide") as client:
                with pytest.raises(ConfigurationError, match=r"mdb-engine\[casbin\]"):
                    await client.get("/todos")

    asyncio.run(run())


@needs_guide
def test_the_base_install_has_every_module() -> None:
    """`pip install mdb-engine` alone runs the blocks, save the providers of policies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = {re.split(r"[^A-Za-z0-9_-]", each)[0] for each in project["dependencies"]}
    imported = set()
    for block in (each for each in FOUND if each.language == "python"):
        imported |= set(re.findall(r"^\s*(?:from|import) (\w+)", block.text, re.MULTILINE))
    assert imported == set(MODULES)
    assert {package for package in MODULES.values() if package} <= base
