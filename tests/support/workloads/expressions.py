"""EXPRESSIONS: what aggregations, updates and projections compute."""

from collections.abc import Sequence
from typing import Any, Final

from tests.support.workloads.dice import Dice, Made
from tests.support.workloads.values import date, field, number, odd, scalar, small, value, word

PATHS: Final = (
    "$n", "$a", "$s", "$t", "$sub", "$sub.x", "$sub.y.z", "$items", "$items.k", "$d", "$any",
    "$m", "$g", "$_id", "$nope", "$$ROOT", "$$CURRENT", "$$ROOT.n", "$$CURRENT.sub",
)  # fmt: skip


def path(dice: Dice) -> str:
    return dice.pick(PATHS)


def _unary(*names: str) -> list[Made]:
    return [lambda d, n=n: {n: expression(d)} for n in names]


def _numbers(*names: str) -> list[Made]:
    return [lambda d, n=n: {n: [numeric(d), numeric(d)]} for n in names]


NUMERIC: Final[Sequence[Made]] = (
    *_numbers("$add", "$subtract", "$multiply", "$max", "$min", "$sum", "$avg", "$mod", "$divide"),
    lambda d: {d.pick(("$abs", "$ceil", "$floor", "$sqrt", "$exp", "$ln")): numeric(d)},
    lambda d: {d.pick(("$round", "$trunc")): [numeric(d), d.number(-1, 2)]},
    lambda d: {"$pow": [numeric(d), 2]},
    lambda d: {"$size": {"$ifNull": ["$t", []]}},
    lambda d: {d.pick(("$strLenCP", "$strLenBytes")): text(d)},
    lambda d: {d.pick(("$toInt", "$toDouble", "$toLong", "$toDecimal")): scalar(d)},
    lambda d: {d.pick(("$year", "$month", "$dayOfWeek", "$hour", "$isoWeek")): "$d"},
    lambda d: {"$indexOfArray": ["$t", value(d)]},
    lambda d: {"$indexOfCP": [text(d), "e"]},
    lambda d: {"$cmp": [expression(d), expression(d)]},
    lambda d: {"$bsonSize": d.pick(("$$ROOT", "$sub", "$$CURRENT"))},
    lambda d: {"$binarySize": text(d)},
    lambda d: {"$dateDiff": {"startDate": "$d", "endDate": date(d), "unit": "month"}},
)
TEXTS: Final[Sequence[Made]] = (
    lambda d: {"$concat": [text(d), "-", text(d)]},
    lambda d: {d.pick(("$toUpper", "$toLower")): text(d)},
    lambda d: {"$substrCP": [text(d), 0, d.number(0, 3)]},
    lambda d: {"$trim": {"input": text(d), "chars": "t"}},
    lambda d: {"$dateToString": {"date": "$d", "format": "%Y-%m"}},
    lambda d: {"$toString": scalar(d)},
    lambda d: {"$type": expression(d)},
    lambda d: {"$replaceOne": {"input": text(d), "find": "e", "replacement": "EE"}},
    lambda d: {"$replaceAll": {"input": text(d), "find": "e", "replacement": "E"}},
    lambda d: "$s",
    word,
)
BOOLEANS: Final[Sequence[Made]] = (
    lambda d: {
        d.pick(("$eq", "$ne", "$gt", "$gte", "$lt", "$lte")): [expression(d), expression(d)]
    },
    lambda d: {d.pick(("$eq", "$gt", "$lt")): ["$n", small(d)]},
    lambda d: {"$in": [expression(d), {"$ifNull": ["$t", []]}]},
    lambda d: {"$and": d.many(boolean, 2)},
    lambda d: {"$or": d.many(boolean, 2)},
    lambda d: {"$not": [boolean(d)]},
    lambda d: {"$regexMatch": {"input": text(d), "regex": "^t", "options": "i"}},
    lambda d: {"$isArray": path(d)},
    lambda d: {"$isNumber": path(d)},
    lambda d: {"$setIsSubset": [[small(d)], {"$ifNull": ["$t", []]}]},
    lambda d: {"$anyElementTrue": [{"$ifNull": ["$t", []]}]},
    lambda d: {"$toBool": scalar(d)},
    lambda d: True,
)
ARRAYS: Final[Sequence[Made]] = (
    lambda d: {"$map": {"input": "$t", "in": {"$type": "$$this"}}},
    lambda d: {"$map": {"input": "$items", "as": "i", "in": {"$add": ["$$i.k", small(d)]}}},
    lambda d: {"$filter": {"input": "$t", "cond": {"$gt": ["$$this", scalar(d)]}}},
    lambda d: {"$filter": {"input": "$items", "as": "i", "cond": {"$eq": ["$$i.k", "$n"]}}},
    lambda d: {"$concatArrays": [{"$ifNull": ["$t", []]}, [small(d)]]},
    lambda d: {"$slice": [{"$ifNull": ["$t", []]}, d.number(-2, 2) or 1]},
    lambda d: {"$reverseArray": "$t"},
    lambda d: {"$range": [0, d.number(0, 5)]},
    lambda d: {"$setUnion": [{"$ifNull": ["$t", []]}, [1]]},
    lambda d: {"$objectToArray": d.pick(("$$ROOT", "$sub", "$$CURRENT"))},
    lambda d: {"$zip": {"inputs": [{"$ifNull": ["$t", []]}, [1, 2]]}},
    lambda d: {"$sortArray": {"input": "$t", "sortBy": 1}},
    lambda d: {"$regexFindAll": {"input": text(d), "regex": "e"}},
    lambda d: {"$split": [text(d), " "]},
    lambda d: [expression(d), expression(d)],
)
OBJECTS: Final[Sequence[Made]] = (
    lambda d: {"x": expression(d), "y": {"z": path(d)}},
    lambda d: {"$mergeObjects": [d.pick(("$sub", "$$ROOT")), {"x": small(d)}]},
    lambda d: {"$arrayToObject": [[["k", expression(d)]]]},
    lambda d: {"$setField": {"field": "a", "input": "$$ROOT", "value": expression(d)}},
    lambda d: {"$unsetField": {"field": "n", "input": d.pick(("$$ROOT", "$sub", "$$CURRENT"))}},
    lambda d: "$sub",
    lambda d: "$$ROOT",
    lambda d: {"$dateToParts": {"date": "$d"}},
)
OTHERS: Final[Sequence[Made]] = (
    lambda d: {"$cond": [boolean(d), expression(d), expression(d)]},
    lambda d: {"$cond": {"if": boolean(d), "then": expression(d), "else": "$$REMOVE"}},
    lambda d: {"$ifNull": [path(d), expression(d)]},
    lambda d: {"$switch": {"branches": [{"case": boolean(d), "then": 1}], "default": path(d)}},
    lambda d: {"$let": {"vars": {"v": expression(d)}, "in": ["$$v", path(d)]}},
    lambda d: {"$literal": d.pick(("$n", "$$ROOT", {"$add": [1]}))},
    lambda d: {"$getField": d.pick(("n", "s", "a.b", "nope"))},
    lambda d: {"$getField": {"field": "x", "input": "$sub"}},
    lambda d: {"$first": "$t"},
    lambda d: {"$last": "$items"},
    lambda d: {"$arrayElemAt": ["$t", d.number(-2, 2)]},
    lambda d: {"$dateTrunc": {"date": "$d", "unit": "year"}},
    lambda d: {"$dateAdd": {"startDate": "$d", "unit": "day", "amount": small(d)}},
    lambda d: {"$dateFromString": {"dateString": word(d), "onError": None}},
    lambda d: {"$convert": {"input": path(d), "to": "int", "onError": "bad", "onNull": "nil"}},
    lambda d: {"$reduce": {
        "input": {"$ifNull": ["$t", []]}, "initialValue": 0,
        "in": {"$add": ["$$value", {"$cond": [{"$isNumber": "$$this"}, "$$this", 1]}]}}},
    lambda d: {"$toHashedIndexKey": d.pick(("$n", "$s", "$t", "$sub", "$d"))},
    lambda d: {"$tsSecond": path(d)},
    lambda d: {"$gt": ["$$NOW", path(d)]},
    lambda d: odd(d) if d.chance(0.3) else path(d),
    *_unary("$toString", "$toDate", "$arrayToObject", "$toObjectId", "$allElementsTrue", "$sum"),
    lambda d: {d.pick(("$maxN", "$minN", "$firstN")): {"n": 2, "input": {"$ifNull": ["$t", []]}}},
)  # fmt: skip
WRONG: Final[Sequence[Made]] = (
    lambda d: {"$bogus": 1},
    lambda d: {"$add": 1, "$subtract": 2},
    lambda d: "$$nope",
    lambda d: {"$map": {"input": "$t"}},
    lambda d: {"$map": 5},
    lambda d: {"$cond": [1]},
    lambda d: {"$getField": 5},
    lambda d: {"$setField": {"field": "$x", "input": 1, "value": 1}},
    lambda d: {"$let": {"vars": {"X": 1}, "in": 1}},
    lambda d: {"$divide": [1, 0]},
    lambda d: {"$dateToString": {"date": "x"}},
    lambda d: {"a": 1, "$add": [1]},
    lambda d: {"a.b": 1},
    lambda d: "$",
    lambda d: "$a.",
    lambda d: "$a..b",
    lambda d: {"$filter": {"input": 5, "cond": 1}},
    lambda d: {"$range": [0, "a"]},
    lambda d: {"$meta": "bogus"},
    lambda d: {"$meta": "textScore"},
    lambda d: {"$regexMatch": {"input": "a", "regex": "("}},
    lambda d: {"$reduce": {"input": "$t", "initialValue": 0}},
    lambda d: {"$zip": {"inputs": 5}},
    lambda d: {"$convert": {"input": "x", "to": "bogus"}},
    lambda d: {"$switch": {"branches": []}},
)


def numeric(dice: Dice) -> Any:
    """Give something that is mostly a number."""
    if dice.depth < DEEP and dice.chance(0.3):
        return dice.deeper(NUMERIC)
    return dice.pick(("$n", "$g", number(dice)))


def text(dice: Dice) -> Any:
    """Give something that is mostly a text."""
    return dice.deeper(TEXTS) if dice.depth < DEEP and dice.chance(0.4) else "$s"


def boolean(dice: Dice) -> Any:
    """Give something that is mostly true or false."""
    return dice.deeper(BOOLEANS) if dice.depth < DEEP else {"$gt": ["$n", small(dice)]}


TABLES: Final = (
    (40, NUMERIC), (30, TEXTS), (30, BOOLEANS), (30, ARRAYS), (30, OBJECTS), (40, OTHERS), (2, ()),
)  # fmt: skip
"""The empty one stands for a mistake."""

DEEP: Final = 3


def expression(dice: Dice) -> Any:
    """Give an expression; most are a path or a constant, so that depth stays small."""
    if dice.depth >= DEEP or dice.chance(0.55):
        return path(dice) if dice.chance(0.7) else scalar(dice)
    return computed(dice)


def computed(dice: Dice) -> Any:
    """Give an expression with an operator."""
    table = dice.weighted(TABLES)
    return dice.deeper(table) if table else dice.wrong(WRONG)


def name(dice: Dice) -> str:
    """Give a field to write to."""
    return dice.pick(("q", "r", field(dice), "sub.new", "n"))
