"""COMMANDS: one row per kind of command, with its weight and how its reply is compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bson import Int64

from tests.support.workloads import definitions, views
from tests.support.workloads.dice import Dice, Made
from tests.support.workloads.filters import collation, condition, one
from tests.support.workloads.pipelines import (
    BY_ID,
    collection,
    documents,
    pipeline,
    sorted_pipeline,
    writing_pipeline,
)
from tests.support.workloads.updates import projection, statement, update
from tests.support.workloads.values import document, identity, odd, scalar, small, value
from tests.support.workloads.values import field as path


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a workload: names that begin with `@` stand for the databases of a side.

    Attributes:
        db: `@home` or `@other`, or a real name.
        view: how much of the reply must be equal (comparing.VIEWS).
        mistakes: how many things are wrong with it on purpose.
    """

    number: int
    db: str
    command: dict[str, Any] = field(repr=False)
    view: str = "exact"
    mistakes: int = 0


@dataclass(frozen=True, slots=True)
class CursorOf:
    """The cursor that an earlier step opened; each side has its own."""

    step: int


@dataclass(frozen=True, slots=True)
class SessionOf:
    """A logical session of this run."""

    number: int


Kind = Callable[[Dice], tuple[dict[str, Any], str]]
HINTS: Final = ({"_id": 1}, "_id_", {"n": 1}, "n_1", "nope", {"$natural": 1}, {"$natural": -1})


def find(dice: Dice) -> tuple[dict[str, Any], str]:
    command: dict[str, Any] = {"find": collection(dice), "filter": condition(dice)}
    command |= dice.maybe(0.5, projection=projection)
    command |= dice.maybe(0.1, collation=collation, let=lambda d: {"v": small(d)})
    command |= dice.maybe(
        0.04,
        hint=lambda d: d.pick(HINTS),
        returnKey=lambda d: True,
        showRecordId=lambda d: True,
        comment=odd,
        maxTimeMS=lambda d: 10_000,
        allowDiskUse=lambda d: False,
        noCursorTimeout=lambda d: True,
        allowPartialResults=lambda d: True,
        readConcern=lambda d: {"level": d.pick(("local", "majority", "available", "snapshot"))},
    )
    if dice.chance(0.3):
        return command, "bag"
    command["sort"] = dice.pick(({"_id": 1}, {"_id": -1}, {"n": 1, "_id": 1}, {"s": -1, "_id": 1}))
    if dice.chance(0.05):
        command["sort"] = dice.wrong(WRONG_SORTS)
        return command, "bag"
    command |= dice.maybe(0.25, limit=limit, skip=lambda d: d.number(0, 4))
    command |= dice.maybe(0.25, batchSize=lambda d: d.number(0, 3))
    command |= dice.maybe(0.05, singleBatch=lambda d: d.chance(0.7))
    return command, "exact"


WRONG_SORTS: Final[Sequence[Made]] = (
    lambda d: {"n": 5},
    lambda d: "x",
    lambda d: {"$bad": 1},
    lambda d: {"n": {"$meta": "textScore"}},
)


def limit(dice: Dice) -> int:
    return dice.wrong((lambda d: -1,)) if dice.chance(0.1) else dice.number(0, 6)


def bounded_find(dice: Dice) -> tuple[dict[str, Any], str]:
    command = {"find": collection(dice), "hint": dice.pick(({"n": 1}, {"_id": 1}))}
    key = next(iter(command["hint"])) if isinstance(command["hint"], dict) else "_id"
    command |= dice.maybe(0.7, min=lambda d: {key: small(d)}, max=lambda d: {key: d.number(5, 20)})
    return {**command, **dice.maybe(0.3, projection=projection)}, "bag"


def near(dice: Dice) -> tuple[dict[str, Any], str]:
    point = {"type": "Point", "coordinates": [dice.number(-3, 3), 0]}
    operator = dice.pick(("$near", "$nearSphere"))
    near_point = {operator: {"$geometry": point, "$maxDistance": 10**6}}
    query = {"loc": near_point, **(condition(dice) if dice.chance(0.3) else {})}
    return {"find": collection(dice), "filter": query}, "bag"


def tailable(dice: Dice) -> tuple[dict[str, Any], str]:
    more = dice.maybe(0.5, awaitData=lambda d: True, batchSize=lambda d: 2)
    return {"find": dice.pick(("cap", "t")), "tailable": True, **more}, "bag"


def count(dice: Dice) -> tuple[dict[str, Any], str]:
    more = dice.maybe(0.2, skip=lambda d: d.number(0, 3), limit=lambda d: d.number(-2, 5))
    more |= dice.maybe(0.8, query=condition) | dice.maybe(0.1, collation=collation)
    return {"count": collection(dice), **more}, "exact"


def distinct(dice: Dice) -> tuple[dict[str, Any], str]:
    more = dice.maybe(0.6, query=condition) | dice.maybe(0.1, collation=collation)
    return {"distinct": collection(dice), "key": path(dice), **more}, "bag"


def aggregate(dice: Dice) -> tuple[dict[str, Any], str]:
    command = {"aggregate": collection(dice), "pipeline": pipeline(dice), "cursor": {}}
    command |= dice.maybe(0.08, collation=collation, let=variables)
    sampled = any("$sample" in stage for stage in command["pipeline"] if isinstance(stage, dict))
    loose = (sampled and _cuts(command["pipeline"])) or _ranks_groups(command["pipeline"])
    return command, "amount" if loose else "bag"


def variables(dice: Dice) -> dict[str, Any]:
    """Give `let`; what looks at a document is a mistake there."""
    return {"v": dice.wrong(PATHS) if dice.chance(0.1) else scalar(dice)}


PATHS: Final[Sequence[Made]] = (lambda d: "$n", lambda d: {"$add": ["$n", 1]}, lambda d: "$$v")


def _cuts(stages: Sequence[Any]) -> bool:
    """Whether something follows `$sample` that depends on the order."""
    return any(ORDERLY & s.keys() for s in stages if isinstance(s, dict))


def _ranks_groups(stages: Sequence[Any]) -> bool:
    """Whether windows follow groups: arrays of the same first element sort as equals."""
    names = [next(iter(stage), "") for stage in stages if isinstance(stage, dict)]
    made = [at for at, name in enumerate(names) if name in GROUPS]
    return bool(made) and "$setWindowFields" in names[made[0] :]


GROUPS: Final = frozenset({"$bucket", "$bucketAuto", "$group", "$sortByCount"})

ORDERLY: Final = frozenset({
    "$bucket", "$facet", "$fill", "$group", "$limit", "$setWindowFields", "$skip",
})  # fmt: skip
"""Stages whose results depend on the order of what they are given."""


def batched(dice: Dice) -> tuple[dict[str, Any], str]:
    cursor = {"batchSize": dice.number(0, 3)}
    found = {"aggregate": collection(dice), "pipeline": sorted_pipeline(dice), "cursor": cursor}
    return found, "exact"


def writing(dice: Dice) -> tuple[dict[str, Any], str]:
    return {"aggregate": collection(dice), "pipeline": writing_pipeline(dice), "cursor": {}}, "bag"


def without_collection(dice: Dice) -> tuple[dict[str, Any], str]:
    return {"aggregate": 1, "pipeline": documents(dice), "cursor": {}}, "bag"


def insert(dice: Dice) -> tuple[dict[str, Any], str]:
    command: dict[str, Any] = {"insert": dice.pick(("t", "t", "t", "u", "u", "w.x", "cap", "clu"))}
    command["documents"] = dice.many(document, 5, 0 if dice.chance(0.02) else 1)
    return {**command, **dice.maybe(0.3, ordered=lambda d: d.chance(0.4))}, "exact"


def measure(dice: Dice) -> tuple[dict[str, Any], str]:
    return {"insert": "ts", "documents": dice.many(document, 4, 1)}, "exact"


def updates(dice: Dice) -> tuple[dict[str, Any], str]:
    more = dice.maybe(0.2, ordered=lambda d: d.chance(0.4))
    more |= dice.maybe(0.03, let=lambda d: {"v": small(d)}, bypassDocumentValidation=lambda d: True)
    made = [
        {**statement(d), **d.maybe(0.05, collation=collation)} for d in [dice] * dice.number(1, 3)
    ]
    return {"update": collection(dice), "updates": made, **more}, "exact"


def deletes(dice: Dice) -> tuple[dict[str, Any], str]:
    def delete(d: Dice) -> dict[str, Any]:
        found = {"q": one(d), "limit": d.pick((0, 1))}
        if d.chance(0.3):
            found = {"q": condition(d), "limit": 0}
        if d.chance(0.03):
            found["limit"] = d.wrong((lambda e: 2, lambda e: -1, lambda e: "x"))
        return {**found, **d.maybe(0.05, collation=collation)}

    more = dice.maybe(0.2, ordered=lambda d: d.chance(0.4))
    return {"delete": collection(dice), "deletes": dice.many(delete, 2, 1), **more}, "exact"


def modify(dice: Dice) -> tuple[dict[str, Any], str]:
    command: dict[str, Any] = {dice.pick(("findAndModify", "findandmodify")): collection(dice)}
    command |= {"query": one(dice)} if dice.chance(0.7) else {
        "query": condition(dice), "sort": {dice.pick(("_id", "n")): -1, "_id": 1}}  # fmt: skip
    if dice.chance(0.25):
        command["remove"] = True
    else:
        made = update(dice)
        made["update"] = made.pop("u")
        made.pop("c", None)
        command |= made
        command |= dice.maybe(0.4, new=lambda d: d.chance(0.8), upsert=lambda d: d.chance(0.7))
    command |= dice.maybe(0.4, fields=projection)
    command |= dice.maybe(0.03, remove=lambda d: True, collation=collation)
    dice.mistakes += {"remove", "update"} <= command.keys()
    return command, "exact"


def upsert(dice: Dice) -> tuple[dict[str, Any], str]:
    query = dice.weighted(
        (
            (3, lambda d: {"_id": d.number(30, 60)}),
            (2, lambda d: {"_id": d.number(30, 60), path(d): value(d)}),
            (1, lambda d: {"$and": [{"_id": d.number(30, 60)}, {"q": value(d)}]}),
            (1, lambda d: {"$or": [{"_id": d.number(30, 60)}]}),
            (1, lambda d: {"_id": {"$eq": d.number(30, 60)}, "z": {"$gt": 5}}),
            (1, lambda d: {"_id": {"$in": [d.number(30, 60)]}, "q": {"$all": [1]}}),
            (1, lambda d: {"_id": d.number(30, 60), "sub.x": 1, "sub.w": 2}),
            (1, lambda d: {"q": d.number(100, 900), "_id.a": 1}),
            (1, lambda d: {"_id": d.number(30, 60), "$expr": {"$eq": ["$n", 77]}}),
        )
    )(dice)
    made = {"q": query, **update(dice), "upsert": True}
    return {"update": collection(dice), "updates": [made]}, "exact"


EXPLAINABLE: Final[Sequence[Kind]] = (find, count, distinct, aggregate, updates, deletes, modify)


def explain(dice: Dice) -> tuple[dict[str, Any], str]:
    inner, _ = dice.pick(EXPLAINABLE)(dice)
    inner.pop("readConcern", None)
    dice.mistakes += any(len(inner.get(name, ())) > 1 for name in ("updates", "deletes"))
    levels = ("queryPlanner", "executionStats", "allPlansExecution")
    more = dice.maybe(0.7, verbosity=lambda d: d.pick(levels))
    if dice.chance(0.05):
        more = {"verbosity": dice.wrong((lambda d: "bogus", lambda d: 5))}
    elif "$unionWith" in str(inner) or inner[next(iter(inner))] in views.NAMES:
        more = {"verbosity": "queryPlanner"}  # with another one the server may crash (6.0.5)
    return {"explain": inner, **more}, "shape"


SOON: Final = 5
WRONG_VALUES: Final = (
    SOON,
    "x",
    None,
    True,
    [],
    {},
    1.5,
    [5],
    {"a": 1},
    -1,
    {"$gt": 1},
    Int64(2**40),
)
WRONG_FIELDS: Final = (
    "filter", "query", "sort", "projection", "limit", "skip", "batchSize", "hint", "collation",
    "let", "pipeline", "cursor", "documents", "updates", "deletes", "ordered", "key", "update",
    "fields", "new", "upsert", "remove", "arrayFilters", "indexes", "index", "bogus", "singleBatch",
    "min", "max", "returnKey", "comment", "readConcern", "writeConcern", "maxTimeMS", "tailable",
    "awaitData", "bypassDocumentValidation", "allowDiskUse", "explain", "capped", "size",
    "timeseries", "validationLevel", "expireAfterSeconds", "nameOnly",
)  # fmt: skip


def mistaken(dice: Dice) -> tuple[dict[str, Any], str]:
    """Give a good command in which one field is wrong, missing or unknown."""
    command, view = dice.weighted(GOOD)(dice)
    dice.mistakes += 1
    names = list(command)[1:]
    kind = dice.number(0, 3)
    if kind == 0 and names:
        command.pop(dice.pick(names))
    elif kind == 1 and names:
        command[dice.pick(names)] = dice.pick(WRONG_VALUES)
    elif kind == 2:
        field = dice.pick(WRONG_FIELDS)
        command[field] = dice.pick(WRONG_VALUES)
    elif isinstance(command[next(iter(command))], str):
        command[next(iter(command))] = dice.pick((5, None, {}, "", "$bad", "a..b", True, 1.5))
    if command.get("maxTimeMS") == SOON:
        command["maxTimeMS"] = 10_000  # who is in time would be chance
    return command, "bag" if view == "exact" else view


def _plain(made: Callable[[Dice], dict[str, Any]], view: str = "exact") -> Kind:
    return lambda dice: (made(dice), view)


GOOD: Final[Sequence[tuple[int, Kind]]] = (
    (30, find),
    (2, bounded_find),
    (2, near),
    (1, tailable),
    (8, count),
    (6, distinct),
    (30, aggregate),
    (6, batched),
    (4, writing),
    (2, without_collection),
    (16, insert),
    (1, measure),
    (20, updates),
    (6, upsert),
    (6, deletes),
    (12, modify),
    (4, _plain(definitions.create_indexes)),
    (2, _plain(definitions.drop_indexes)),
    (2, _plain(definitions.create)),
    (2, _plain(definitions.coll_mod)),
    (5, _plain(views.create)),
    (2, _plain(views.change)),
    (1, _plain(views.drop)),
    (1, _plain(views.shown, "bag")),
    (2, _plain(views.validated)),
    (2, _plain(lambda d: {"listIndexes": collection(d)}, "bag")),
    (2, _plain(definitions.list_collections, "bag")),
    (1, _plain(lambda d: {"drop": d.pick(definitions.MADE)})),
    (2, _plain(lambda d: {d.pick(("collStats", "collstats")): collection(d)}, "statistics")),
    (1, _plain(lambda d: {"dbStats": 1, **d.maybe(0.2, scale=lambda e: 1024)}, "statistics")),
    (1, _plain(lambda d: {"validate": collection(d)}, "statistics")),
    (1, _plain(lambda d: {"dataSize": f"@home.{collection(d)}"}, "statistics")),
    (1, _plain(lambda d: {"convertToCapped": d.pick(definitions.MADE), "size": 8192})),
    (1, _plain(lambda d: {d.pick(("ping", "nosuch", "getLastError")): 1})),
)
ON_ADMIN: Final[Sequence[tuple[int, Kind]]] = (
    (2, _plain(definitions.list_databases, "names")),
    (3, _plain(definitions.rename)),
)
COMMANDS: Final[Sequence[tuple[int, tuple[str, Kind]]]] = (
    *((weight, ("", kind)) for weight, kind in GOOD),
    *((weight, ("admin", kind)) for weight, kind in ON_ADMIN),
    (10, ("", mistaken)),
    (6, ("", explain)),
)
READERS: Final[Sequence[tuple[int, Kind]]] = (
    (10, find), (4, count), (4, distinct), (10, aggregate), (2, batched),
)  # fmt: skip
"""What may run beside an open transaction without waiting for it."""

IN_TRANSACTION: Final[Sequence[tuple[int, Kind]]] = (
    *READERS, (10, insert), (10, updates), (4, deletes), (6, modify), (3, upsert), (3, mistaken),
)  # fmt: skip


WRITERS: Final = frozenset({
    "aggregate", "collMod", "convertToCapped", "create", "createIndexes", "delete", "drop",
    "dropIndexes", "findAndModify", "findandmodify", "insert", "renameCollection", "update",
})  # fmt: skip
"""Commands that may change documents, or end cursors; some aggregations do."""


def seeding(dice: Dice) -> list[dict[str, Any]]:
    """Give what every workload begins with."""
    made = [{**document(dice), "_id": n} for n in range(20)]
    return [
        {"insert": "t", "documents": made},
        {"insert": "u", "documents": made[:7]},
        {"insert": "w.x", "documents": made[:3]},
    ]


def unknown_identity(dice: Dice) -> Any:
    """Give an `_id` that may be there."""
    return identity(dice)


__all__ = ["BY_ID", "COMMANDS", "IN_TRANSACTION", "READERS", "CursorOf", "Step", "seeding"]
