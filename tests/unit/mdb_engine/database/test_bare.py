"""The short way sends what the long way sends, and takes nothing that it must not."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import bson
import pytest
from bson.codec_options import CodecOptions, TypeDecoder, TypeEncoder, TypeRegistry
from pymongo.errors import DuplicateKeyError
from pymongo.write_concern import WriteConcern

from mdb_engine.database import bare
from mdb_engine.database.handle import scoped_database
from mdb_engine.database.house import House
from mdb_engine.exceptions import MongoDBEngineError, RefusedError
from mdb_engine.observability.operations import Operations
from mdb_engine.rawbson import encode
from mdb_engine.scope.holdings import Holdings
from mdb_engine.scope.model import Scope
from tests.support.kernel import SHOP
from tests.support.recorders import recording

SHOWN = replace(SHOP, expose_app_id=True)
READER = replace(SHOP, readable=("shared",), expose_app_id=True)
Call = Callable[[Any, Callable[[Any], Any]], Awaitable[Any]]

PIPELINE = [{"$match": {"a": 1}}, {"$group": {"_id": "$b", "n": {"$sum": 1}}}]
CALLS: dict[str, Call] = {
    "find_one": lambda c, f: c.find_one(f({"a": 1, "b": {"$gt": 2}})),
    "find_one, all": lambda c, f: c.find_one(f({})),
    "find": lambda c, f: c.find(f({"a": 1}), {"b": 1}).sort("b", -1).limit(3).to_list(),
    "find, all": lambda c, f: c.find(f({})).to_list(),
    "count": lambda c, f: c.count_documents(f({"a": 1})),
    "insert_one": lambda c, f: c.insert_one(f({"_id": 1, "a": {"b": [1, {"c": "x"}]}})),
    "update_one": lambda c, f: c.update_one(f({"_id": 1}), {"$set": {"a": {"b": 1}}}),
    "update_many": lambda c, f: c.update_many(f({"a": 1}), {"$inc": {"n": 1}, "$unset": {"x": 1}}),
    "delete_one": lambda c, f: c.delete_one(f({"_id": 1})),
    "delete_many": lambda c, f: c.delete_many(f({"a": {"$in": [1, 2]}})),
    "aggregate": lambda c, f: c.aggregate([f(PIPELINE[0]), PIPELINE[1]]).to_list(),
    "aggregate, no filter": lambda c, f: c.aggregate([f(PIPELINE[1])], comment="x").to_list(),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {}, "concern": {"write_concern": WriteConcern("majority", j=True)},
}  # fmt: skip


def as_it_is(value: Any) -> Any:
    return value


def as_another_mapping(value: Any) -> Any:
    """The same for BSON, and nothing that the short way takes."""
    return OrderedDict(value)


async def sent(call: Call, form: Callable[[Any], Any], scope: Scope, options: Any) -> Any:
    async with recording() as (recorder, client):
        house = House(Holdings({"shop": frozenset({"shop_tasks"})}))
        db = scoped_database(client["appdata"], lambda: scope, Operations(), house)
        for _ in range(2):
            await call(db["tasks"].with_options(**options), form)
        return [{n: v for n, v in each.items() if n != "lsid"} for each in recorder.seen]


def comparable(command: dict[str, Any]) -> dict[str, Any]:
    """Without counters, the time left, and the limit behind the one result of a count."""
    found = {n: v for n, v in command.items() if n not in ("$clusterTime", "txnNumber")}
    if "insert" in found or "update" in found or "delete" in found:
        assert 25_000 < found.pop("maxTimeMS") <= 30_000
    if found.get("singleBatch"):
        found.pop("batchSize", None)  # of one document there is one batch
    if "pipeline" in found and "_id" in dict(found["pipeline"][1].get("$group", {})):
        found.pop("cursor", None)
    return found


def bytes_of(commands: list[dict[str, Any]]) -> list[bytes]:
    return [encode(dict(sorted(comparable(each).items()))) for each in commands]


@pytest.mark.parametrize("scope", [SHOWN, READER], ids=["own", "reader"])
@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("name", [name for name in CALLS if name != "count"])
def test_both_ways_send_the_same(
    name: str, options: Any, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    real = bare._told

    async def spied(*given: Any) -> Any:
        told.append(given)
        return await real(*given)

    monkeypatch.setattr(bare, "_told", spied)
    short = asyncio.run(sent(CALLS[name], as_it_is, scope, options))
    assert len(told) == len(short) == 2, "it went the short way"
    if "aggregate" not in name:
        asyncio.run(sent(CALLS[name], as_another_mapping, scope, options))
    monkeypatch.setattr(bare._Short, "ready", lambda *_: None)
    long = asyncio.run(sent(CALLS[name], as_it_is, scope, options))
    assert bytes_of(short) == bytes_of(long)
    assert len(told) == 2, "it went the long way"


def test_a_count_is_the_same_but_for_its_limit() -> None:
    short = asyncio.run(sent(CALLS["count"], as_it_is, SHOWN, {}))[0]
    long = asyncio.run(sent(CALLS["count"], as_another_mapping, SHOWN, {}))[0]
    assert [dict(each) for each in long["pipeline"]][2] == {"$limit": 10_000}
    assert bson.encode({"": list(map(_plain, short["pipeline"]))}) == bson.encode(
        {"": list(map(_plain, long["pipeline"][:2]))}
    )
    for field in ("allowDiskUse", "maxTimeMS"):
        assert short[field] == long[field]


def _plain(stage: Any) -> Any:
    return bson.decode(stage.data)


def on_server(scopes: list[Scope], replies: dict[str, Any], body: Any) -> None:
    async def run() -> None:
        async with recording() as (recorder, client):
            recorder.replies = replies
            operations = Operations()
            db = scoped_database(client["appdata"], lambda: scopes[-1], operations)
            await body(db, recorder, operations)

    asyncio.run(run())


def test_new_rules_count_at_once() -> None:
    """What was prepared under an older scope is prepared anew, open cursors included."""
    scopes = [SHOWN]

    async def body(db: Any, recorder: Any, _: Any) -> None:
        tasks = db["eu_tasks"]
        other = db["tasks"]
        cursor, aggregated = other.find({"a": 1}), other.aggregate(PIPELINE)
        scopes.append(replace(READER, longer=("shop_eu", "shop_eu_tasks", "shop_tasks_x")))
        await cursor.to_list()
        await aggregated.to_list()
        await other.find_one({"a": 1})
        for command in recorder.seen:
            condition = command.get("filter") or command["pipeline"][0]["$match"]
            assert dict(condition["$and"][0]["app_id"]) != {}, "the read scope counts"
        assert tasks.name == "eu_tasks"

    with pytest.raises(RefusedError):
        on_server(scopes, {}, body)
    scopes[:] = [replace(SHOWN, longer=())]

    async def captured(db: Any, recorder: Any, _: Any) -> None:
        tasks = db["eu_tasks"]
        await tasks.find_one({"a": 1})
        scopes.append(SHOWN)
        sent_before = len(recorder.seen)
        for call in (tasks.find_one({"a": 1}), tasks.insert_one({}), tasks.delete_one({})):
            with pytest.raises(RefusedError):
                await call
        with pytest.raises(RefusedError):
            tasks.find({"a": 1})
        with pytest.raises(RefusedError):
            db["eu_tasks"]
        assert len(recorder.seen) == sent_before

    on_server(scopes, {}, captured)


def test_errors_and_figures_are_those_of_the_long_way() -> None:
    failing = {"insert": {"n": 0, "writeErrors": [{
        "index": 0, "code": 11000, "errmsg": "E11000 dup: appdata.shop_tasks index: _id_"
    }], "ok": 1.0}}  # fmt: skip

    async def body(db: Any, _: Any, operations: Operations) -> None:
        with pytest.raises(DuplicateKeyError, match=r"app\.tasks") as failed:
            await db["tasks"].insert_one({"_id": 1})
        assert isinstance(failed.value, MongoDBEngineError)
        assert failed.value.__cause__ is None
        told = operations.summary()["summary"]["insert_one"]
        assert (told["count"], told["errors"]) == (1, 1)
        await db["tasks"].find({}, limit=20_000).to_list()
        assert "mdb_engine_capped_total" in operations.prometheus()

    on_server([SHOWN], failing, body)


def test_a_custom_type_goes_the_long_way() -> None:
    class Shout(TypeEncoder, TypeDecoder):
        python_type = complex
        bson_type = bytes

        def transform_python(self, value: Any) -> Any:
            return {"$where": str(value)}

        def transform_bson(self, value: Any) -> Any:
            return value

    codec: Any = CodecOptions(type_registry=TypeRegistry([Shout()]))

    async def body(db: Any, recorder: Any, _: Any) -> None:
        tasks = db["tasks"].with_options(codec_options=codec)
        with pytest.raises(RefusedError):
            await tasks.find_one({"$or": [1j]})
        with pytest.raises(RefusedError):
            tasks.find({"$or": [1j]})
        await tasks.find_one({"a": 1})
        assert len(recorder.seen) == 1

    on_server([SHOWN], {}, body)


def test_specimens_are_made_anew_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bare, "KEPT", 2)

    async def body(db: Any, recorder: Any, _: Any) -> None:
        for number in range(6):
            await db["tasks"].find({"a": 1}, skip=number + 1).to_list()
        assert [each["skip"] for each in recorder.seen] == list(range(1, 7))

    on_server([SHOWN], {}, body)


def test_what_cannot_be_written_is_told_by_the_long_way() -> None:
    async def body(db: Any, recorder: Any, _: Any) -> None:
        with pytest.raises(bson.errors.InvalidDocument):
            db["tasks"].find({"a": 1}, comment=object())
        with pytest.raises(OverflowError):
            await db["tasks"].find_one({"a": 2**70})
        assert recorder.seen == []

    on_server([SHOWN], {}, body)
