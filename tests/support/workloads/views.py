"""VIEWS and validators: definitions that the server keeps, good and wrong ones."""

from collections.abc import Sequence
from typing import Any, Final

from tests.support.workloads.dice import Dice, Made
from tests.support.workloads.expressions import computed, name
from tests.support.workloads.filters import SCHEMAS, collation, condition
from tests.support.workloads.pipelines import BY_ID, COLLECTIONS, PLACED, ordered, union
from tests.support.workloads.pipelines import WRONG as WRONG_STAGES
from tests.support.workloads.pipelines import shown as shown_fields
from tests.support.workloads.values import field, small

NAMES: Final = ("vw", "vw2", "v")
"""What views are called; `v` may also be a collection."""

SOURCES: Final = (*COLLECTIONS, "t", "u", *NAMES)


def lookup(dice: Dice) -> dict[str, Any]:
    inner = [BY_ID, {"$match": condition(dice)}, {"$project": {"n": 1}}]
    return {"$lookup": {"from": dice.pick(SOURCES), "as": "j", "pipeline": inner}}


STAGES: Final[Sequence[Made]] = (
    lambda d: {"$match": condition(d)},
    lambda d: {"$match": condition(d)},
    lambda d: {"$project": shown_fields(d)},
    lambda d: {"$project": {"n": 1, "s": 1, "g": 1}},
    lambda d: {d.pick(("$set", "$addFields")): {name(d): computed(d)}},
    lambda d: {"$unset": d.pick(("n", ["s", "t"], "sub.y.z"))},
    lambda d: {"$group": {"_id": "$g", "n": {"$sum": 1}}},
    lambda d: {"$sort": {"_id": d.pick((1, -1))}},
    lambda d: {"$limit": d.number(1, 5)},
    lambda d: {"$facet": {"a": [{"$count": "n"}]}},
    union,
    lookup,
    lookup,
)
WRONG: Final[Sequence[Made]] = (
    *WRONG_STAGES,
    lambda d: {"$out": "o1"},
    lambda d: {"$merge": "o1"},
    lambda d: {"$changeStream": {}},
    lambda d: {"$collStats": {"count": {}}},
    lambda d: {"$match": {"$where": "1"}},
)


def pipeline(dice: Dice) -> list[Any]:
    """Give the pipeline of a view."""
    stages = dice.many(lambda d: d.make(STAGES), 2)
    if dice.chance(0.03):
        stages.insert(0, {"$geoNear": {"near": [0, 0], "distanceField": "q", "key": "loc"}})
    if dice.chance(0.1):
        stages.insert(dice.number(0, len(stages)), dice.wrong(WRONG))
        dice.mistakes += any(isinstance(s, dict) and PLACED & s.keys() for s in stages)
    dice.mistakes += "$text" in str(stages)
    return ordered(stages)


def definition(dice: Dice) -> dict[str, Any]:
    """Give what a view reads."""
    if dice.chance(0.04):
        return dice.wrong(WRONG_DEFINITIONS)
    return {"viewOn": dice.pick(SOURCES), "pipeline": pipeline(dice)}


WRONG_DEFINITIONS: Final[Sequence[Made]] = (
    lambda d: {"viewOn": 5, "pipeline": []},
    lambda d: {"viewOn": "", "pipeline": []},
    lambda d: {"viewOn": "t", "pipeline": 5},
    lambda d: {"viewOn": "t", "pipeline": [5]},
    lambda d: {"pipeline": []},
    lambda d: {"viewOn": "t", "pipeline": [], "capped": True, "size": 4096},
    lambda d: {"viewOn": "t", "pipeline": [], "validator": {"n": 1}},
)


def create(dice: Dice) -> dict[str, Any]:
    """Give the creation of a view."""
    more = dice.maybe(0.1, collation=collation)
    return {"create": dice.pick(NAMES), **definition(dice), **more}


def change(dice: Dice) -> dict[str, Any]:
    """Give a view another definition."""
    return {"collMod": dice.pick(NAMES), **definition(dice)}


def drop(dice: Dice) -> dict[str, Any]:
    return {"drop": dice.pick(NAMES)}


def shown(dice: Dice) -> dict[str, Any]:
    """List definitions."""
    condition = dice.pick(
        ({"type": "view"}, {"name": "vw"}, {"options.viewOn": "t"}, {"options.validator.n": 1})
    )
    return {"listCollections": 1, "filter": condition}


VALIDATORS: Final[Sequence[Made]] = (
    condition,
    lambda d: {field(d): {"$exists": True}},
    lambda d: {"n": {"$lt": small(d)}},
    lambda d: {"$jsonSchema": d.make(SCHEMAS)},
    lambda d: {},
    lambda d: d.wrong((lambda _: 5, lambda _: {"$near": 1}, lambda _: {"n": {"$bogus": 1}})),
)


def validator(dice: Dice) -> dict[str, Any]:
    """Give rules for documents."""
    more = dice.maybe(
        0.3,
        validationLevel=lambda d: d.pick(("off", "moderate", "strict")),
        validationAction=lambda d: d.pick(("warn", "error")),
    )
    return {"validator": dice.make(VALIDATORS), **more}


def validated(dice: Dice) -> dict[str, Any]:
    """Give a collection rules, or take them away."""
    rules = validator(dice) if dice.chance(0.7) else {"validator": {}}
    return {dice.pick(("collMod", "collMod", "create")): dice.pick((*COLLECTIONS, "coll")), **rules}
