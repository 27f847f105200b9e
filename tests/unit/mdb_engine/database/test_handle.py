from collections.abc import Callable
from dataclasses import replace

import pytest
from pymongo.errors import CollectionInvalid

from mdb_engine.database import ScopedCollection, ScopedDatabase
from mdb_engine.exceptions import InvalidOptionsError, MongoDBEngineError, UnauthorizedError
from tests.support.kernel import SHOP
from tests.support.recorders import Recorder

Run = Callable[..., None]


def test_collections_and_names(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, _: Recorder) -> None:
        assert await db is db
        assert isinstance(db.collection, ScopedCollection)
        assert db["name"].name == "name"
        assert (db.name, db.app_slug, db.read_scopes) == ("app", "shop", ("shop", "crm"))
        assert repr(db) == "ScopedDatabase(app='shop')"
        assert db == db.with_options()
        assert db != "db"
        assert len({db, db.with_options()}) == 1
        assert db.codec_options == db.tasks.codec_options
        with pytest.raises(NotImplementedError):
            bool(db)
        with pytest.raises(AttributeError):
            db._database  # noqa: B018 - that is the point

    on_recorder(body, replace(SHOP, readable=("crm",)))


def test_commands(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        await db.command("collStats", "tasks", scale=2, comment="c")
        assert recorder.seen[0]["collStats"] == "shop_tasks"
        await db.command({"insert": "tasks", "documents": [{"a": 1}]})
        assert recorder.seen[1]["documents"][0]["app_id"] == "shop"
        for wrong in ("getMore", "killCursors", "commitTransaction", "shutdown", "mapReduce"):
            with pytest.raises(UnauthorizedError):
                await db.command(wrong)
        assert len(recorder.seen) == 2

    on_recorder(body)


def test_a_cursor_that_nobody_could_read_on_is_ended(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        cursor = {"id": 5, "ns": "appdata.shop_tasks", "firstBatch": []}
        recorder.replies["find"] = {"cursor": cursor, "ok": 1.0}
        with pytest.raises(InvalidOptionsError):
            await db.command({"find": "tasks"})

    on_recorder(body)


def test_creating_and_dropping(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        made = await db.create_collection("new", capped=True, size=4096, collation={"locale": "en"})
        assert made.name == "new"
        await db.drop_collection(made)
        await db.drop_collection("new")
        await db.validate_collection("new")
        await db.validate_collection(made)
        names = [name for each in recorder.seen if (name := next(iter(each))) != "delete"]
        assert names == ["listCollections", "create", "drop", "drop", "validate", "validate"]
        found = {"id": 0, "ns": "x", "firstBatch": [{"name": "shop_new", "type": "collection"}]}
        recorder.replies["listCollections"] = {"cursor": found, "ok": 1.0}
        assert await db.list_collection_names() == ["new"]
        assert [each["name"] async for each in db.list_collections()] == ["new"]
        with pytest.raises(CollectionInvalid) as raised:
            await db.create_collection("new")
        assert isinstance(raised.value, MongoDBEngineError)

    on_recorder(body)


def test_a_pipeline_without_a_collection(on_recorder: Run) -> None:
    async def body(db: ScopedDatabase, recorder: Recorder) -> None:
        await db.aggregate([{"$documents": [{"a": 1}]}]).to_list()
        assert recorder.seen[0]["aggregate"] == 1

    on_recorder(body)
