"""Values and documents: every BSON type, arrays of documents, what is missing and what repeats."""

from typing import Any, Final

from bson import (
    Binary,
    Code,
    DBRef,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)

from tests.support.comparing import OWN_OID, moment
from tests.support.workloads.dice import Dice

WORDS: Final = ("tea", "Tea", "cup of tea", "apple", "Äpfel", "zoo", "10", "9", "", "a.b", "x y")
FIELDS: Final = ("n", "a", "s", "t", "sub", "sub.x", "sub.y.z", "items", "items.k", "d", "any", "m")
NUMBERS: Final = (
    0, 1, -1, 2, 3, 5, 7, 2**31, Int64(4), Int64(2**40), 1.5, 2.0, -0.0, float("nan"),
    float("inf"), Decimal128("1.50"), Decimal128("3"), Decimal128("NaN"), 2**63 - 1,
)  # fmt: skip
ODD: Final = (
    None, True, False, MinKey(), MaxKey(), Regex("^a", "i"), Code("x"), Code("x", {"a": 1}),
    Timestamp(5, 1), Timestamp(0, 0), Binary(b"ab"), Binary(bytes(16), 4), Binary(b"x", 128),
    DBRef("other", 1), DBRef("other", 1, "db"), ObjectId(OWN_OID + bytes(10)), moment(1960),
    moment(2020), {}, [], [[]], [[1, [2]]], {"$dollar": 1}, {"": 1}, {"a.b": 2}, {"x": {"y": {}}},
    [None], {"app": 1}, "$n", "$$ROOT", "é" * 3,
)  # fmt: skip


def small(dice: Dice) -> int:
    return dice.number(0, 9)


def number(dice: Dice) -> Any:
    return dice.pick(NUMBERS) if dice.chance(0.3) else small(dice)


def word(dice: Dice) -> str:
    return dice.pick(WORDS)


def date(dice: Dice) -> Any:
    return moment(dice.number(2018, 2022))


def odd(dice: Dice) -> Any:
    return dice.pick(ODD)


def point(dice: Dice) -> Any:
    pair = [dice.number(-20, 20) / 4, dice.number(-20, 20) / 4]
    return pair if dice.chance(0.4) else {"type": "Point", "coordinates": pair}


def items(dice: Dice) -> Any:
    return [{"k": small(d), "v": number(d), "w": word(d)} for d in [dice] * dice.number(0, 3)]


def array(dice: Dice) -> Any:
    return dice.many(lambda d: d.weighted(((3, small), (2, word), (1, odd)))(d), 4)


def sub(dice: Dice) -> Any:
    return {"x": small(dice), "y": [{"z": small(dice)}, {"z": number(dice), "q": word(dice)}]}


def scalar(dice: Dice) -> Any:
    return dice.weighted(((4, small), (2, number), (3, word), (1, date)))(dice)


def value(dice: Dice) -> Any:
    return dice.weighted(((6, scalar), (2, odd), (1, array), (1, sub)))(dice)


def identity(dice: Dice) -> Any:
    """Give an `_id`: mostly small numbers, so that some come twice."""
    kinds = (
        (30, lambda d: d.number(0, 30)),
        (3, lambda d: f"id{d.number(0, 5)}"),
        (1, lambda d: {"a": small(d), "b": word(d)}),
        (1, lambda d: ObjectId(OWN_OID + bytes(9) + bytes([small(d)]))),
        (1, lambda d: d.pick((1.5, Int64(7), None, True, Binary(b"x"), moment(2020)))),
    )
    return dice.weighted(kinds)(dice)


PARTS: Final = {
    "n": number, "a": scalar, "s": word, "t": array, "sub": sub, "items": items, "d": date,
    "any": odd, "loc": point, "m": lambda d: d.pick((None, 1)), "g": lambda d: d.number(0, 2),
}  # fmt: skip


def body(dice: Dice) -> dict[str, Any]:
    """Give a document's fields, some missing, sometimes in another order."""
    names = list(PARTS)
    if dice.chance(0.2):
        names = dice.some(names, len(names))
    fields = {name: PARTS[name](dice) for name in names if dice.chance(0.75)}
    if dice.tags and dice.chance(0.3):
        fields["app_id"] = dice.pick(("lab", "other", 1, None, ["lab", "x"], {"a": 1}))
    return fields


def document(dice: Dice) -> dict[str, Any]:
    """Give a document to store."""
    fields = body(dice)
    if dice.chance(0.03):
        return fields
    if dice.chance(0.1):
        return {**fields, "_id": identity(dice)}
    return {"_id": identity(dice), **fields}


def field(dice: Dice) -> str:
    """Give a path that documents may have."""
    return dice.pick(FIELDS)
