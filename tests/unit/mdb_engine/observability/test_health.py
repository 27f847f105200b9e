import asyncio
import gc
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from mdb_engine.observability.health import CROWDED, ClusterView, PoolWatch, health
from tests.support.recorders import recording


def test_before_the_start() -> None:
    told = asyncio.run(health(None, PoolWatch()))
    assert told["status"] == told["mongodb"]["status"] == told["pool"]["status"] == "unhealthy"
    assert [check["name"] for check in told["checks"]] == ["mongodb", "pool"]


def test_with_a_cluster() -> None:
    async def body() -> None:
        pool = PoolWatch()
        async with recording() as (_, client):
            told = await health(client, pool)
            assert told["status"] == "healthy"
            assert told["mongodb"]["ping_ms"] > 0
            for _ in range(int(100 * CROWDED)):
                pool.connection_created(None)
                pool.connection_checked_out(None)
            told = await health(client, pool)
            assert (told["status"], told["pool"]["in_use"]) == ("degraded", 80)
            pool.connection_checked_in(None)
            pool.connection_closed(None)
            told = await health(client, pool)
            assert (told["status"], told["pool"]["open"]) == ("healthy", 79)

    asyncio.run(body())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_an_answer() -> None:
    async def body() -> None:
        uri = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=50"
        async with AsyncMongoClient[dict[str, Any]](uri) as client:
            told = await health(client, PoolWatch())
        assert told["mongodb"] == {
            "status": "unhealthy",
            "message": "no answer: ServerSelectionTimeoutError",
        }

    asyncio.run(body())
    gc.collect()


def test_the_view_shows_the_cluster_and_nothing_else() -> None:
    async def body() -> None:
        async with recording() as (recorder, client):
            recorder.replies["buildinfo"] = {"version": "6.0.5", "ok": 1.0}
            view = ClusterView(client)
            assert (await view.ping())["ok"] == 1.0
            assert (await view.server_info())["version"] == "6.0.5"
            assert view.topology()["type"] == "Single"
            assert repr(view) == "ClusterView()"
            with pytest.raises(AttributeError):
                view.client  # type: ignore[attr-defined]  # noqa: B018 - that is the point

    asyncio.run(body())
