from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Any

import pytest
from pymongo import CursorType
from pymongo.collation import Collation
from pymongo.errors import InvalidOperation

from mdb_engine.database import ScopedDatabase
from mdb_engine.exceptions import OperationFailedError, QueryValidationError
from mdb_engine.scope.model import Limits
from tests.support.kernel import SHOP
from tests.support.recorders import Recorder

Run = Callable[..., None]


def batch(count: int, number: int = 0) -> dict[str, Any]:
    documents = [{"_id": place} for place in range(count)]
    cursor = {"id": number, "ns": "appdata.shop_tasks", "firstBatch": documents}
    return {"cursor": cursor, "ok": 1.0}


def test_nothing_is_sent_before_a_document_is_wanted(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        cursor = db.tasks.find({"a": 1}).sort("b", -1).limit(5).skip(2).batch_size(3)
        cursor = cursor.max_time_ms(9).hint([("a", 1)]).comment("why").allow_disk_use(False)
        cursor = cursor.collation(Collation("en")).min([("a", 1)]).max([("a", 9)])
        assert recorder.seen == []
        assert cursor.alive
        assert await cursor.to_list() == []
        sent = recorder.seen[0]
        assert (sent["limit"], sent["skip"], sent["batchSize"], sent["maxTimeMS"]) == (5, 2, 3, 9)
        assert (dict(sent["sort"]), dict(sent["hint"])) == ({"b": -1}, {"a": 1})
        assert (dict(sent["min"]), dict(sent["max"])) == ({"a": 1}, {"a": 9})
        assert sent["comment"] == "why"
        with pytest.raises(InvalidOperation):
            cursor.limit(1)

    on_recorder(body)


def test_reading(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        recorder.replies["find"] = batch(5)
        cursor = db.tasks.find()
        assert await cursor.next() == {"_id": 0}
        assert await cursor.to_list(2) == [{"_id": 1}, {"_id": 2}]
        assert [each["_id"] async for each in cursor] == [3, 4]
        assert (cursor.retrieved, cursor.alive, cursor.truncated) == (5, False, False)
        assert len(await cursor.rewind().to_list(length=10)) == 5
        assert len(await cursor.clone().to_list(length=None)) == 5
        assert len(await copy(cursor).to_list()) == 5
        async with db.tasks.find() as left:
            await left.next()
        assert await left.to_list() == []
        with pytest.raises(StopAsyncIteration):
            await left.next()
        for wrong in (-1, True):
            with pytest.raises(ValueError, match="length"):
                await db.tasks.find().to_list(wrong)
        assert await db.tasks.find().to_list(0) == []

    on_recorder(body)


def test_what_the_cap_has_cut_is_told(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        recorder.replies["find"] = recorder.replies["aggregate"] = batch(3)
        for cursor, told in (
            (db.tasks.find(), True),
            (db.tasks.find(limit=20), True),
            (db.tasks.find(limit=3), False),
            (db.tasks.aggregate([]), True),
        ):
            assert not cursor.truncated
            assert len(await cursor.to_list()) == 3
            assert cursor.truncated is told

    on_recorder(body, replace(SHOP, limits=Limits(max_results=3)))


def test_an_app_may_want_an_error_instead(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        recorder.replies["find"] = recorder.replies["aggregate"] = batch(4)
        recorder.replies["distinct"] = {"values": [1, 2, 3, 4], "ok": 1.0}
        with pytest.raises(OperationFailedError):
            await db.tasks.find().to_list()
        with pytest.raises(OperationFailedError):
            async for _ in db.tasks.aggregate([]):
                pass
        with pytest.raises(OperationFailedError):
            await db.tasks.distinct("a")

    limits = Limits(max_results=3, result_overflow="error")
    on_recorder(body, replace(SHOP, limits=limits))


def test_refused_at_once(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        cursor = db.tasks.find({"a": 1})
        for wrong in (
            lambda: db.tasks.find({"$where": "1"}),
            lambda: cursor.where("1"),
            lambda: cursor.max_time_ms(-1),
            lambda: db.tasks.find(maxTimeMS=-1),
            lambda: db.tasks.aggregate([{"$match": {"$where": "1"}}]),
        ):
            with pytest.raises(QueryValidationError):
                wrong()
        with pytest.raises(ValueError, match="skip"):
            cursor.skip(-1)
        with pytest.raises(TypeError):
            cursor.limit("5")  # type: ignore[arg-type]
        assert await cursor.to_list() == []
        assert len(recorder.seen) == 1
        assert "skip" not in recorder.seen[0], "what was refused is forgotten"

    on_recorder(body)


def test_slices(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        await db.tasks.find()[2:5].to_list()
        await db.tasks.find()[3:].to_list()
        assert [(each["skip"], each["limit"]) for each in recorder.seen] == [(2, 3), (3, 10_000)]
        for wrong, kind in ((5, TypeError), (slice(0, 4, 2), TypeError), (slice(5, 2), IndexError)):
            with pytest.raises(kind):
                db.tasks.find()[wrong]

    on_recorder(body)


def test_other_questions_of_a_cursor(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        cursor = db.tasks.find({"a": 1})
        await cursor.distinct("b")
        await cursor.explain()
        distinct, explain = recorder.seen
        assert (distinct["key"], explain["explain"]["find"]) == ("b", "shop_tasks")

    on_recorder(body)


def test_tailable_cursors(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        waiting = db.tasks.find(cursor_type=CursorType.TAILABLE_AWAIT).max_await_time_ms(5)
        await waiting.to_list()
        await db.tasks.find(cursor_type=CursorType.TAILABLE).to_list()
        assert [("awaitData" in each, each["tailable"]) for each in recorder.seen] == [
            (True, True), (False, True),
        ]  # fmt: skip
        assert "limit" not in recorder.seen[0]

    on_recorder(body)


def test_aggregate_with_and_without_await(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        recorder.replies["aggregate"] = batch(2)
        assert len(await db.tasks.aggregate([]).to_list()) == 2
        awaited = await db.tasks.aggregate([], batchSize=7)
        assert [each["_id"] async for each in awaited] == [0, 1]
        assert len([each async for each in db.tasks.aggregate([]).batch_size(5_000)]) == 2
        sizes = [each["cursor"]["batchSize"] for each in recorder.seen]
        assert sizes == [1_000, 7, 1_000]

    on_recorder(body)


def test_listed_documents(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        recorder.replies["listIndexes"] = batch(3)
        cursor = await db.tasks.list_indexes()
        assert (await cursor.next())["_id"] == 0
        assert cursor.alive
        await cursor.close()
        assert [each["_id"] async for each in db.tasks.list_indexes()] == [0, 1, 2]

    on_recorder(body)
