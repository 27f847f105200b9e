"""Expressions blind to the tag, and left alone when they never looked at it."""

from typing import Any

import pytest

from mdb_engine.scope.veil import UPDATE_ROOTS, names_tag, unveil, veil
from tests.support.kernel import lazy, shown


def hidden(source: str) -> dict[str, Any]:
    return {"$unsetField": {"field": "app_id", "input": source}}


CURRENT = hidden("$$CURRENT")


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        ("$$ROOT", hidden("$$ROOT")),
        ("$$CURRENT", CURRENT),
        ("$app_id", "$$REMOVE"),
        ("$app_id.x", "$$REMOVE"),
        ("$$ROOT.app_id", "$$REMOVE"),
        ("$$CURRENT.app_id.x", "$$REMOVE"),
        ({"$mergeObjects": ["$$ROOT", {"a": 1}]}, {"$mergeObjects": [hidden("$$ROOT"), {"a": 1}]}),
        ({"$getField": "app_id"}, {"$getField": {"field": "app_id", "input": CURRENT}}),
        (
            {"$getField": {"field": "app_id"}},
            {"$getField": {"field": "app_id", "input": CURRENT}},
        ),
        (
            {"$getField": {"$concat": ["app", "_id"]}},
            {"$getField": {"field": {"$concat": ["app", "_id"]}, "input": CURRENT}},
        ),
        (
            {"$getField": {"field": "app_id", "input": "$$ROOT"}},
            {"$getField": {"field": "app_id", "input": hidden("$$ROOT")}},
        ),
        (
            {"$setField": {"field": "a", "input": "$$ROOT", "value": 1}},
            {"$setField": {"field": "a", "input": hidden("$$ROOT"), "value": 1}},
        ),
        ({"a": {"b": ["$x", "$app_id"]}}, {"a": {"b": ["$x", "$$REMOVE"]}}),
    ],
)
def test_what_looks_at_the_tag_is_made_blind(value: Any, becomes: Any) -> None:
    assert shown(veil(lazy(value))) == becomes


@pytest.mark.parametrize(
    "value",
    [
        "app_id",
        "$app_id2",
        "$x.app_id",
        "$$ROOT.x",
        "$$ROOTS",
        "$$this.app_id",
        1,
        None,
        {"$literal": "$app_id"},
        {"$const": {"a": "$$ROOT"}},
        {"a": {"$elemMatch": {"b": "$app_id"}}},
        {"$getField": {"field": "a", "input": "$x"}},
        {"$add": ["$a", {"$size": "$b"}]},
        ["$x", {"y": 1}],
    ],
)
def test_what_does_not_is_the_very_same_object(value: Any) -> None:
    given = lazy(value)
    assert veil(given) is given


def test_an_update_sees_a_third_root() -> None:
    assert shown(veil(lazy(["$$new", "$$new.app_id"]), UPDATE_ROOTS)) == [
        hidden("$$new"),
        "$$REMOVE",
    ]
    assert veil("$$new") == "$$new"


@pytest.mark.parametrize(
    ("path", "whether"),
    [("app_id", True), ("app_id.x", True), ("app_idx", False), ("x.app_id", False), ("", False)],
)
def test_which_paths_begin_at_the_tag(path: str, *, whether: bool) -> None:
    assert names_tag(path) is whether


@pytest.mark.parametrize(
    "written",
    [
        5, "$a", "$$ROOT", {"$size": "$$CURRENT"}, {"$concatArrays": ["$$ROOT", ["$a", "$$ROOT"]]},
        {"$let": {"vars": {"a": "$$ROOT"}, "in": "$$a"}},
    ],
)  # fmt: skip
def test_a_veil_can_be_lifted(written: Any) -> None:
    assert shown(unveil(veil(lazy(written)))) == written
