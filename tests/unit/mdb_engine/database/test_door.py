import asyncio
from typing import Any

import pytest

from mdb_engine.database.door import Ask, Door, Options, laid_out, prepared
from mdb_engine.exceptions import QueryValidationError
from mdb_engine.observability.operations import Operations
from tests.support.kernel import SHOP
from tests.support.recorders import recording


def test_a_request_meets_the_kernel() -> None:
    operations = Operations()
    asked = prepared(
        Ask("find", {"find": "tasks", "filter": {"a": 1}}, Options()), SHOP, operations
    )
    assert asked.physical.command["find"] == "shop_tasks"
    with pytest.raises(QueryValidationError):
        prepared(Ask("find", {"find": "x", "filter": {"$where": "1"}}, Options()), SHOP, operations)
    assert "BadValue" in operations.prometheus()


def test_the_drivers_objects_are_those_of_the_command() -> None:
    async def body() -> None:
        async with recording() as (_, client):
            database: Any = client["appdata"]
            door = Door(database, lambda: SHOP, Operations())
            fields = {"delete": "tasks", "deletes": [], "writeConcern": {"w": 0}}
            ask = Ask("delete_one", fields, Options())
            here = laid_out(door, ask, prepared(ask, SHOP, door.observer))
            assert here.target.full_name == "appdata.shop_tasks"
            assert here.target.write_concern.document == {"w": 1}
            assert here.seconds == 30

    asyncio.run(body())
