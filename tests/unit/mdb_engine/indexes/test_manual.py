import asyncio
from typing import Any

import pytest

from mdb_engine.database.handle import scoped_database
from mdb_engine.exceptions import ManifestValidationError
from mdb_engine.indexes import run_index_creation_for_collection
from mdb_engine.observability.operations import Operations
from tests.support.kernel import SHOP
from tests.support.recorders import recording

STATUS = {"type": "regular", "keys": {"status": 1}, "name": "status"}
VECTOR = {"type": "vector", "name": "v", "definition": {"fields": []}}


def test_both_ways_to_call_it() -> None:
    async def body() -> None:
        async with recording() as (recorder, client):
            db = scoped_database(client["appdata"], lambda: SHOP, Operations())
            first = await run_index_creation_for_collection(
                collection=db.tasks, indexes=[STATUS], app_slug="shop"
            )
            second = await run_index_creation_for_collection(
                db=db, slug="shop", collection_name="tasks", index_definitions=[STATUS]
            )
            assert first.created == second.created == ("status",)
            sent = [each for each in recorder.seen if "createIndexes" in each]
            assert [each["createIndexes"] for each in sent] == ["shop_tasks"] * 2

    asyncio.run(body())


def test_what_cannot_be_built_is_told() -> None:
    async def body() -> None:
        async with recording() as (recorder, client):
            db = scoped_database(client["appdata"], lambda: SHOP, Operations())
            recorder.replies["createIndexes"] = {"ok": 0.0, "code": 86, "errmsg": "no"}
            found = await run_index_creation_for_collection(db.tasks, [STATUS, VECTOR])
            assert (found.changed, found.unavailable) == (("status",), ("v",))

    asyncio.run(body())


def test_wrong_calls() -> None:
    async def call(*args: Any, **named: Any) -> None:
        async with recording() as (_, client):
            db = scoped_database(client["appdata"], lambda: SHOP, Operations())
            await run_index_creation_for_collection(*args or (db.tasks,), **named)

    with pytest.raises(ManifestValidationError, match=r"indexes\.0"):
        asyncio.run(call(indexes=[{"type": "regular"}]))
    with pytest.raises(TypeError):
        asyncio.run(call(None, [STATUS]))
