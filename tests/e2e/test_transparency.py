"""The same commands, once through the proxy and once on a private database: the same replies.

A readable table; `test_differential.py` does the same with random commands.
"""

import datetime
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from bson import Int64

from tests.support.pairs import Sandbox, reply
from tests.support.proxies import Client, Proxy


def seed() -> list[dict[str, Any]]:
    return [
        {
            "_id": n,
            "n": n,
            "g": n % 3,
            "t": ["a", "b", "c"][: n % 4],
            "s": f"word {n} Tea",
            "sub": {"x": n, "y": [{"z": n}, {"z": n + 1}]},
            "loc": {"type": "Point", "coordinates": [n / 10, n / 10]},
        }
        for n in range(30)
    ]


def find(**more: Any) -> dict[str, Any]:
    return {"find": "t", "sort": {"_id": 1}, **more}


def aggregate(*stages: Any, **more: Any) -> dict[str, Any]:
    return {"aggregate": "t", "pipeline": list(stages), "cursor": {}, **more}


def update(q: Any, u: Any, **more: Any) -> dict[str, Any]:
    return {"update": "t", "updates": [{"q": q, "u": u, **more}]}


def modify(**more: Any) -> dict[str, Any]:
    return {"findAndModify": "t", **more}


SEED: list[dict[str, Any]] = [
    {"insert": "t", "documents": seed()},
    {"createIndexes": "t", "indexes": [
        {"key": {"n": 1}, "name": "n_1"},
        {"key": {"s": "text"}, "name": "s"},
        {"key": {"loc": "2dsphere"}, "name": "loc"}]},
    {"create": "cap", "capped": True, "size": 4096, "max": 5},
    {"create": "ts", "timeseries": {"timeField": "at", "metaField": "m"}},
    {"insert": "ts", "documents": [
        {"_id": n, "at": datetime.datetime(2020, 1, 1), "m": 1, "v": n}  # noqa: DTZ001
        for n in range(3)]},
]  # fmt: skip

FILTERS: list[dict[str, Any]] = [
    {}, {"n": {"$gt": 5, "$lt": 9}}, {"$or": [{"n": 1}, {"g": 2}]}, {"t": "a"},
    {"t": {"$all": ["a", "b"]}}, {"t": {"$size": 2}}, {"sub.y.z": 4},
    {"sub.y": {"$elemMatch": {"z": {"$gt": 10}}}}, {"n": {"$in": [1, 2, 99]}},
    {"s": {"$regex": "^word 1", "$options": "i"}}, {"n": {"$not": {"$gt": 3}}},
    {"$nor": [{"n": {"$gt": 3}}]}, {"$text": {"$search": "tea"}}, {"n": {"$mod": [5, 0]}},
    {"n": {"$type": "int"}}, {"x": {"$exists": False}}, {"n": None}, {"$and": []},
    {"$expr": {"$gt": ["$n", {"$multiply": ["$g", 10]}]}},
    {"$jsonSchema": {"required": ["n"], "properties": {"n": {"maximum": 3}}}},
    {"$jsonSchema": {"additionalProperties": False, "properties": {"_id": {}, "n": {}}}},
    {"$jsonSchema": {"maxProperties": 6}}, {"$jsonSchema": {"minProperties": 7}},
    {"$comment": "x", "n": 1}, {"n": {"$bogus": 1}}, {"$bogus": 1},
    {"sub": {"x": 1, "y": [{"z": 1}, {"z": 2}]}}, {"n": {"$in": 5}}, {"s": {"$regex": "("}},
    {"loc": {"$geoWithin": {"$centerSphere": [[0, 0], 0.01]}}},
]  # fmt: skip

PROJECTIONS: list[dict[str, Any]] = [
    {"n": 1}, {"n": 0}, {"_id": 0}, {"_id": 1}, {"_id": 0, "n": 1}, {"sub.x": 1},
    {"sub": {"x": 1}}, {"sub.y.z": 0}, {"t": {"$slice": 1}}, {"t": {"$slice": [0, 1]}},
    {"t": {"$elemMatch": {"$eq": "a"}}}, {"x": {"$add": ["$n", 1]}}, {"x": "$$ROOT"},
    {"x": "lit"}, {"n": True}, {"n": 0.0}, {"n": None}, {"n": 1, "g": 0}, {"_id": 0, "n": 0},
    {"n": 1, "t": {"$slice": 1}}, {}, {"t.$": 1}, {"a.b": 1, "a": 1}, {"x": {"$literal": 1}},
    {"x": {"$getField": "n"}}, {"": 1}, {"a..b": 1},
]  # fmt: skip

OPTIONS: list[dict[str, Any]] = [
    {"limit": 0}, {"limit": 5}, {"limit": -5}, {"limit": 2.7}, {"limit": None}, {"skip": 3},
    {"limit": "x"},
    {"skip": -1}, {"batchSize": -1}, {"singleBatch": True, "limit": 3}, {"singleBatch": True},
    {"returnKey": True}, {"showRecordId": True}, {"hint": {"n": 1}}, {"hint": "n_1"},
    {"collation": {"locale": "en", "strength": 1}}, {"collation": {"locale": "xx"}},
    {"collation": {"locale": "simple"}}, {"maxTimeMS": 100}, {"maxTimeMS": "x"},
    {"maxTimeMS": 1.5}, {"maxTimeMS": True}, {"tailable": True}, {"awaitData": True},
    {"let": {"a": 1}}, {"comment": "x"}, {"readConcern": {"level": "majority"}},
    {"readConcern": {"level": "bogus"}}, {"readConcern": {"x": 1}}, {"noCursorTimeout": True},
    {"sort": {"n": -1}},
    {"sort": "x"}, {"sort": {"n": 5}}, {"allowPartialResults": True},
]  # fmt: skip

LOOKUP = {"from": "t", "localField": "n", "foreignField": "g", "as": "j"}
PIPELINES: list[list[dict[str, Any]]] = [
    [{"$group": {"_id": "$g", "n": {"$sum": 1}, "all": {"$push": "$$ROOT"}}},
     {"$sort": {"_id": 1}}],
    [{"$bucket": {"groupBy": "$n", "boundaries": [0, 10, 50]}}],
    [{"$bucketAuto": {"groupBy": "$n", "buckets": 3}}],
    [{"$sortByCount": "$g"}, {"$sort": {"_id": 1}}],
    [{"$count": "c"}],
    [{"$facet": {"a": [{"$match": {"n": 1}}], "b": [{"$count": "c"}]}}],
    [{"$unwind": "$t"}, {"$sort": {"_id": 1, "t": 1}}, {"$limit": 4}],
    [{"$sort": {"_id": 1}}, {"$replaceRoot": {"newRoot": "$sub"}}, {"$limit": 2}],
    [{"$sort": {"_id": 1}}, {"$limit": 2}, {"$addFields": {"x": "$$ROOT"}}],
    [{"$sort": {"_id": 1}}, {"$limit": 2}, {"$set": {"x": {"$objectToArray": "$$ROOT"}}}],
    [{"$redact": {"$cond": [{"$lt": ["$n", 2]}, "$$KEEP", "$$PRUNE"]}}, {"$sort": {"_id": 1}}],
    [{"$sort": {"_id": 1}}, {"$lookup": LOOKUP}, {"$limit": 2}],
    [{"$sort": {"_id": 1}}, {"$lookup": LOOKUP | {"as": "a.j"}}, {"$limit": 2}],
    [{"$sort": {"_id": 1}}, {"$lookup": LOOKUP}, {"$unwind": "$j"}, {"$limit": 2}],
    [{"$sort": {"_id": 1}}, {"$limit": 2},
     {"$lookup": {"from": "t", "let": {"n": "$n"}, "as": "j", "pipeline": [
         {"$match": {"$expr": {"$eq": ["$g", "$$n"]}}}, {"$sort": {"_id": 1}}, {"$limit": 1}]}}],
    [{"$match": {"n": 2}}, {"$graphLookup": {
        "from": "t", "startWith": "$g", "connectFromField": "g", "connectToField": "n",
        "as": "j", "depthField": "d"}}],
    [{"$unionWith": "t"}, {"$count": "c"}],
    [{"$setWindowFields": {"sortBy": {"n": 1}, "output": {
        "r": {"$sum": "$n", "window": {"documents": ["unbounded", "current"]}}}}}, {"$limit": 3}],
    [{"$sample": {"size": 40}}, {"$count": "c"}],
    [{"$geoNear": {"near": {"type": "Point", "coordinates": [0, 0]}, "distanceField": "d"}},
     {"$limit": 2}],
    [{"$densify": {"field": "n", "range": {"step": 1, "bounds": "full"}}}, {"$limit": 3}],
    [{"$fill": {"output": {"q": {"value": 1}}}}, {"$sort": {"_id": 1}}, {"$limit": 2}],
    [{"$bogus": 1}], [{}], [{"$match": {}, "$limit": 1}], [{"$match": 5}], [{"$out": 5}],
    [{"$merge": 5}], [{"$merge": {}}], [{"$limit": 0}], [{"$limit": -1}],
    [{"$project": {}}], [{"$group": {}}],
    [{"$sort": {}}], [{"$unwind": "t"}],
    [{"$out": "o1"}], [{"$merge": "m1"}],
    [{"$merge": {"into": "m1", "whenMatched": [{"$set": {"z": "$$new.n"}}]}}],
    [{"$out": "o1"}, {"$match": {}}],
    [{"$lookup": {"from": "t"}}],
    [{"$lookup": {"as": "x", "pipeline": [{"$documents": [{"a": 1}]}]}}, {"$sort": {"_id": 1}},
     {"$limit": 1}],
    [{"$project": {"x": {"$map": {"input": "$t", "in": {"$toUpper": "$$this"}}}}},
     {"$sort": {"_id": 1}}, {"$limit": 3}],
    [{"$project": {"r": {"$reduce": {
        "input": "$t", "initialValue": "", "in": {"$concat": ["$$value", "$$this"]}}}}},
     {"$sort": {"_id": 1}}, {"$limit": 3}],
    [{"$project": {"r": {"$reduce": {
        "input": "$sub.y", "initialValue": {"n": 0, "s": 0},
        "in": {"n": {"$add": ["$$value.n", 1]}, "s": {"$add": ["$$value.s", "$$this.z"]}}}}}},
     {"$sort": {"_id": 1}}, {"$limit": 3}],
    [{"$sort": {"_id": 1}}, {"$limit": 1}, {"$set": {"app_id": "mine"}}],
    [{"$sort": {"_id": 1}}, {"$limit": 1}, {"$project": {"app_id": "mine"}}],
    [{"$group": {"_id": None, "app_id": {"$first": "x"}}}],
    [{"$indexStats": {}}, {"$project": {"name": 1}}, {"$sort": {"name": 1}}],
    [{"$collStats": {"count": {}}}, {"$project": {"ns": 1, "count": 1}}],
    [{"$match": {"$text": {"$search": "tea"}}}, {"$set": {"sc": {"$meta": "textScore"}}},
     {"$sort": {"_id": 1}}, {"$limit": 2}],
    [{"$match": {"$text": {"$search": "tea"}, "$expr": {"$eq": ["$n", 1]}}},
     {"$set": {"a": "$$ROOT"}}],
]  # fmt: skip

UPDATES: list[dict[str, Any]] = [
    update({"_id": 1}, {"$set": {"a": 1}}), update({"_id": 1}, {"$set": {}}),
    update({"_id": 1}, {}), update({"_id": 1}, {"a": 1, "$set": {"b": 1}}),
    update({"_id": 2}, {"_id": 3}), update({}, {"$inc": {"n": 1}}, multi=True),
    update({}, {"x": 1}, multi=True), update({"_id": "u1"}, {"$set": {"a": 1}}, upsert=True),
    update({"_id": "u2"}, {"a": 1}, upsert=True),
    update({"q": 5, "z": {"$gt": 1}}, {"$setOnInsert": {"_id": "u3"}}, upsert=True),
    update({"_id": "u4"}, [{"$set": {"a": 1}}], upsert=True),
    update({"_id": 3}, [{"$set": {"a": "$n"}}, {"$unset": "t"}]),
    update({"_id": 3}, [{"$set": {"a": "$$ROOT"}}]),
    update({"_id": 4, "sub.y.z": 4}, {"$set": {"sub.y.$.z": 44}}),
    update({"_id": 5}, {"$set": {"sub.y.$[e].z": 55}}, arrayFilters=[{"e.z": 5}]),
    update({"_id": 5}, {"$push": {"t": {"$each": ["q"], "$slice": -2}}}),
    update({"_id": 5}, {"$pull": {"sub.y": {"z": {"$gt": 100}}}}),
    update({"_id": 6}, {"$rename": {"n": "m"}}), update({"_id": 6}, {"$inc": {"s": 1}}),
    update({"_id": 7}, {"$set": {"a": 1}, "$unset": {"a": 1}}),
    update({"_id": 9}, {"$set": {"a": 1}}, collation={"locale": "en"}),
    update({"$or": [{"_id": "o1"}]}, {"$set": {"a": 1}}, upsert=True),
    update({"$and": [{"_id": "o2"}, {"k": 1}]}, {"$set": {"a": 1}}, upsert=True),
    {"insert": "t", "documents": [{"_id": 1}, {"_id": 100}], "ordered": False},
    {"insert": "t", "documents": []}, {"insert": "t", "documents": [{"_id": [1]}]},
    {"delete": "t", "deletes": [{"q": {"_id": 1}, "limit": 1}, {"q": {"g": 1}, "limit": 0}]},
    {"delete": "t", "deletes": [{"q": {"_id": 1}, "limit": 2}]},
    modify(query={"_id": 10}, remove=True), modify(query={"_id": "no"}, update={"$set": {"a": 1}}),
    modify(query={"_id": "fu"}, update={"$set": {"a": 1}}, upsert=True),
    modify(query={"_id": "fu"}), modify(query={"_id": 1}, update={"$set": {"a": 1}}, remove=True),
    modify(sort={"n": 1}, update=[{"$set": {"a": 1}}], new=True),
]  # fmt: skip

OTHERS: list[dict[str, Any]] = [
    {"listIndexes": "t"}, {"listIndexes": "nope"}, {"count": "t", "skip": 2, "limit": 5},
    {"count": "nope"}, {"distinct": "t", "key": 5}, {"dropIndexes": "t", "index": "zz"},
    {"dropIndexes": "t", "index": "n_1"}, {"drop": "nope"}, {"nosuch": 1}, {"ping": 1},
    {"createIndexes": "t", "indexes": []},
    {"createIndexes": "t", "indexes": [{"key": {"n": 1}, "name": "n_1"}]},
    {"createIndexes": "t", "indexes": [{"key": {"n": 1}, "name": "n_2"}]},
    {"createIndexes": "t", "indexes": [{"key": {"n": "foo"}, "name": "n_3"}]},
    {"create": "cap", "capped": True, "size": 4096, "max": 5}, {"create": "cap"},
    {"create": "cap2", "capped": True}, {"listCollections": 1, "nameOnly": True,
                                         "filter": {"name": {"$in": ["t", "no"]}}},
    {"find": "ts", "filter": {"v": {"$gt": 0}}, "sort": {"v": 1}},
    {"aggregate": "ts", "pipeline": [{"$group": {"_id": "$m", "s": {"$sum": "$v"}}}],
     "cursor": {}},
    {"collMod": "t", "index": {"name": "s", "hidden": True}}, {"collMod": "nope"},
    {"validate": "nope"}, {"convertToCapped": "nope", "size": 1}, {"validate": "t"},
    {"explain": 5}, {"explain": {"find": "t"}, "verbosity": "bogus"},
    {"getMore": Int64(5), "collection": "t"}, {"getMore": 5, "collection": "t"},
    {"insert": "t"}, {"distinct": "t"}, {"find": "t", "filter": {}, "min": {"n": 3},
                                         "max": {"n": 5}, "hint": {"n": 1}},
]  # fmt: skip

COMMANDS: list[dict[str, Any]] = [
    *(find(filter=f) for f in FILTERS),
    *({"count": "t", "query": f} for f in FILTERS),
    *({"distinct": "t", "key": "g", "query": f} for f in FILTERS),
    *(aggregate({"$match": f}, {"$sort": {"_id": 1}}) for f in FILTERS),
    *(find(projection=p, limit=3) for p in PROJECTIONS),
    *(modify(query={"_id": 2}, update={"$set": {"n": 2}}, fields=p, new=True) for p in PROJECTIONS),
    *(aggregate({"$sort": {"_id": 1}}, {"$limit": 2}, {"$project": p}) for p in PROJECTIONS),
    *(find(**more) for more in OPTIONS),
    *(aggregate(*stages) for stages in PIPELINES),
    *(step for command in UPDATES for step in (command, find())),
    *OTHERS,
]


@pytest.fixture(scope="module")
def pair(proxy: Proxy, shop: Client) -> Iterator[tuple[Sandbox, Sandbox]]:
    """Give a private database, and one of the same name and content behind the proxy."""
    name = f"lab{uuid4().hex[:8]}"
    pair = proxy.admin[name], shop[name]
    for database in pair:
        for command in SEED:
            database.command(command)
    yield pair
    for database in pair:
        database.client.drop_database(name)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command)[:80])
def test_the_same_reply(pair: tuple[Sandbox, Sandbox], command: dict[str, Any]) -> None:
    private, ours = (reply(database, command) for database in pair)
    assert ours == private
