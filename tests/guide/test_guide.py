"""The guide that users were given keeps its promises: its blocks run as they stand there."""

import ast
import asyncio
import importlib.util
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pymongo import AsyncMongoClient

from mdb_engine import ManifestValidator, MongoDBEngine
from mdb_engine.manifest.comments import read_json
from tests.guide.blocks import Block, blocks
from tests.guide.table import INDEX, JSON, PYTHON, SECTION, Python
from tests.support import config

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


class Routes:
    """Stands for a FastAPI app where a block takes one for granted: keeps what is registered."""

    def __init__(self) -> None:
        self.handlers: list[Callable[..., Awaitable[Any]]] = []

    def __getattr__(self, _name: str) -> Callable[..., Any]:
        def route(*_: Any, **__: Any) -> Callable[..., Any]:
            def register(handler: Callable[..., Awaitable[Any]]) -> Any:
                self.handlers.append(handler)
                return handler

            return register

        return route


@asynccontextmanager
async def prelude(needs: tuple[str, ...], mongo_uri: str) -> AsyncIterator[dict[str, Any]]:
    """Give the names that a block takes for granted."""
    name = f"guide_{uuid4().hex[:12]}"
    engine = MongoDBEngine(mongo_uri, name, settle_seconds=SETTLE_SECONDS)
    made: dict[str, Any] = {
        "MongoDBEngine": MongoDBEngine,
        "app": Routes(),
        "datetime": datetime,
        "db_name": name,
        "engine": engine,
        "logger": logging.getLogger("guide"),
        "manifest": dict(MANIFEST),
        "mongo_uri": mongo_uri,
        "registered": True,
        "task": {"title": "a task"},
    }
    try:
        await engine.initialize()
        await engine.register_app(MANIFEST)
        made["db"] = engine.get_scoped_db("my_app")
        yield {n: made[n] for n in needs} | {"__name__": "guide", "_mongo_uri": mongo_uri}
    finally:
        await engine.shutdown()
        async with AsyncMongoClient[dict[str, Any]](mongo_uri) as client:
            await client.drop_database(name)


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
    if row.fastapi and importlib.util.find_spec("fastapi") is None:
        pytest.skip("fastapi is not installed")
    monkeypatch.chdir(tmp_path)
    first = next((each.text for each in FOUND if each.language == "json"), "{}")
    (tmp_path / "manifest.json").write_text(first)

    async def run() -> None:
        async with prelude(row.needs, mongo_uri) as names:
            text = filled(block, row).replace("mongodb://localhost:27017", mongo_uri)
            await carry_out(text, names, row.raises)
            await served(names)

    asyncio.run(run())


async def served(names: Mapping[str, Any]) -> None:
    """Call what the block has registered, and end what it has opened."""
    app = names.get("app")
    for handler in app.handlers if isinstance(app, Routes) else ():
        if not inspect.signature(handler).parameters:
            await handler()
    if isinstance(names.get("engine"), MongoDBEngine):
        await names["engine"].shutdown()
