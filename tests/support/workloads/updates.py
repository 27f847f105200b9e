"""UPDATES: every style of changing a document; PROJECTIONS: every way of showing a part of it."""

from collections.abc import Sequence
from typing import Any, Final

from tests.support.workloads.dice import Dice, Made
from tests.support.workloads.expressions import boolean, computed, expression, name
from tests.support.workloads.filters import OPERATORS, condition
from tests.support.workloads.values import body, field, identity, number, small, value, word

OPERATIONS: Final[Sequence[Made]] = (
    lambda d: {"$set": {field(d): value(d)}},
    lambda d: {"$set": {field(d): value(d), "new": value(d)}},
    lambda d: {"$set": {"t.1": value(d), "sub.y.0.z": small(d)}},
    lambda d: {"$set": {}},
    lambda d: {"$unset": {field(d): ""}},
    lambda d: {"$inc": {"n": number(d)}},
    lambda d: {"$inc": {"n": 1}, "$set": {"s": word(d)}},
    lambda d: {"$mul": {"n": small(d)}},
    lambda d: {"$min": {"n": value(d)}},
    lambda d: {"$max": {field(d): value(d)}},
    lambda d: {"$rename": {d.pick(("n", "a", "sub")): d.pick(("b", "sub.b", "a"))}},
    lambda d: {"$push": {"t": value(d)}},
    lambda d: {"$push": {"t": {"$each": d.many(value, 3), "$slice": d.number(-3, 3)}}},
    lambda d: {"$push": {"items": {"$each": [{"k": small(d)}], "$sort": {"k": -1}}}},
    lambda d: {"$push": {"t": {"$each": [1], "$position": d.number(0, 2)}}},
    lambda d: {"$addToSet": {"t": value(d)}},
    lambda d: {"$addToSet": {"t": {"$each": d.many(value, 3)}}},
    lambda d: {"$pop": {"t": d.pick((1, -1))}},
    lambda d: {"$pull": {"t": value(d)}},
    lambda d: {"$pull": {"t": {"$gt": number(d)}}},
    lambda d: {"$pull": {"items": {"k": d.make(OPERATORS)}}},
    lambda d: {"$pullAll": {"t": d.many(value, 3)}},
    lambda d: {"$bit": {"n": {d.pick(("and", "or", "xor")): small(d)}}},
    lambda d: {"$currentDate": {"now": d.pick((True, {"$type": "date"}, {"$type": "timestamp"}))}},
    lambda d: {"$setOnInsert": {"new": value(d)}, "$set": {"s": word(d)}},
    lambda d: {"$set": {"t.$[]": small(d)}},
    lambda d: {"$inc": {"items.$[].k": 1}},
    lambda d: {"$set": {"_id": identity(d)}},
)
PIPELINES: Final[Sequence[Made]] = (
    lambda d: [{"$set": {name(d): computed(d)}}],
    lambda d: [{"$addFields": {name(d): computed(d), "new": expression(d)}}],
    lambda d: [{"$unset": d.pick(("n", ["s", "t"], "sub.x"))}],
    lambda d: [{"$project": d.make(((lambda e: {"n": 1, "s": 1}), (lambda e: {"t": 0})))}],
    lambda d: [{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"q": expression(d)}]}}],
    lambda d: [{"$replaceRoot": {"newRoot": {"_id": "$_id", "was": "$$ROOT"}}}],
    lambda d: [{"$replaceWith": {"$literal": {"x": 1}}}],
    lambda d: [{"$set": {"q": "$n"}}, {"$unset": "n"}, {"$set": {"r": "$$ROOT"}}],
    lambda d: [{"$set": {"q": {"$literal": "$n"}}}],
    lambda d: [],
)
WRONG: Final[Sequence[Made]] = (
    lambda d: {"$bogus": {"n": 1}},
    lambda d: {"$set": 5},
    lambda d: {"$set": {"n": 1}, "$unset": {"n": 1}},
    lambda d: {"$set": {"n": 1, "n.x": 1}},
    lambda d: {"$inc": {"s": 1}},
    lambda d: {"$inc": {"n": "a"}},
    lambda d: {"$push": {"n": 1}},
    lambda d: {"$pop": {"t": 5}},
    lambda d: {"$rename": {"n": "n"}},
    lambda d: {"$rename": {"n": 5}},
    lambda d: {"$set": {"": 1}},
    lambda d: {"$set": {"a.": 1}},
    lambda d: {"$set": {"t.$": 1}},
    lambda d: {"$set": {"t.$[x]": 1}},
    lambda d: {"$set": {"$bad": 1}},
    lambda d: {"$set": {"n": 1}, "x": 1},
    lambda d: {"x": 1, "$set": {"n": 1}},
    lambda d: [{"$bogus": 1}],
    lambda d: [{"$match": {}}],
    lambda d: [{"$set": {"a": 1}, "$unset": "b"}],
    lambda d: [5],
    lambda d: [{"$set": 5}],
    lambda d: [{"$project": {"a": 1, "b": 0}}],
    lambda d: [{"$replaceWith": 5}],
    lambda d: [{"$set": {"_id": 99}}],
    lambda d: 5,
    lambda d: None,
    lambda d: {"$bit": {"n": {"bogus": 1}}},
    lambda d: {"$currentDate": {"d": 5}},
    lambda d: {"$addToSet": {"t": {"$each": 5}}},
    lambda d: {"$pullAll": {"t": 5}},
    lambda d: {"$pull": {"t": {"$bogus": 1}}},
    lambda d: {"$push": {"t": {"$each": [1], "$bogus": 1}}},
    lambda d: {"$push": {"t": {"$each": [1], "$slice": "a"}}},
    lambda d: {"$set": {"t.-1": 1}},
    lambda d: {"$mul": {"n": None}},
)


def replacement(dice: Dice) -> Any:
    """Give a whole new document."""
    fields = body(dice)
    return {"_id": identity(dice), **fields} if dice.chance(0.1) else fields


def update(dice: Dice) -> dict[str, Any]:
    """Give what an update does, with the options that belong to it."""
    kinds: Sequence[tuple[int, Made]] = (
        (10, lambda d: {"u": d.make(OPERATIONS)}),
        (2, lambda d: {"u": {**d.make(OPERATIONS), **d.make(OPERATIONS)}}),
        (4, lambda d: {"u": replacement(d)}),
        (4, lambda d: {"u": d.make(PIPELINES)}),
        (2, with_filters),
        (1, lambda d: {"u": {"$set": {d.pick(("t.$", "items.$.k", "items.$")): small(d)}}}),
        (1, lambda d: {"u": [{"$set": {"q": "$$c"}}], "c": {"c": value(d)}}),
        (1, lambda d: {"u": d.wrong(WRONG)}),
    )
    return dice.weighted(kinds)(dice)


def with_filters(dice: Dice) -> dict[str, Any]:
    """Give an update of the elements that a filter names."""
    if dice.chance(0.5):
        filters: Any = [{"e.k": dice.make(OPERATORS)}]
        change = {"$set": {"items.$[e].v": small(dice)}}
    else:
        filters = [{"e": {"$gte": number(dice)}}]
        change = {"$inc": {"t.$[e]": 1}}
    if dice.chance(0.1):
        filters = dice.wrong(
            (
                lambda d: [],
                lambda d: [{"x": 1}],
                lambda d: [{"e.k": 1}, {"e.w": 1}],
                lambda d: [{"$where": 1}],
                lambda d: 5,
            )
        )
    return {"u": change, "arrayFilters": filters}


WRONG_PROJECTIONS: Final[Sequence[Made]] = (
    lambda d: {"": 1},
    lambda d: {"a..b": 1},
    lambda d: {"$a": 1},
    lambda d: {"a.b": 1, "a": 1},
    lambda d: {"a.$": 0},
)
PROJECTIONS: Final[Sequence[tuple[int, Made]]] = (
    (3, lambda d: dict.fromkeys(d.some(("n", "s", "t", "sub", "sub.x", "_id", "items.k"), 3), 1)),
    (3, lambda d: dict.fromkeys(d.some(("n", "s", "t", "sub", "sub.x", "_id", "items.k"), 3), 0)),
    (1, lambda d: {"_id": 0, field(d): 1}),
    (1, lambda d: {"_id": 1, field(d): 0}),
    (1, lambda d: {"sub": {"x": d.pick((0, 1, True))}}),
    (1, lambda d: {"sub": {"x": 1, "y": {"z": expression(d)}}}),
    (1, lambda d: {"t": {"$slice": d.pick((1, -1, [0, 1], [1, 2], "x"))}}),
    (1, lambda d: {"t": {"$slice": 1}, field(d): d.pick((0, 1))}),
    (1, lambda d: {"t": {"$elemMatch": d.make(OPERATORS)}}),
    (1, lambda d: {"items": {"$elemMatch": {"k": small(d)}}, "n": 1}),
    (1, lambda d: {"items": {"$elemMatch": {"k": small(d)}}, "n": 0}),
    (1, lambda d: {d.pick(("t.$", "items.$")): 1}),
    (3, lambda d: {name(d): computed(d)}),
    (1, lambda d: {name(d): computed(d), "n": 1}),
    (1, lambda d: {name(d): expression(d), "n": 0}),
    (1, lambda d: {"q": {"$meta": d.pick(("textScore", "recordId", "sortKey"))}}),
    (1, lambda d: {"q": "$$ROOT", "_id": 0}),
    (1, lambda d: {"q": {"$literal": 1}, "r": "lit"}),
    (1, lambda d: {"n": d.pick((None, "x", 1.5, float("nan"), -0.0, [], {}, [1]))}),
    (1, lambda d: {}),
    (1, lambda d: d.wrong(WRONG_PROJECTIONS)),
)


def projection(dice: Dice) -> Any:
    """Give a projection of `find` or `findAndModify`."""
    return dice.weighted(PROJECTIONS)(dice)


def statement(dice: Dice) -> dict[str, Any]:
    """Give a filter that the changed documents do not depend on the plan of, and a change."""
    multi = dice.chance(0.3)
    if multi:
        found = {"q": condition(dice), "multi": True}
    else:
        found = {"q": {"_id": identity(dice)}}
        found |= dice.maybe(0.15, multi=lambda d: False)
        if dice.chance(0.2):
            found["q"][field(dice)] = dice.make(OPERATORS)
    return {**found, **update(dice), **dice.maybe(0.3, upsert=lambda d: d.chance(0.8))}


def any_boolean(dice: Dice) -> Any:
    """Give a condition on a document as an expression."""
    return boolean(dice)
