import asyncio
from collections.abc import Callable

import pytest

from mdb_engine.database import ScopedDatabase
from mdb_engine.database.handle import scoped_database
from mdb_engine.database.rim import Ask, Options
from mdb_engine.exceptions import QueryValidationError, RefusedError
from mdb_engine.observability.operations import Operations
from tests.support.kernel import SHOP
from tests.support.recorders import Recorder, recording


def test_whoever_finds_the_door_meets_the_kernel(on_recorder: Callable[..., None]) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        rim = db._rim
        feed = await rim.ask(Ask("find", {"find": "tasks", "filter": {}}, Options()))
        await feed.take(None)
        assert recorder.seen[0]["find"] == "shop_tasks"
        with pytest.raises(RefusedError):
            await rim.run(Ask("run", {"dropUser": "x"}, Options()))
        with pytest.raises(QueryValidationError):
            rim.check(Ask("find", {"find": "tasks", "filter": {"$where": "1"}}, Options()))
        assert len(recorder.seen) == 1

    on_recorder(body)


def test_the_scope_is_read_for_each_command() -> None:
    async def body() -> None:
        scopes = [SHOP]
        async with recording() as (recorder, client):
            db = scoped_database(client["appdata"], lambda: scopes[-1], Operations())
            later = db.east_tasks
            await later.find_one()
            scopes.append(type(SHOP)("shop", "appdata", ("app",), longer=("shop_east",)))
            with pytest.raises(RefusedError):
                await later.find_one()
            assert len(recorder.seen) == 1

    asyncio.run(body())


def test_operations_and_refusals_are_counted() -> None:
    async def body() -> None:
        operations = Operations()
        async with recording() as (recorder, client):
            db = scoped_database(client["appdata"], lambda: SHOP, operations)
            await db.tasks.find_one()
            recorder.replies["find"] = {"ok": 0.0, "code": 2, "errmsg": "no"}
            with pytest.raises(Exception, match="no"):
                await db.tasks.find(limit=20_000).to_list()
            with pytest.raises(RefusedError):
                db.apps_config  # noqa: B018 - that is the point
        text = operations.prometheus()
        assert operations.summary()["summary"]["find"]["count"] == 2
        assert 'mdb_engine_blocked_total{app="shop",reason="InvalidNamespace"} 1.0' in text
        assert 'mdb_engine_capped_total{app="shop",limit="max_results"} 1.0' in text

    asyncio.run(body())
