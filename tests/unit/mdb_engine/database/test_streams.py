from collections.abc import Callable

import pytest

from mdb_engine.database import ScopedDatabase
from mdb_engine.exceptions import RefusedError
from tests.support.recorders import Recorder

Run = Callable[..., None]
TOKEN = {"_data": "82"}


def opened(recorder: Recorder) -> None:
    event = {"_id": TOKEN, "operationType": "insert", "fullDocument": {"_id": 1}}
    cursor = {"id": 7, "ns": "appdata.shop_tasks", "firstBatch": [event]}
    recorder.replies["aggregate"] = {"cursor": cursor, "ok": 1.0}
    recorder.replies["getMore"] = {
        "cursor": {"id": 7, "ns": "appdata.shop_tasks", "nextBatch": []},
        "ok": 1.0,
    }


def test_a_stream_opens_when_it_is_used(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        opened(recorder)
        stream = db.tasks.watch([{"$match": {"a": 1}}], full_document="updateLookup", batch_size=5)
        assert (recorder.seen, stream.resume_token) == ([], None)
        async with stream:
            assert (await stream.next())["_id"] == TOKEN
            assert stream.resume_token == TOKEN
            assert await stream.try_next() is None
            assert stream.alive
        assert not stream.alive
        assert await stream.try_next() is None
        with pytest.raises(StopAsyncIteration):
            await stream.next()
        sent = recorder.seen[0]
        stages = [next(iter(stage)) for stage in sent["pipeline"]]
        assert stages == ["$changeStream", "$match", "$set", "$unset", "$match"]
        assert dict(sent["pipeline"][0]["$changeStream"]) == {"fullDocument": "updateLookup"}
        assert sent["cursor"]["batchSize"] == 5

    on_recorder(body)


def test_of_the_whole_database(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        opened(recorder)
        stream = await db.watch(resume_after=TOKEN)
        async for event in stream:
            assert event["operationType"] == "insert"
            break
        await stream.close()
        assert recorder.seen[0]["aggregate"] == 1
        assert dict(recorder.seen[0]["pipeline"][0]["$changeStream"]["resumeAfter"]) == TOKEN

    on_recorder(body)


def test_refused_at_once(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        with pytest.raises(RefusedError):
            db.watch([{"$lookup": {"from": "x", "as": "x", "pipeline": []}}])
        with pytest.raises(TypeError):
            db.watch(other=1)
        assert recorder.seen == []

    on_recorder(body)
