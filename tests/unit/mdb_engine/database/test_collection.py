from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from bson.codec_options import CodecOptions
from pymongo import WriteConcern
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference

from mdb_engine.database import ScopedCollection, ScopedDatabase
from tests.support.kernel import SHOP
from tests.support.recorders import Recorder


def test_names(on_recorder: Callable[..., None]) -> None:
    async def body(db: ScopedDatabase, _: Recorder) -> None:
        tasks = db.tasks
        assert (tasks.name, tasks.full_name) == ("tasks", "app.tasks")
        assert tasks.archive.name == tasks["archive"].name == "tasks.archive"
        assert tasks == db["tasks"]
        assert tasks != db.other
        assert tasks != "tasks"
        assert len({tasks, db.tasks}) == 1
        assert repr(tasks) == "ScopedCollection('tasks', app='shop')"
        with pytest.raises(NotImplementedError):
            bool(tasks)
        with pytest.raises(TypeError, match="no method 'insert'"):
            tasks.insert({})
        with pytest.raises(AttributeError):
            tasks._collection  # noqa: B018 - that is the point

    on_recorder(body)


def test_options_are_our_own_and_are_used(on_recorder: Callable[..., None]) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        codec: Any = CodecOptions(tz_aware=True)
        changed = db.tasks.with_options(
            codec_options=codec,
            read_concern=ReadConcern("majority"),
            read_preference=ReadPreference.NEAREST,
            write_concern=WriteConcern(w="majority", j=True),
        )
        assert isinstance(changed, ScopedCollection)
        assert changed.codec_options == codec
        assert changed.read_preference == ReadPreference.NEAREST
        assert changed.read_concern == ReadConcern("majority")
        await changed.find_one({})
        await changed.insert_one({})
        assert dict(recorder.seen[0]["readConcern"]) == {"level": "majority"}
        assert dict(recorder.seen[1]["writeConcern"]) == {"w": "majority", "j": True}
        assert db.tasks.write_concern is None

    on_recorder(body)


def test_unacknowledged_writes_are_acknowledged(on_recorder: Callable[..., None]) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        await db.tasks.with_options(write_concern=WriteConcern(w=0)).delete_many({})
        assert dict(recorder.seen[0]["writeConcern"]) == {"w": 1}

    on_recorder(body, replace(SHOP))
