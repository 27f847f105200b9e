"""Code and excess are found wherever an operator can stand; data is left alone."""

from dataclasses import replace
from typing import Any

import pytest
from bson.code import Code
from bson.regex import Regex

from mdb_engine.exceptions import QueryValidationError, TypeMismatchError
from mdb_engine.rawbson import Document, element, splice_end
from mdb_engine.scope.model import Limits
from mdb_engine.scope.walk import FORBIDDEN_OPERATORS, check_expression, check_filter, forbidden
from tests.support.kernel import SHOP, lazy, where

FILTER = where("filter")
EXPRESSION = where("projection")
LONG = "a" * 1001
JS = {"$function": {"body": "x", "args": [], "lang": "js"}}


def nested(depth: int, inner: Any = 1) -> Any:
    for _ in range(depth):
        inner = {"a": inner}
    return inner


def in_arrays(depth: int, inner: Any) -> Any:
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.mark.parametrize("name", sorted(FORBIDDEN_OPERATORS | {"$_x", "$_internalJsEmit"}))
def test_forbidden_operators(name: str) -> None:
    assert forbidden(name)


@pytest.mark.parametrize("name", ["$WHERE", "where", "$whereX", "$expr", "$jsonSchema", "_x", ""])
def test_others(name: str) -> None:
    assert not forbidden(name)


FILTERS: list[Any] = [
    {},
    {"a": 1, "b": {"$gt": 1, "$lt": 5}},
    {"a": {"b": {"$where": 1}}},
    {"a": {"b": 1, "$where": 1}},
    {"n": {"$eq": {"$where": 1}}},
    {"n": {"$in": [{"$where": 1}, JS, "x", 1, 1.5, None]}},
    {"n": {"$all": [{"$elemMatch": {"a": 1}}, {"a": {"$where": 1}}]}},
    {"n": {"$not": {"$gt": 1}}},
    {"n": {"$not": Regex("^a")}},
    {"n": Regex("^a", "i")},
    {"n": {"$regex": "^a", "$options": "i"}},
    {"n": {"$regex": Regex("^a")}},
    {"n": {"$regex": 1, "$options": 1}},
    {"$comment": {"$where": 1}},
    {"$and": [{"a": 1}, {"$or": [{"b": 1}, {"$nor": [{"c": 1}]}]}]},
    {"$and": 1, "$or": {"a": 1}},
    {"$and": [1, Regex("a")]},
    {"n": {"$in": 1}},
    {"$expr": {"$eq": ["$a", {"$literal": JS}]}},
    {"$text": {"$search": "x"}},
    {"loc": {"$near": {"$geometry": {"type": "Point", "coordinates": [1, 2]}}}},
    {"$jsonSchema": {"description": "$where", "title": "x", "properties": {"a": {"pattern": "x"}}}},
    {"$jsonSchema": {"allOf": [{"patternProperties": {"^a": {}}}], "enum": [{"pattern": LONG}]}},
    {"$jsonSchema": {"pattern": 1, "patternProperties": 1}},
    {"$WHERE": "x", "$unknown": [{"a": 1}, "x"]},
    {"ref": {"$ref": "c", "$id": 1}},
    {"a": Code("x")},
]


@pytest.mark.parametrize("value", FILTERS, ids=str)
def test_filters(value: Any) -> None:
    check_filter(lazy(value), SHOP, FILTER)


CODE = [
    ({"$where": "true"}, "$where"),
    ({"$where": Code("x")}, "$where"),
    ({"$and": [{"$or": [{"$nor": [{"$where": "x"}]}]}]}, "$and.0.$or.0.$nor.0.$where"),
    ({"a": {"$elemMatch": {"$where": "x"}}}, "a.$elemMatch.$where"),
    ({"a": {"$not": {"$elemMatch": {"$where": "x"}}}}, "a.$not.$elemMatch.$where"),
    ({"a": {"$all": [{"$elemMatch": {"$where": "x"}}]}}, "a.$all.0.$elemMatch.$where"),
    ({"a": {"$gt": 1, "$where": 1}}, "a.$where"),
    ({"$expr": JS}, "$expr.$function"),
    ({"$expr": {"$eq": [1, {"a": JS}]}}, "$expr.$eq.1.a.$function"),
    ({"$expr": {"$in": ["$a", ["$$IS_MR"]]}}, "$expr.$in.1.0"),
    ({"$_internalSchemaXor": [{"$where": 1}]}, "$_internalSchemaXor"),
    ({"$internalX": 1}, "$internalX"),
    ({"$eval": 1}, "$eval"),
    ({"$new": [{"$where": 1}]}, "$new.0.$where"),
    ({"$new": {"a": {"$where": 1}}}, "$new.a.$where"),
    ({"$new": {"a": Code("x")}}, "$new.a"),
    ({"$or": {"$where": 1}}, "$or.$where"),
    ({"a": {"$nin": {"$where": 1}}}, "a.$nin.$where"),
]


@pytest.mark.parametrize(("value", "at"), CODE)
def test_code_in_filters(value: Any, at: str) -> None:
    with pytest.raises(QueryValidationError, match="not allowed") as caught:
        check_filter(lazy(value), SHOP, FILTER)
    assert caught.value.at == f"filter.{at}"


@pytest.mark.parametrize(("value", "kind"), [(1, "int"), ([], "array"), (None, "null")])
def test_a_filter_is_a_document(value: Any, kind: str) -> None:
    with pytest.raises(TypeMismatchError) as caught:
        check_filter(lazy(value), SHOP, FILTER)
    assert caught.value.reason == "Expected field filterto be of type object"
    with pytest.raises(TypeMismatchError, match=f"'count.query' is the wrong type '{kind}'"):
        check_filter(lazy(value), SHOP, where("query", command="count"))


EXPRESSIONS: list[Any] = [
    "$a",
    "$$ROOT",
    "$$NOW",
    "JS_SCOPE",
    "$$JS_SCOPES",
    1,
    None,
    {"$add": ["$a", 1]},
    {"$literal": JS},
    {"$const": {"$where": Code("x")}},
    {"$getField": "$where"},
    {"$setField": {"field": "$where", "input": {}, "value": 1}},
    {"$regexMatch": {"input": "$a", "regex": "^a", "options": "i"}},
    {"$regexMatch": {"input": "$a", "regex": Regex("^a")}},
    {"$regexMatch": {"input": "$a", "regex": "$" + LONG}},
    {"$regexMatch": {"input": "$a", "regex": {"$concat": [LONG, "$a"]}}},
    {"$regexMatch": {"input": "$a", "regex": {"$literal": 1}, "options": "$o"}},
    {"$regexFind": [1]},
    {"$map": {"input": "$a", "in": "$$this"}},
    [{"$unset": "a"}],
]


@pytest.mark.parametrize("value", EXPRESSIONS, ids=str)
def test_expressions(value: Any) -> None:
    check_expression(lazy(value), SHOP, EXPRESSION)


@pytest.mark.parametrize(
    ("value", "at"),
    [
        (JS, "$function"),
        ({"$accumulator": {}}, "$accumulator"),
        ({"_id": 1, "n": {"$sum": [JS]}}, "n.$sum.0.$function"),
        ({"$where": 1}, "$where"),
        ({"$_internalJsReduce": 1}, "$_internalJsReduce"),
        ({"a": "$$USER_ROLES"}, "a"),
        ({"a": "$$JS_SCOPE.x"}, "a"),
        ({"a": ["$$IS_MR"]}, "a.0"),
        ({"a": Code("x")}, "a"),
        ({"a": Code("x", {"y": 1})}, "a"),
        ({"$map": {"input": JS, "in": 1}}, "$map.input.$function"),
        ({"$let": {"vars": {"x": JS}, "in": 1}}, "$let.vars.x.$function"),
        ({"$regexMatch": {"input": JS, "regex": "a"}}, "$regexMatch.input.$function"),
        ({"a": {"$elemMatch": {"$where": 1}}}, "a.$elemMatch.$where"),
    ],
)
def test_code_in_expressions(value: Any, at: str) -> None:
    with pytest.raises(QueryValidationError, match="not allowed") as caught:
        check_expression(lazy(value), SHOP, EXPRESSION)
    assert caught.value.at == f"projection.{at}"


@pytest.mark.parametrize(
    ("value", "depth"),
    [
        ({"a": {"b": {"c": 1}}}, 2),
        ({"$and": [{"a": {"b": 1}}]}, 2),
        ({"a": {"$gt": {"b": 1}}}, 2),
        ({"a": {"$in": [{"b": 1}]}}, 2),
        ({"a": in_arrays(150, {"b": 1})}, 1),
        ({"$new": [{"a": {"b": 1}}]}, 2),
        ({"$expr": {"$eq": [{"a": 1}, 1]}}, 2),
        ({"$jsonSchema": {"properties": {"a": {}}}}, 3),
        ({"a": {"$not": {"$elemMatch": {"b": {"$gt": 1}}}}}, 4),
        (nested(11), 10),
    ],
)
def test_depth(value: Any, depth: int) -> None:
    """The document itself has depth 0, each one inside another adds 1, arrays add nothing."""
    check_filter(lazy(value), replace(SHOP, limits=Limits(max_depth=depth)), FILTER)
    with pytest.raises(QueryValidationError, match=rf"maximum nesting depth \({depth - 1}\)"):
        check_filter(lazy(value), replace(SHOP, limits=Limits(max_depth=depth - 1)), FILTER)


@pytest.mark.parametrize(
    ("value", "depth"), [({"a": {"$add": [1, {"b": 2}]}}, 2), ({"a": in_arrays(150, "$b")}, 0)]
)
def test_the_depth_of_an_expression(value: Any, depth: int) -> None:
    check_expression(lazy(value), replace(SHOP, limits=Limits(max_depth=depth)), EXPRESSION)
    with pytest.raises(QueryValidationError, match="maximum nesting depth"):
        check_expression(lazy(value), replace(SHOP, limits=Limits(max_depth=depth - 1)), EXPRESSION)


def ors(count: int) -> Any:
    return {"$or": [{} for _ in range(count)]}


@pytest.mark.parametrize(
    ("value", "fine"),
    [
        (ors(999), True),
        (ors(1000), False),
        ({"$and": [ors(498), ors(496)]}, True),
        ({"$and": [ors(498), ors(498)]}, False),
        ({f"f{i}": 1 for i in range(1000)}, True),
        ({f"f{i}": 1 for i in range(1001)}, False),
        ({"a": {"$in": list(range(5000))}}, True),
    ],
)
def test_branches(value: Any, *, fine: bool) -> None:
    if fine:
        check_filter(lazy(value), SHOP, FILTER)
        return
    with pytest.raises(QueryValidationError, match=r"maximum number of branches \(1000\)"):
        check_filter(lazy(value), SHOP, FILTER)


PATTERNS: list[Any] = [
    {"a": Regex(LONG)},
    {"a": {"$regex": LONG}},
    {"a": {"$regex": Regex(LONG)}},
    {"a": {"$in": ["x", Regex(LONG)]}},
    {"a": {"$nin": [Regex(LONG)]}},
    {"a": {"$all": [Regex(LONG)]}},
    {"a": {"$not": Regex(LONG)}},
    {"a": {"$elemMatch": {"b": Regex(LONG)}}},
    {"$nor": [{"a": Regex(LONG)}]},
    {"$expr": {"$regexMatch": {"input": "$a", "regex": LONG}}},
    {"$expr": {"$regexFindAll": {"input": "$a", "regex": {"$literal": LONG}}}},
    {"$expr": {"$regexFind": {"input": "$a", "regex": {"$const": Regex(LONG)}}}},
    {"$jsonSchema": {"properties": {"a": {"pattern": LONG}}}},
    {"$jsonSchema": {"properties": {"title": {"pattern": LONG}}}},
    {"$jsonSchema": {"properties": {"enum": {"pattern": LONG}}}},
    {"$jsonSchema": {"anyOf": [{"patternProperties": {LONG: {}}}]}},
]


@pytest.mark.parametrize("value", PATTERNS, ids=lambda v: str(v).replace(LONG, "LONG"))
def test_long_patterns(value: Any) -> None:
    with pytest.raises(QueryValidationError, match="maximum length"):
        check_filter(lazy(value), SHOP, FILTER)


def test_patterns_are_counted_together() -> None:
    pattern = {"$expr": {"$regexMatch": {"input": "$a", "regex": "x"}}}
    fine = {"$and": [{"a": {"$in": [Regex("x")] * 99}}, pattern]}
    check_filter(lazy(fine), SHOP, FILTER)
    with pytest.raises(QueryValidationError, match=r"regular expressions \(100\)"):
        check_filter(lazy({"$and": [*fine["$and"], {"b": Regex("x")}]}), SHOP, FILTER)


def test_options_are_limited() -> None:
    with pytest.raises(QueryValidationError, match="number of options"):
        check_filter(lazy({"a": {"$regex": "x", "$options": "i" * 9}}), SHOP, FILTER)


@pytest.mark.parametrize("check", [check_filter, check_expression])
def test_iterations_are_bounded(check: Any) -> None:
    endless = {"$range": [0, "$n"]}
    value = {"$expr": endless} if check is check_filter else {"a": endless}
    with pytest.raises(QueryValidationError, match="iteration limit"):
        check(lazy(value), SHOP, FILTER)


def test_a_name_that_stands_twice_is_not_read() -> None:
    twice = Document(splice_end(b"\5\0\0\0\0", element(b"a", 1) * 2))
    for check in (check_filter, check_expression):
        with pytest.raises(QueryValidationError, match="duplicate field name 'a'"):
            check(twice, SHOP, FILTER)
