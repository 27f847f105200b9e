"""STREAMS: change streams at three levels, opened, read, and taken up again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.support.workloads.dice import Dice, Made
from tests.support.workloads.filters import OPERATORS
from tests.support.workloads.pipelines import collection


@dataclass(frozen=True, slots=True)
class TokenOf:
    """The token of an event that a step read; each side has its own."""

    step: int
    place: int


@dataclass(frozen=True, slots=True)
class TimeOf:
    """The time of an event that a step read; each side has its own."""

    step: int
    place: int


OWN: Final = {"$match": {"ns.db": {"$in": ["@home", "@other"]}}}
"""A private cluster's stream sees the whole cluster, of which we are a part."""

VALUES: Final = (
    "$documentKey", "$ns.db", {"$ifNull": ["$fullDocument.n", "none"]}, {"$type": "$to"},
    {"$bsonSize": "$documentKey"}, {"$literal": "$$ROOT"},
)  # fmt: skip
STAGES: Final[Sequence[Made]] = (
    lambda d: {"$match": {"operationType": {"$in": some_operations(d)}}},
    lambda d: {"$match": {"documentKey._id": d.make(OPERATORS)}},
    lambda d: {"$project": {"documentKey": 1, "ns": 1, "to": 1, "operationType": 1}},
    lambda d: {"$project": {"fullDocument": 0, "updateDescription": 0}},
    lambda d: {"$set": {d.pick(("q", "fullDocument.q")): d.pick(VALUES)}},
    lambda d: {"$addFields": {"r": d.pick(VALUES)}},
    lambda d: {"$unset": d.pick(("fullDocument.s", "wallTime"))},
    lambda d: {"$replaceWith": {"$mergeObjects": ["$$ROOT", {"key": "$documentKey"}]}},
    lambda d: {"$redact": "$$KEEP"},
)
"""What is left tells of a collection that is being made: both sides call it otherwise."""

OPERATIONS: Final = (
    "insert", "delete", "drop", "rename", "invalidate", "create", "modify", "createIndexes",
)  # fmt: skip


def some_operations(dice: Dice) -> list[str]:
    """Give kinds of events; changes come together, as the server tells them as it likes."""
    changes = ["update", "replace"] if dice.chance(0.6) else []
    return [*dice.some(OPERATIONS, 4, 1), *changes]


WRONG: Final[Sequence[Made]] = (
    lambda d: {"$group": {"_id": "$operationType"}},
    lambda d: {"$sort": {"_id": 1}},
    lambda d: {"$unset": "_id"},
    lambda d: {"$limit": 1},
    lambda d: {"$lookup": {"from": "t", "as": "j", "pipeline": []}},
    lambda d: {"$changeStream": {}},
    lambda d: {"$bogus": 1},
)
OPTIONS: Final[dict[str, Made]] = {
    "fullDocument": lambda d: d.pick(("default", "updateLookup", "updateLookup", "whenAvailable")),
    "fullDocumentBeforeChange": lambda d: d.pick(("off", "whenAvailable")),
    "showExpandedEvents": lambda d: d.chance(0.8),
}
WRONG_OPTIONS: Final[Sequence[Made]] = (
    lambda d: {"fullDocument": d.pick(("bogus", 5, "required"))},
    lambda d: {"fullDocumentBeforeChange": d.pick(("bogus", 5))},
    lambda d: {"resumeAfter": d.pick((5, {}, {"_data": 5}, {"_data": "00"}))},
    lambda d: {"bogus": 1},
    lambda d: {"allChangesForCluster": d.pick((5, True))},
    lambda d: {"startAtOperationTime": 5},
    lambda d: {"showExpandedEvents": 5},
)


def opening(dice: Dice, seen: Sequence[tuple[int, int]]) -> tuple[str, dict[str, Any], str]:
    """Give database, command and cursor's collection of a stream; `seen` are steps and events."""
    options = dice.maybe(0.35, **OPTIONS)
    if seen and dice.chance(0.5):
        step, count = dice.pick(seen)
        options |= _again(dice, step, dice.number(0, count - 1))
    if dice.chance(0.05):
        options |= dice.wrong(WRONG_OPTIONS)
    stages = dice.many(lambda d: d.make(STAGES), 2) if dice.chance(0.4) else []
    if dice.chance(0.05):
        stages.append(dice.wrong(WRONG))
    level = dice.number(0, 5)
    if level == 0:
        options = {"allChangesForCluster": True, **options}
        stages = [{"$changeStream": options}, OWN, *stages]
        return "admin", {"aggregate": 1, "pipeline": stages, "cursor": {}}, "$cmd.aggregate"
    stages = [{"$changeStream": options}, *stages]
    db = dice.pick(("@home", "@home", "@other"))
    if level < 3:
        return db, {"aggregate": 1, "pipeline": stages, "cursor": {}}, "$cmd.aggregate"
    name = collection(dice)
    return "@home", {"aggregate": name, "pipeline": stages, "cursor": {}}, name


def _again(dice: Dice, step: int, place: int) -> dict[str, Any]:
    kind = dice.pick(("resumeAfter", "startAfter", "startAtOperationTime"))
    found = TimeOf(step, place) if kind == "startAtOperationTime" else TokenOf(step, place)
    return {kind: found}
