from collections.abc import Callable

import pytest
from pymongo import IndexModel

from mdb_engine.database import ScopedDatabase
from mdb_engine.database.indexing import created_specs
from mdb_engine.exceptions import RefusedError
from tests.support.recorders import Recorder


def test_items_of_the_command() -> None:
    specs = created_specs([IndexModel([("a", -1)], unique=True)])
    assert specs == [{"name": "a_-1", "key": {"a": -1}, "unique": True}]
    with pytest.raises(TypeError):
        created_specs([{"a": 1}])  # type: ignore[list-item]


def test_search_indexes_pass_the_kernel(on_recorder: Callable[..., None]) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        manager = db.tasks.index_manager
        for call in (
            manager.create_search_index("s", {}),
            manager.update_search_index("s", {}),
            manager.drop_search_index("s"),
        ):
            with pytest.raises(RefusedError):
                await call
        assert {next(iter(each)) for each in recorder.seen} == {"listCollections"}

    on_recorder(body)
