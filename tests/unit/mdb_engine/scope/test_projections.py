"""The kind of a projection, decided as the server does, and the tag kept out of each."""

from dataclasses import replace
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64

from mdb_engine.exceptions import QueryValidationError, TypeMismatchError
from mdb_engine.scope.projections import EXCLUSION, INCLUSION, kinds, projection
from tests.support.kernel import SHOP, lazy, shown, where

PLACE = where("projection")
MATCH = {"$elemMatch": {"q": 1}}
SLICE = {"$slice": 1}
META = {"$meta": "textScore"}

INCLUSIONS: list[Any] = [
    {"a": 1}, {"a": True}, {"a": 0.5}, {"a": -1}, {"a": Int64(1)}, {"a": float("nan")},
    {"a": Decimal128("1")}, {"a": Decimal128("sNaN")}, {"a": {"b": 1}}, {"a": {"b": {"c": True}}},
    {"a": "$x"}, {"a": "text"}, {"a": None}, {"a": []}, {"a": {}}, {"a": {"$add": [1, 2]}},
    {"a": {"$slice": "$x"}}, {"a": {"$slice": ["$x", 1]}}, {"a": {"$slice": True}},
    {"a": {"$slice": [True, 1]}}, {"_id": 1}, {"_id": "$x"}, {"_id": {"k": 1}}, {"a": 1, "_id": 0},
    {"s": MATCH}, {"s": MATCH, "_id": 0}, {"s": MATCH, "_id": 1}, {"s": MATCH, "m": META},
    {"s": MATCH, "t": SLICE, "_id": 1}, {"s": MATCH, "a": 1}, {"t": SLICE, "_id": 1},
    {"m": META, "_id": 1}, {"a": 1, "m": META, "t": SLICE},
]  # fmt: skip
EXCLUSIONS: list[Any] = [
    {}, {"a": 0}, {"a": False}, {"a": -0.0}, {"a": Decimal128("0E+5")}, {"a": {"b": 0}},
    {"_id": 0}, {"_id": {"k": 0}}, {"t": SLICE}, {"t": {"$slice": [0, 1]}}, {"m": META},
    {"t": SLICE, "_id": 0}, {"a": 0, "_id": 1}, {"a": 0, "s": MATCH}, {"s": MATCH, "t": SLICE},
    {"s": MATCH, "t": SLICE, "_id": 0}, {"s": MATCH, "_id": SLICE},
]  # fmt: skip


@pytest.mark.parametrize("value", INCLUSIONS)
def test_inclusions(value: Any) -> None:
    assert kinds(lazy(value)) == {INCLUSION}
    assert shown(projection(lazy(value), SHOP, PLACE)).keys() == value.keys()


@pytest.mark.parametrize("value", EXCLUSIONS)
def test_exclusions(value: Any) -> None:
    assert kinds(lazy(value)) == {EXCLUSION}
    assert shown(projection(lazy(value), SHOP, PLACE)) == {**value, "app_id": 0}


@pytest.mark.parametrize("value", [{"a": 1, "b": 0}, {"a": 0, "b": "$x"}, {"a": {"b": 1, "c": 0}}])
def test_both_at_once_is_the_servers_error(value: Any) -> None:
    given = lazy(value)
    assert kinds(given) == {INCLUSION, EXCLUSION}
    assert projection(given, SHOP, PLACE) is given


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (None, {"app_id": 0}),
        ({"app_id": 0}, {"app_id": 0}),
        ({"app_id.x": 0, "a": 0}, {"a": 0, "app_id": 0}),
        ({"app_id": {"x": 0}}, {"app_id": 0}),
        ({"app_idx": 0}, {"app_idx": 0, "app_id": 0}),
        ({"a": "$app_id"}, {"a": "$$REMOVE"}),
        ({"a": {"$literal": "$app_id"}}, {"a": {"$literal": "$app_id"}}),
        ({"s": {"$elemMatch": {"q": "$app_id"}}}, {"s": {"$elemMatch": {"q": "$app_id"}}}),
        ({"app_id": 1}, {"app_id": 1}),
    ],
)
def test_the_tag(value: Any, sent: Any) -> None:
    assert shown(projection(lazy(value), SHOP, PLACE)) == sent


def test_an_app_that_shows_its_tag_keeps_its_projection() -> None:
    given = lazy({"a": "$app_id"})
    assert projection(given, replace(SHOP, expose_app_id=True), PLACE) is given


@pytest.mark.parametrize("value", [1, "a", [], True])
def test_a_projection_is_a_document(value: Any) -> None:
    with pytest.raises(TypeMismatchError, match=r"projection' is the wrong type"):
        projection(lazy(value), SHOP, PLACE)


@pytest.mark.parametrize(
    ("value", "at"),
    [
        ({"a": {"$function": {"body": "x"}}}, "a.$function"),
        ({"a": {"$elemMatch": {"$where": "x"}}}, "a.$elemMatch.$where"),
        ({"a": "$$JS_SCOPE"}, "a"),
    ],
)
def test_no_code(value: Any, at: str) -> None:
    with pytest.raises(QueryValidationError) as caught:
        projection(lazy(value), SHOP, PLACE)
    assert caught.value.at == f"projection.{at}"
