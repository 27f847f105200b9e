from collections.abc import Callable

import pytest
from pymongo import IndexModel
from pymongo.errors import OperationFailure

from mdb_engine.database import ScopedDatabase
from mdb_engine.exceptions import MongoDBEngineError, RefusedError
from tests.support.recorders import Recorder

Run = Callable[..., None]
MISSING = {"ok": 0.0, "code": 26, "errmsg": "ns not found appdata.shop_tasks"}
DENIED = {"ok": 0.0, "code": 13, "errmsg": "not authorized on appdata.shop_tasks"}


def test_indexes(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        assert await db.tasks.create_index([("a", 1)], unique=True) == "a_1"
        assert await db.tasks.create_indexes([IndexModel("b"), IndexModel("c")]) == ["b_1", "c_1"]
        await db.tasks.drop_index([("a", 1)])
        await db.tasks.drop_indexes()
        dropped = [each["index"] for each in recorder.seen if "dropIndexes" in each]
        assert [dict(dropped[0]), dropped[1]] == [{"a": 1}, "*"]
        index = {"v": 2, "key": {"a": 1}, "name": "a_1"}
        cursor = {"id": 0, "ns": "appdata.shop_tasks", "firstBatch": [index]}
        recorder.replies["listIndexes"] = {"cursor": cursor, "ok": 1.0}
        assert await db.tasks.index_information() == {"a_1": {"v": 2, "key": [("a", 1)]}}
        with pytest.raises(TypeError):
            await db.tasks.create_indexes(["a"])  # type: ignore[list-item]

    on_recorder(body)


def test_what_does_not_exist(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        recorder.replies.update(drop=MISSING, listIndexes=MISSING)
        await db.tasks.drop()
        assert await db.tasks.index_information() == {}
        recorder.replies.update(drop=DENIED, listIndexes=DENIED)
        for call in (db.tasks.drop(), db.tasks.index_information()):
            with pytest.raises(OperationFailure) as raised:
                await call
            assert isinstance(raised.value, MongoDBEngineError)
            assert "app.tasks" in str(raised.value)

    on_recorder(body)


def test_rename_and_options(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        await db.tasks.rename("done", dropTarget=True)
        (sent,) = [each for each in recorder.seen if "renameCollection" in each]
        assert (sent["renameCollection"], sent["to"]) == ("appdata.shop_tasks", "appdata.shop_done")
        assert sent["$db"] == "admin"
        assert await db.tasks.options() == {}

    on_recorder(body)


def test_the_index_manager(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        manager = db.tasks.index_manager
        assert await manager.create_text_index(["a", "b"]) == "a_text_b_text"
        assert await manager.create_text_index("a") == "a_text"
        assert await manager.create_geo_index("at") == "at_2dsphere"
        with pytest.raises(RefusedError, match="needs at least one field"):
            await manager.create_vector_search_index("v", {"fields": []})
        assert await manager.get_index("none") is None
        assert repr(manager) == "IndexManager('tasks')"
        await manager.drop_index("a_text")
        assert recorder.seen[-1]["index"] == "a_text"

    on_recorder(body)
