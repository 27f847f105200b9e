from collections.abc import Callable

import pytest
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteMany, InsertOne, UpdateOne
from pymongo.errors import BulkWriteError, InvalidDocument

from mdb_engine.database import ScopedDatabase
from mdb_engine.exceptions import (
    ImmutableFieldError,
    MongoDBEngineError,
    QueryValidationError,
    ResourceLimitExceeded,
)
from mdb_engine.rawbson import encode
from tests.support.recorders import Recorder

Run = Callable[..., None]


def test_the_callers_document_gets_its_id_and_nothing_else(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        document = {"a": 1, "app_id": "crm"}
        result = await db.tasks.insert_one(document)
        assert document == {"a": 1, "app_id": "crm", "_id": result.inserted_id}
        many = [{"a": 1}, {"_id": 5}]
        found = await db.tasks.insert_many(iter(many))
        assert found.inserted_ids == [many[0]["_id"], 5]
        raw = RawBSONDocument(encode({"a": 1}))
        assert (await db.tasks.insert_one(raw)).inserted_id is None
        stored = [dict(d) for each in recorder.seen for d in each["documents"]]
        assert [list(each) for each in stored[:2]] == [["_id", "app_id", "a"]] * 2
        assert {each["app_id"] for each in stored} == {"shop"}

    on_recorder(body)


def test_nothing_of_a_batch_is_sent_with_a_refused_document(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        with pytest.raises(ResourceLimitExceeded) as raised:
            await db.tasks.insert_many([{}, {"a": "x" * 17_000_000}], ordered=False)
        assert raised.value.context == {"index": 1}
        with pytest.raises(ImmutableFieldError):
            await db.tasks.update_one({}, {"$set": {"app_id": "crm"}})
        with pytest.raises(QueryValidationError):
            await db.tasks.bulk_write([InsertOne({}), UpdateOne({}, {"$set": {"app_id": 1}})])
        for wrong in ([], {}, "x", 5):
            with pytest.raises(TypeError):
                await db.tasks.insert_many(wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidDocument):
            await db.tasks.insert_one({"a": object()})
        assert recorder.seen == []

    on_recorder(body)


def test_a_bulk_write_is_one_for_the_driver(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        requests = [InsertOne({"a": 1}), UpdateOne({}, {"$set": {"b": 1}}), DeleteMany({})]
        await db.tasks.bulk_write(requests, ordered=False, let={"x": 1})
        assert [next(iter(each)) for each in recorder.seen] == ["insert", "update", "delete"]
        assert dict(recorder.seen[2]["deletes"][0]["q"]) == {"app_id": "shop"}

    on_recorder(body)


def test_errors_tell_the_callers_words(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        told = {"index": 0, "code": 11000, "errmsg": "E11000 in appdata.shop_tasks"}
        recorder.replies["insert"] = {"n": 0, "writeErrors": [told], "ok": 1.0}
        mine = {"_id": 1}
        with pytest.raises(BulkWriteError) as raised:
            await db.tasks.insert_many([mine])
        assert isinstance(raised.value, MongoDBEngineError)
        error = raised.value.details["writeErrors"][0]
        assert error["op"] is mine
        assert error["errmsg"] == "E11000 in app.tasks"

    on_recorder(body)
