import asyncio
import gc
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

import mdb_engine
from mdb_engine import MongoDBEngine
from mdb_engine.exceptions import (
    ConfigurationError,
    InitializationError,
    MongoDBEngineError,
    NotInitializedError,
)
from tests.support import config

# The driver leaves a socket to the garbage collector when nobody listens (PyMongo 4.20).
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


NOWHERE = "mongodb://me:hushhush@127.0.0.1:1/?serverSelectionTimeoutMS=50"


def test_a_wrong_keyword() -> None:
    with pytest.raises(TypeError, match="pool_size"):
        MongoDBEngine(pool_size=1)


@pytest.mark.parametrize("uri", [NOWHERE, "mongodb://me:hush@hush@host"])
def test_no_cluster(uri: str) -> None:
    engine = MongoDBEngine(uri, "x")
    with pytest.raises(InitializationError) as failed:
        asyncio.run(engine.initialize())
    assert isinstance(failed.value, RuntimeError | MongoDBEngineError)
    assert "hush" not in str(failed.value) + repr(engine)
    assert failed.value.__cause__ is None


def test_before_the_start() -> None:
    engine = MongoDBEngine(NOWHERE, "x")
    with pytest.raises(NotInitializedError):
        engine.get_scoped_db("shop")
    with pytest.raises(RuntimeError):
        engine.start_session()
    with pytest.raises(RuntimeError):
        asyncio.run(engine.reload_apps())
    assert engine.get_app("shop") is None
    assert engine.get_metrics()["total_operations"] == 0
    assert asyncio.run(engine.get_health_status())["status"] == "unhealthy"
    asyncio.run(engine.shutdown())
    assert not hasattr(engine, "mongo_db")


def test_a_manifest_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        asyncio.run(MongoDBEngine(NOWHERE).load_manifest("nowhere.json"))


def test_a_lifespan_needs_the_cluster() -> None:
    async def body() -> None:
        async with MongoDBEngine(NOWHERE).lifespan("a", {"slug": "a"})(SimpleNamespace()):
            pass

    with pytest.raises(InitializationError):
        asyncio.run(body())


def test_create_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """With fastapi it is an app; without, the error says what is missing."""
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(ConfigurationError, match="fastapi"):
        MongoDBEngine(NOWHERE).create_app("a", {"slug": "a"})

    monkeypatch.undo()
    made = MongoDBEngine(NOWHERE).create_app("a", {"slug": "a"}, title="A")
    assert made.title == "A"


def test_public_names_are_loaded_when_they_are_used() -> None:
    for name in mdb_engine.__all__:
        assert getattr(mdb_engine, name).__name__ == name
    assert set(mdb_engine.__all__) <= set(dir(mdb_engine))
    with pytest.raises(AttributeError):
        mdb_engine.Nothing  # noqa: B018 - that is the point


HEAVY = ("casbin", "fastapi", "gridfs", "mdb_engine.engine", "motor", "openai", "pymongo")


def test_the_package_alone_is_light() -> None:
    text = f"import sys, mdb_engine; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(  # noqa: S603 - our own text
        [sys.executable, "-c", text],
        env=config.environment(PYTHONPATH=":".join(filter(None, sys.path))),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
