"""FILTERS: conditions with every operator."""

from collections.abc import Sequence
from typing import Any, Final

from bson import Regex

from tests.support.workloads.dice import Dice, Made
from tests.support.workloads.expressions import boolean
from tests.support.workloads.values import field, identity, number, point, small, value, word

Filter = dict[str, Any]
COLLATIONS: Final = (
    {"locale": "en", "strength": 1}, {"locale": "en", "strength": 2}, {"locale": "simple"},
    {"locale": "de", "numericOrdering": True}, {"locale": "en", "alternate": "shifted"},
    {"locale": "fr", "caseLevel": True, "strength": 1},
)  # fmt: skip
BOX: Final = [[-3, -3], [4, 4]]
RING: Final = {"type": "Polygon", "coordinates": [[[-3, -3], [4, -3], [4, 4], [-3, -3]]]}

OPERATORS: Final[Sequence[Made]] = (
    lambda d: {"$gt": value(d)},
    lambda d: {"$gte": number(d), "$lt": number(d)},
    lambda d: {"$lte": value(d)},
    lambda d: {"$eq": value(d)},
    lambda d: {"$ne": value(d)},
    lambda d: {"$in": d.many(value, 3)},
    lambda d: {"$nin": d.many(value, 3)},
    lambda d: {"$in": [Regex("^t", "i"), None]},
    lambda d: {"$exists": d.pick((True, False, 1, 0))},
    lambda d: {
        "$type": d.pick(("int", "string", "number", 2, [1, 16], "array", "object", "bogus"))
    },
    lambda d: {"$mod": [d.number(1, 4), d.number(0, 2)]},
    lambda d: {"$regex": d.pick(("^t", "a", "TEA", "(", "e$")), "$options": d.pick(("", "i", "x"))},
    lambda d: Regex(d.pick(("^t", "ea", "O")), d.pick(("", "i", "m"))),
    lambda d: negated(d),  # noqa: PLW0108 - defined below
    lambda d: {"$size": d.number(0, 3)},
    lambda d: {"$all": d.many(value, 2)},
    lambda d: {"$all": [{"$elemMatch": {"k": small(d)}}, {"$elemMatch": {"w": word(d)}}]},
    lambda d: {"$elemMatch": {"$gte": number(d), "$lt": number(d)}},
    lambda d: {"$elemMatch": {"k": d.make(OPERATORS), "w": word(d)}},
    lambda d: {"$elemMatch": {"$or": [{"k": small(d)}, {"z": small(d)}]}},
    lambda d: {"$bitsAllSet": d.number(0, 7)},
    lambda d: {"$bitsAnyClear": [0, 2]},
    lambda d: {"$bitsAllClear": d.number(0, 7)},
    lambda d: {"$bitsAnySet": d.number(0, 7)},
    value,
    value,
    lambda d: {"$gt": value(d), "$exists": True},
)

GEO: Final[Sequence[Made]] = (
    lambda d: {"$geoWithin": {"$box": BOX}},
    lambda d: {"$geoWithin": {"$centerSphere": [[0, 0], 0.05]}},
    lambda d: {"$geoWithin": {"$geometry": RING}},
    lambda d: {"$geoIntersects": {"$geometry": RING}},
    lambda d: {"$geoWithin": {"$polygon": [[0, 0], [3, 0], [3, 3]]}},
)

SCHEMAS: Final[Sequence[Made]] = (
    lambda d: {"required": [d.pick(("n", "s", "_id"))]},
    lambda d: {"properties": {"n": {"bsonType": "int", "minimum": small(d)}}},
    lambda d: {"properties": {"s": {"type": "string", "pattern": "^t"}}},
    lambda d: {"maxProperties": d.number(3, 9)},
    lambda d: {"minProperties": d.number(3, 12)},
    lambda d: {
        "additionalProperties": False,
        "properties": {n: {} for n in ("_id", "n", "a", "s")},
    },
    lambda d: {"additionalProperties": False, "patternProperties": {"^[a-z_]": {}}},
    lambda d: {"patternProperties": {"a": {"bsonType": "string"}}},
    lambda d: {"anyOf": [{"required": ["n"]}, {"properties": {"t": {"minItems": 2}}}]},
    lambda d: {"not": {"maxProperties": d.number(4, 9)}},
    lambda d: {"properties": {"t": {"uniqueItems": True, "items": {"type": "number"}}}},
    lambda d: {"dependencies": {"n": ["s"]}},
    lambda d: {"bogus": 1},
)

TEXT: Final[Sequence[Made]] = (
    lambda d: {"$text": {"$search": word(d)}},
    lambda d: {"$text": {"$search": '"cup of" -apple', "$caseSensitive": d.chance(0.5)}},
    lambda d: {"$text": {"$search": "tea", "$language": d.pick(("none", "en", "bogus"))}},
)

FILTERS: Final[Sequence[tuple[int, Made]]] = (
    (6, lambda d: {"_id": identity(d)}),
    (3, lambda d: {"_id": {"$in": d.many(identity, 6)}}),
    (3, lambda d: {"_id": {"$gt": d.number(0, 20)}}),
    (4, lambda d: {}),
    (12, lambda d: {field(d): d.make(OPERATORS)}),
    (6, lambda d: {field(d): d.make(OPERATORS), field(d): d.make(OPERATORS)}),
    (3, lambda d: {"$or": d.many(condition, 3, 1)}),
    (3, lambda d: {"$and": d.many(condition, 3, 1)}),
    (2, lambda d: {"$nor": d.many(condition, 2, 1)}),
    (4, lambda d: {"$expr": boolean(d)}),
    (2, lambda d: {"$jsonSchema": d.make(SCHEMAS)}),
    (1, lambda d: d.make(TEXT)),
    (1, lambda d: {**d.make(TEXT), field(d): d.make(OPERATORS)}),
    (2, lambda d: {"loc": d.make(GEO)}),
    (1, lambda d: {"$comment": "why", field(d): small(d)}),
    (1, lambda d: d.wrong(WRONG)),
)

WRONG: Final[Sequence[Made]] = (
    lambda d: {"n": {"$bogus": 1}},
    lambda d: {"$bogus": 1},
    lambda d: {"n": {"$in": 5}},
    lambda d: {"$or": []},
    lambda d: {"$or": 5},
    lambda d: {"$and": [5]},
    lambda d: {"n": {"$mod": [0, 1]}},
    lambda d: {"n": {"$mod": [1]}},
    lambda d: {"n": {"$size": -1}},
    lambda d: {"n": {"$size": "a"}},
    lambda d: {"n": {"$elemMatch": 5}},
    lambda d: {"n": {"$not": 5}},
    lambda d: {"n": {"$not": {}}},
    lambda d: {"n": {"$all": 5}},
    lambda d: {"n": {"$exists": 1, "a": 2}},
    lambda d: {"$expr": {"$bogus": 1}},
    lambda d: {"$expr": "$$nope"},
    lambda d: {"$text": {"$search": 5}},
    lambda d: {"$text": 5},
    lambda d: {"loc": {"$geoWithin": {"$bogus": 1}}},
    lambda d: {"loc": {"$near": point(d)}},
    lambda d: {"n": {"$regex": 5}},
    lambda d: {"n": {"$options": "i"}},
    lambda d: {"n": {"$type": "x"}},
    lambda d: {"n": {"$bitsAllSet": -1}},
    lambda d: {"$jsonSchema": 5},
    lambda d: {"n": {"$gt": Regex("a")}},
    lambda d: {"n": {"$ne": Regex("a")}},
    lambda d: {"$alwaysTrue": 1},
    lambda d: {"$nor": [{"$bogus": 1}]},
)


def negated(dice: Dice) -> Filter:
    """Give the opposite of a condition; of a value there is none."""
    found = dice.make(OPERATORS)
    operators = isinstance(found, dict) and next(iter(found), "").startswith("$")
    dice.mistakes += not (operators or isinstance(found, Regex))
    return {"$not": found}


def condition(dice: Dice) -> Filter:
    """Give a filter."""
    return dice.weighted(FILTERS)(dice)


def one(dice: Dice) -> Filter:
    """Give a filter that at most one document fits."""
    if dice.chance(0.7):
        return {"_id": identity(dice)}
    return {"_id": identity(dice), field(dice): dice.make(OPERATORS)}


def collation(dice: Dice) -> Any:
    """Give a collation, seldom a wrong one."""
    if dice.chance(0.03):
        return dice.wrong((lambda _: {"locale": "xx"},))
    return dice.pick(COLLATIONS)
