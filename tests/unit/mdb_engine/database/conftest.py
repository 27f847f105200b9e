"""A handle over a server that remembers what reached it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mdb_engine.database import ScopedDatabase
from mdb_engine.database.handle import scoped_database
from mdb_engine.observability.operations import Operations
from mdb_engine.scope.model import Scope
from tests.support.kernel import SHOP
from tests.support.recorders import Recorder, recording

Body = Callable[[ScopedDatabase, Recorder], Awaitable[None]]


@pytest.fixture
def on_recorder() -> Callable[..., None]:
    """Run a coroutine function with a handle of SHOP, or of another scope."""

    def run(body: Body, scope: Scope = SHOP) -> None:
        async def inside() -> None:
            async with recording() as (recorder, client):
                database: Any = client[scope.database]
                await body(scoped_database(database, lambda: scope, Operations()), recorder)

        asyncio.run(inside())

    return run
