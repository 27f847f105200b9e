import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from mdb_engine.background import Supervisor
from mdb_engine.database.handle import scoped_database
from mdb_engine.indexes.auto import (
    MOST,
    MOST_WAITING,
    SIGHTS,
    AutoIndexManager,
    Watching,
    auto_name,
    serves,
)
from mdb_engine.observability.operations import Operations
from mdb_engine.rawbson import Document, encode
from tests.support.kernel import SHOP
from tests.support.recorders import recording

QUERY = Document(encode({"find": "tasks", "filter": {"a": 1}, "sort": {"t": -1}}))


def listed(*keys: dict[str, int], name: str = "auto_x") -> dict[str, Any]:
    batch = [{"key": {"_id": 1}, "name": "_id_"}]
    batch += [{"key": each, "name": f"{name}{place}"} for place, each in enumerate(keys)]
    return {"cursor": {"id": 0, "ns": "appdata.shop_tasks", "firstBatch": batch}, "ok": 1.0}


async def built(sights: int, replies: dict[str, Any]) -> list[dict[str, Any]]:
    """What is sent after so many sights of the query."""
    async with recording() as (recorder, client):
        recorder.replies = replies
        db = scoped_database(client["appdata"], lambda: SHOP, Operations())
        jobs = Supervisor()
        watching = Watching(Operations(), AutoIndexManager(db, jobs))
        for _ in range(sights):
            watching.saw(QUERY)
        await jobs.idle()
        assert jobs.failures == 0
        return recorder.seen


def names(sent: list[dict[str, Any]]) -> list[str]:
    return [next(iter(each)) for each in sent]


def test_the_third_sight_builds_it_once() -> None:
    assert asyncio.run(built(SIGHTS - 1, {})) == []
    sent = asyncio.run(built(SIGHTS + 5, {"listIndexes": listed()}))
    made = [each for each in sent if "createIndexes" in each]
    assert len(made) == 1
    assert dict(made[0]["indexes"][0]["key"]) == {"a": 1, "t": -1}
    assert made[0]["indexes"][0]["name"] == "auto_a_1_t_-1"


def test_an_index_that_serves_is_enough() -> None:
    found = listed({"a": 1, "t": -1, "z": 1}, name="own")
    assert "createIndexes" not in names(asyncio.run(built(SIGHTS, {"listIndexes": found})))


def test_a_collection_that_does_not_exist_gets_none() -> None:
    assert "createIndexes" not in names(asyncio.run(built(SIGHTS, {})))


def test_unused_ones_make_room() -> None:
    full = listed(*({f"f{n}": 1} for n in range(MOST)))
    assert "createIndexes" not in names(asyncio.run(built(SIGHTS, {"listIndexes": full})))
    old = {"ops": 0, "since": datetime.now(UTC) - timedelta(days=1)}
    stats = [{"name": "auto_x3", "key": {"f3": 1}, "accesses": old}]
    cursor = {"id": 0, "ns": "appdata.shop_tasks", "firstBatch": stats}
    replies = {"listIndexes": full, "aggregate": {"cursor": cursor, "ok": 1.0}}
    sent = asyncio.run(built(SIGHTS, replies))
    assert [each["index"] for each in sent if "dropIndexes" in each] == ["auto_x3"]
    assert "createIndexes" in names(sent)


def test_a_refusal_ends_nothing() -> None:
    replies = {"listIndexes": listed(), "createIndexes": {"ok": 0.0, "code": 67, "errmsg": "no"}}
    asyncio.run(built(SIGHTS, replies))


def test_names_and_keys() -> None:
    assert auto_name((("a.b", 1), ("t", -1))) == "auto_a.b_1_t_-1"
    assert serves({"a": 1, "b": 1}, (("a", 1),))
    assert not serves({"b": 1, "a": 1}, (("a", 1),))


def test_what_has_no_shape_is_not_counted() -> None:
    manager = AutoIndexManager(None, Supervisor())  # type: ignore[arg-type]
    for _ in range(SIGHTS):
        manager.saw(Document(encode({"find": "tasks", "filter": {"_id": 1}})))
        manager.saw(Document(encode({"insert": "tasks"})))
        manager.saw(Document(encode({"aggregate": 1, "pipeline": [{"$match": {"a": 1}}]})))


def test_few_builds_wait_at_a_time() -> None:
    async def body() -> None:
        async with recording() as (recorder, client):
            db = scoped_database(client["appdata"], lambda: SHOP, Operations())
            jobs, told = Supervisor(), []
            manager = AutoIndexManager(db, jobs, told.append)
            recorder.replies = {"listIndexes": listed()}
            async with manager._building:
                for number in range(2 * MOST_WAITING):
                    query = Document(encode({"find": "tasks", "filter": {f"a{number}": 1}}))
                    for _ in range(SIGHTS):
                        manager.saw(query)
                assert len(jobs) == MOST_WAITING
            await jobs.idle()
            assert told == ["created"] * MOST_WAITING
            assert manager.saw(query) is False, "its turn has come"
            await jobs.idle()
            assert len(told) == MOST_WAITING + 1

    asyncio.run(body())


def test_known_signs_cost_no_look() -> None:
    manager = AutoIndexManager(None, Supervisor())  # type: ignore[arg-type]
    looks: list[Any] = []
    manager.saw = lambda command: bool(looks.append(command))  # type: ignore[method-assign]
    flat, ranged = {"a": 1}, {"a": {"$gt": 1}}
    for condition in (flat, flat, ranged, {"a": 2}, {"a": {"$gt": 5}}):
        manager.met("tasks", condition, {"find": "tasks", "filter": condition})
    assert len(looks) == 2
