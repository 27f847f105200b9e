from collections.abc import Callable

import pytest

from mdb_engine.database import ScopedDatabase
from mdb_engine.database.reading import aggregation
from tests.support.recorders import Recorder

Run = Callable[..., None]


def test_counting(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        found = {"id": 0, "ns": "appdata.shop_tasks", "firstBatch": [{"n": 7}]}
        assert await db.tasks.count_documents({"a": 1}, skip=1, limit=2) == 0
        recorder.replies["aggregate"] = {"cursor": found, "ok": 1.0}
        assert await db.tasks.count_documents({}) == 7
        recorder.replies["count"] = {"n": 9, "ok": 1.0}
        assert await db.tasks.estimated_document_count(maxTimeMS=5) == 9
        stages = [next(iter(stage)) for stage in recorder.seen[0]["pipeline"]]
        assert stages == ["$match", "$skip", "$limit", "$group", "$limit"]
        assert recorder.seen[2]["query"]["app_id"] == "shop"

    on_recorder(body)


def test_find_one(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        assert await db.tasks.find_one() is None
        await db.tasks.find_one(5, {"a": 1}, sort=[("a", 1)])
        sent = recorder.seen[1]
        assert dict(sent["filter"]["$and"][1]) == {"_id": 5}
        assert (sent["limit"], sent["singleBatch"]) == (1, True)

    on_recorder(body)


def test_both_spellings_of_options() -> None:
    fields = aggregation("x", [], None, None, {"max_time_ms": 5, "allow_disk_use": False})
    assert (fields["maxTimeMS"], fields["allowDiskUse"]) == (5, False)
    with pytest.raises(TypeError, match="explain"):
        aggregation("x", [], None, None, {"explain": True})
