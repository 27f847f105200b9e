"""What people write passes; what grows without bound, however disguised, does not."""

from dataclasses import replace
from typing import Any

import pytest

from mdb_engine.exceptions import QueryValidationError
from mdb_engine.scope.iterations import check_growth, check_iterations, growth
from mdb_engine.scope.model import Limits
from tests.support.kernel import lazy, where

NAN = float("nan")


def let(variables: dict[str, Any], inside: Any) -> dict[str, Any]:
    return {"$let": {"vars": variables, "in": inside}}


def each(items: Any, body: Any, **more: Any) -> dict[str, Any]:
    return {"$map": {"input": items, "in": body, **more}}


def fold(body: Any, items: Any = "$a", start: Any = None) -> dict[str, Any]:
    return {"$reduce": {"input": items, "initialValue": start or [], "in": body}}


def keep(items: Any, condition: Any = 1, **more: Any) -> dict[str, Any]:
    return {"$filter": {"input": items, "cond": condition, **more}}


def joined(*parts: Any) -> dict[str, Any]:
    return {"$concatArrays": list(parts)}


def replaced(text: Any, find: Any, replacement: Any) -> dict[str, Any]:
    return {"$replaceAll": {"input": text, "find": find, "replacement": replacement}}


FINE = {
    "flatten": fold(joined("$$value", "$$this")),
    "add": fold({"$add": ["$$value", "$$this"]}, start=0),
    "join": fold({"$concat": ["$$value", ", ", "$$this"]}, start=""),
    "join with a first": fold(
        {"$concat": ["$$value", {"$cond": [{"$eq": ["$$value", ""]}, "", ","]}, "$$this"]}
    ),
    "distinct": fold(
        {"$cond": [{"$in": ["$$this", "$$value"]}, "$$value", joined("$$value", ["$$this"])]}
    ),
    "distinct by if": fold(
        {"$cond": {"if": {"$in": ["$$this", "$$value"]}, "then": "$$value", "else": "$$this"}}
    ),
    "two sums": fold({"a": {"$add": ["$$value.a", 1]}, "b": {"$add": ["$$value.b", 2]}}),
    "two lists": fold({"a": joined("$$value.a", ["$$this"]), "b": joined("$$value.b", [1])}),
    "running sum": fold(
        joined("$$value", [{"$add": [{"$arrayElemAt": ["$$value", -1]}, "$$this"]}]), start=[0]
    ),
    "replace an element": fold(joined(keep("$$value", {"$ne": ["$$this", 1]}), ["$$this"])),
    "join two arrays": each(
        "$a", {"$first": keep("$b", {"$eq": ["$$p.x", "$$this.x"]}, **{"as": "p"})}
    ),
    "prefix": each("$a", {"$concat": ["$p", "-", "$$this"]}),
    "calendar": each({"$range": [0, 365]}, {"$arrayElemAt": ["$days", "$$this"]}),
    "constants": each(["a"] * 1500, {"$concat": ["x", "$$this"]}),
    "month": {"$arrayElemAt": [["Jan", "Feb"], "$m"]},
    "many values": {"$in": ["$x", [*range(5000), "$y"]]},
    "variable": let({"a": "$x"}, {"$cond": [{"$gt": ["$$a", 1]}, "$$a", joined("$$a", "$$a")]}),
    "limited filter": keep("$a", limit=5),
    "escaping": replaced(replaced("$s", "&", "&amp;"), "<", "&lt;"),
    "template": replaced("$text", "{name}", "$name"),
    "stripping": replaced(replaced("$s", "-", ""), {"$literal": "$"}, ""),
    "wide": {f"f{i}": {"$toUpper": f"$f{i}"} for i in range(900)},
    "switch": {
        "$switch": {
            "branches": [{"case": {"$eq": ["$x", i]}, "then": "$y"} for i in range(300)],
            "default": "$z",
        }
    },
    "two in a row": each(each(each("$a", "$$this.x"), "$$this.y"), "$$this.z"),
    "input in a body": each(each("$a", each("$b", 1)), each("$$this", 2)),
    "range down": {"$range": [10, 0, -2]},
    "literal": {"$literal": fold(["$$value", "$$value"])},
    "no operands": {"$map": 1, "$let": "x", "$replaceAll": [], "$ifNull": "$x", "$reduce": []},
    "let without vars": {"$let": {"vars": 1, "in": "$x"}},
    "odd name": each("$a", "$$this", **{"as": 1}),
    "plain": {"a": 1, "b": [1, None], "c": "x"},
}
BOMBS = {
    "doubles": fold(joined("$$value", "$$value")),
    "doubles a member": fold({"a": joined("$$value.a", "$$value.a")}),
    "doubles in an array": fold(["$$value", "$$value"]),
    "doubles in a document": fold({"a": "$$value", "b": "$$value"}),
    "doubles behind a name": fold(let({"v": "$$value"}, joined("$$v", "$$v"))),
    "doubles as the document": fold(let({"CURRENT": "$$value"}, ["$x", "$y"])),
    "doubles part and whole": fold({"$mergeObjects": ["$$value", {"a": "$$value.a"}]}),
    "doubles zipped": fold({"$zip": {"inputs": ["$$value", "$$value"]}}),
    "doubles each": fold(each("$$value", ["$$this", "$$this"])),
    "doubles beside each": fold(each("$b", "$$value")),
    "doubles further in": fold(fold(joined("$$value", [1, 1]), "$$value")),
    "doubles letters": fold(replaced("$$value", "a", "aa"), start="a"),
    "doubles letters by name": fold(replaced("$$value", "a", "$$this"), start="a"),
    "grows like rabbits": fold({"a": joined("$$value.a", "$$value.b"), "b": "$$value.a"}),
    "rabbits behind a name": fold(let({"x": {"p": "$$value"}}, {"q": "$$x.p", "r": "$$value.q"})),
    "copies": {"$size": joined(*["$a"] * 201)},
    "text copies": {"$concat": ["$a"] * 201},
    "copies of copies": let({"b": joined(*["$a"] * 100)}, joined(*["$$b"] * 3)),
    "compared": let(
        {"a": ["$x"] * 30},
        let({"b": ["$$a"] * 30}, let({"c": ["$$b"] * 30}, {"$eq": ["$$c", "$$c"]})),
    ),
    "compared constants": let(
        {"a": [1] * 300}, let({"b": [["$$a"] * 300] * 300}, {"$eq": ["$$b", "$$b"]})
    ),
    "constants times documents": fold(
        joined("$$value", "$$this"), each([36, *[1] * 2000], "$a")
    ),
    "documents times constants": fold(
        joined("$$value", "$$this"),
        each(fold(joined("$$value", "$$this"), each("$a", [1] * 100)), [1] * 100),
    ),
    "constants times constants": let({"a": each([1] * 2000, [1] * 2000)}, {"$size": "$$a"}),
    "long replacements": replaced("$s", "a", "a" * 1001),
    "replacements in a row": replaced(replaced("$s", "a", "a" * 40), "a", "a" * 40),
    "three deep": each("$a", each("$b", each("$c", 1))),
    "three deep and mixed": each("$a", fold(keep("$c"), "$b")),
    "range in a body": each("$a", {"$range": [0, 5]}),
    "range too long": {"$range": [0, 10_001]},
    "range down too long": {"$range": [10_001, 0, -1]},
    "range too fine": {"$range": [0, 1, 1e-9]},
    "range without a step": {"$range": [0, 5, 0]},
    "range to nowhere": {"$range": [0, NAN]},
    "range by nothing": {"$range": [0, 5, NAN]},
    "range of the document": {"$range": [0, "$n"]},
    "range of bools": {"$range": [False, True]},
    "range of one": {"$range": [1]},
    "range of none": {"$range": 5},
    "hidden in a condition": {"$cond": [{"$range": [0, "$n"]}, 1, 2]},
    "hidden in a branch": {"$switch": {"branches": [{"case": {"$range": [0, "$n"]}, "then": 1}]}},
    "hidden in a limit": keep("$a", limit={"$range": [0, "$n"]}),
    "hidden in a start": fold(1, start={"$range": [0, "$n"]}),
    "hidden in a search": replaced("$s", {"$range": [0, "$n"]}, ""),
    "hidden in a variable": let({"a": {"$range": [0, "$n"]}}, 1),
    "hidden in a size": {"$size": {"$range": [0, "$n"]}},
}  # fmt: skip


@pytest.mark.parametrize("value", FINE.values(), ids=FINE)
def test_what_people_write(value: Any) -> None:
    check_iterations(lazy({"f": value}), Limits(), where("projection"))


@pytest.mark.parametrize("value", BOMBS.values(), ids=BOMBS)
def test_what_would_not_end(value: Any) -> None:
    with pytest.raises(QueryValidationError) as caught:
        check_iterations(lazy({"f": value}), Limits(), where("projection"))
    assert caught.value.reason == "expression exceeds the iteration limit"
    assert caught.value.at.startswith("projection.f.$")


def test_the_operator_may_raise_the_limits() -> None:
    raised = replace(Limits(), max_iteration_nesting=3, max_range=20_000)
    check_iterations(lazy(BOMBS["three deep"]), raised, where())
    check_iterations(lazy(BOMBS["range too long"]), raised, where())


DOUBLE = {"a": {"$concatArrays": ["$a", "$a"]}}


@pytest.mark.parametrize(
    ("operand", "factor"),
    [
        ("$a", 1),
        ({"a": 1}, 1),
        ({"a": {"$add": ["$a", "$a"]}}, 1),
        ({"a": "$b", "c": "$b"}, 1),
        (DOUBLE, 2),
        ({"a": ["$a", "$b", "$c"]}, 3),
        ({"a": "$$ROOT"}, 2),
        ({"$mergeObjects": ["$$ROOT", "$a"]}, 3),
    ],
    ids=str,
)
def test_growth(operand: Any, factor: int) -> None:
    assert growth(lazy(operand), Limits(), where()) == factor


@pytest.mark.parametrize(("count", "allowed"), [(7, True), (8, False)])
def test_an_update_may_grow_a_document_so_often(count: int, allowed: bool) -> None:
    stages = [(lazy(DOUBLE), where().at(n)) for n in range(count)]
    if allowed:
        check_growth(stages, Limits())
        return
    with pytest.raises(QueryValidationError, match="iteration limit") as refused:
        check_growth(stages, Limits())
    assert refused.value.at.endswith("7")
