import asyncio

import pytest

from mdb_engine.database.handle import scoped_database
from mdb_engine.exceptions import MongoDBEngineError
from mdb_engine.manifest import parse
from mdb_engine.observability.operations import Operations
from mdb_engine.seeding import seed
from tests.support.kernel import SHOP
from tests.support.recorders import recording

APP = parse({"slug": "shop", "name": "Shop", "initial_data": {"plans": [{"n": 1}], "none": []}})


def test_an_empty_collection_is_filled_once() -> None:
    async def body() -> None:
        async with recording() as (recorder, client):
            database = client["appdata"]
            own = scoped_database(database, lambda: SHOP, Operations())
            assert await seed(database, APP, own) == ["plans"]
            inserted = [each for each in recorder.seen if "insert" in each]
            assert [each["insert"] for each in inserted] == ["shop_plans"]
            assert inserted[0]["documents"][0]["app_id"] == "shop"
            recorder.replies["update"] = {"n": 0, "nModified": 0, "ok": 1.0}
            assert await seed(database, APP, own) == []

    asyncio.run(body())


def test_what_failed_may_be_tried_again() -> None:
    async def body() -> None:
        async with recording() as (recorder, client):
            recorder.replies["insert"] = {"ok": 0.0, "code": 13, "errmsg": "no"}
            database = client["appdata"]
            own = scoped_database(database, lambda: SHOP, Operations())
            with pytest.raises(MongoDBEngineError):
                await seed(database, APP, own)
            assert "$pull" in recorder.seen[-1]["updates"][0]["u"]

    asyncio.run(body())
