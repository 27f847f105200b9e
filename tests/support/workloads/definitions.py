"""DEFINITIONS: collections and indexes of every kind, and commands about them."""

from collections.abc import Sequence
from typing import Any, Final

from tests.support.workloads.dice import Dice, Made
from tests.support.workloads.filters import collation
from tests.support.workloads.pipelines import COLLECTIONS, collection
from tests.support.workloads.values import small

INDEXES: Final[Sequence[Made]] = (
    lambda d: {"key": {"n": 1}, "name": "n_1"},
    lambda d: {"key": {"n": -1, "s": 1}, "name": "n_s"},
    lambda d: {"key": {"a": 1}, "name": "a_1", "unique": True, "sparse": True},
    lambda d: {"key": {"n": 1}, "name": "n_u", "unique": True},
    lambda d: {"key": {"s": 1}, "name": "s_c", "collation": collation(d)},
    lambda d: {"key": {"g": 1}, "name": "g_p", "partialFilterExpression": {"n": {"$gt": small(d)}}},
    lambda d: {"key": {"d": 1}, "name": "d_ttl", "expireAfterSeconds": 10**9},
    lambda d: {"key": {"s": "text"}, "name": "s_text", **d.maybe(
        0.3, default_language=lambda e: "de")},
    lambda d: {"key": {"$**": "text"}, "name": "all_text"},
    lambda d: {"key": {"$**": 1}, "name": "wild", **d.maybe(
        0.4, wildcardProjection=lambda e: {"n": e.pick((0, 1))})},
    lambda d: {"key": {"sub.$**": 1}, "name": "wild_sub"},
    lambda d: {"key": {"g": "hashed"}, "name": "g_hashed"},
    lambda d: {"key": {"loc": "2dsphere"}, "name": "loc"},
    lambda d: {"key": {"loc": "2d"}, "name": "loc_2d", "min": -100, "max": 100, "bits": 20},
    lambda d: {"key": {"t": 1}, "name": "t_1", "hidden": d.chance(0.3)},
    lambda d: {"key": {"items.k": 1, "g": 1}, "name": "items"},
    lambda d: {"key": {"s": "text", "n": 1}, "name": "s_text2", "weights": {"s": 3}},
    lambda d: d.wrong(WRONG_INDEXES),
)  # fmt: skip
WRONG_INDEXES: Final[Sequence[Made]] = (
    lambda d: {"key": {"n": "bogus"}, "name": "x"},
    lambda d: {"key": {"n": 0}, "name": "x"},
    lambda d: {"key": {}, "name": "x"},
    lambda d: {"key": {"n": 1}},
    lambda d: {"name": "x"},
    lambda d: {"key": 5, "name": "x"},
    lambda d: {"key": {"n": 1}, "name": "x", "bogus": 1},
    lambda d: {"key": {"n": 1}, "name": 5},
    lambda d: {"key": {"n": 1}, "name": "*"},
    lambda d: {"key": {"n": 1}, "name": "x", "unique": "yes"},
    lambda d: {"key": {"n": 1}, "name": "x", "expireAfterSeconds": "a"},
    lambda d: {"key": {"n": 1}, "name": "x", "partialFilterExpression": 5},
    lambda d: {"key": {"n": 1}, "name": "x", "partialFilterExpression": {"n": {"$regex": "a"}}},
    lambda d: {"key": {"_id": -1}, "name": "x"},
    lambda d: {"key": {"_id": 1}, "name": "_id_", "unique": True},
    lambda d: {"key": {"n": 1}, "name": "x", "sparse": True, "partialFilterExpression": {"n": 1}},
    lambda d: {"key": {"$bad": 1}, "name": "x"},
    lambda d: 5,
)
NAMES: Final = (
    "n_1", "n_s", "a_1", "n_u", "s_c", "g_p", "d_ttl", "s_text", "all_text", "wild", "wild_sub",
    "g_hashed", "loc", "loc_2d", "t_1", "items", "_id_", "nope",
)  # fmt: skip

OPTIONS: Final[Sequence[Made]] = (
    lambda d: {},
    lambda d: {"capped": True, "size": 8192, **d.maybe(0.5, max=lambda e: 5)},
    lambda d: {"collation": collation(d)},
    lambda d: {"clusteredIndex": {"key": {"_id": 1}, "unique": True}},
    lambda d: {"timeseries": {"timeField": "d", **d.maybe(0.6, metaField=lambda e: "g")}},
    lambda d: d.wrong(WRONG_OPTIONS),
    lambda d: {"expireAfterSeconds": 100},
    lambda d: {"validationAction": "warn"},
)
WRONG_OPTIONS: Final[Sequence[Made]] = (
    lambda d: {"capped": True},
    lambda d: {"capped": True, "size": "x"},
    lambda d: {"size": 4096},
    lambda d: {"max": 5},
    lambda d: {"clusteredIndex": {"key": {"n": 1}, "unique": True}},
    lambda d: {"timeseries": {}},
    lambda d: {"timeseries": {"timeField": 5}},
    lambda d: {"bogus": 1},
    lambda d: {"validationLevel": "bogus"},
)
MADE: Final = ("cap", "ts", "coll", "clu", "v", *COLLECTIONS)


def create(dice: Dice) -> dict[str, Any]:
    return {"create": dice.pick(MADE), **dice.make(OPTIONS)}


def create_indexes(dice: Dice) -> dict[str, Any]:
    return {"createIndexes": collection(dice), "indexes": dice.many(
        lambda d: d.make(INDEXES), 2, 0 if dice.chance(0.05) else 1)}  # fmt: skip


def drop_indexes(dice: Dice) -> dict[str, Any]:
    index = dice.weighted(
        (
            (8, lambda d: d.pick(NAMES)),
            (1, lambda d: "*"),
            (2, lambda d: {"n": 1}),
            (1, lambda d: {"loc": "2dsphere"}),
            (1, lambda d: d.some(NAMES, 2)),
            (1, lambda d: d.wrong((lambda _: 5,))),
        )
    )(dice)
    return {"dropIndexes": collection(dice), "index": index}


CHANGES: Final[Sequence[Made]] = (
    lambda d: {"index": {"name": d.pick(NAMES), "hidden": d.chance(0.5)}},
    lambda d: {"index": {"keyPattern": {"d": 1}, "expireAfterSeconds": 10**9}},
    lambda d: {"index": {"name": "n_1", "prepareUnique": True}},
    lambda d: d.wrong(WRONG_CHANGES),
    lambda d: {"validationLevel": d.pick(("off", "moderate"))},
    lambda d: {"validationAction": d.pick(("warn", "error"))},
    lambda d: {"expireAfterSeconds": 10**9},
    lambda d: {"cappedSize": 16384},
    lambda d: {"cappedMax": 7},
    lambda d: {},
)
WRONG_CHANGES: Final[Sequence[Made]] = (
    lambda d: {"bogus": 1},
    lambda d: {"index": {"name": "n_1", "bogus": 1}},
    lambda d: {"index": {}},
    lambda d: {"index": 5},
    lambda d: {"index": {"keyPattern": {"d": 1}, "expireAfterSeconds": d.pick(("x", -1))}},
    lambda d: {"validationLevel": "bogus"},
    lambda d: {"validationAction": 5},
)


def coll_mod(dice: Dice) -> dict[str, Any]:
    changes, name = dice.make(CHANGES), dice.pick(MADE)
    if {"cappedMax", "cappedSize"} & changes.keys() and name == "v":
        name = "cap"  # of a view it ends the server (6.0.5)
    return {"collMod": name, **changes}


SHOWN: Final[Sequence[Made]] = (
    lambda d: {},
    lambda d: {"name": d.pick(MADE)},
    lambda d: {"name": {"$regex": "^[tu]"}},
    lambda d: {"name": {"$in": ["t", "cap"]}},
    lambda d: {"type": d.pick(("collection", "view", "timeseries"))},
    lambda d: {"options.capped": True},
    lambda d: {"$expr": {"$eq": ["$name", "t"]}},
    lambda d: {"name": {"$bogus": 1}},
    lambda d: 5,
)


def list_collections(dice: Dice) -> dict[str, Any]:
    more = dice.maybe(
        0.4,
        filter=lambda d: d.make(SHOWN),
        nameOnly=lambda d: d.chance(0.7),
        authorizedCollections=lambda d: d.chance(0.5),
        cursor=lambda d: {},
    )
    return {"listCollections": 1, **more}


def list_databases(dice: Dice) -> dict[str, Any]:
    more = dice.maybe(0.5, nameOnly=lambda d: True)
    return {"listDatabases": 1, "filter": {"name": {"$regex": "^@stem"}}, **more}


def rename(dice: Dice) -> dict[str, Any]:
    names = [f"{d.pick(('@home', '@home', '@other'))}.{d.pick(MADE)}" for d in (dice, dice)]
    more = dice.maybe(0.5, dropTarget=lambda d: d.chance(0.7))
    return {"renameCollection": names[0], "to": names[1], **more}
