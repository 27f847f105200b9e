from typing import Any

import pytest

from mdb_engine.exceptions import ImmutableFieldError, QueryValidationError, RefusedError
from mdb_engine.scope.model import Limits, Scope
from mdb_engine.scope.updates import (
    UPDATE_OPERATORS,
    UPDATE_STAGES,
    array_filters,
    update,
    update_pipeline,
)
from tests.support.kernel import SHOP, lazy, shown, where

SHOWN = Scope("shop", "appdata", ("app",), expose_app_id=True)
SHORT = Scope("shop", "appdata", ("app",), limits=Limits(max_stages=2))
TAGGED = {"$set": {"app_id": {"$literal": "shop"}}}
OPERATORS = pytest.mark.parametrize("operator", UPDATE_OPERATORS)
FREE = ["a", "a.app_id", "app_idx", "app_i", "App_id", "_app_id", "arr.$[].app_id", ""]
TAKEN = ["app_id", "app_id.x", "app_id.$", "app_id.$[]", "app_id.$[e].x", "app_id."]


def made(value: Any, scope: Scope = SHOP, **owner: Any) -> Any:
    return shown(update(lazy(value), scope, where("u", command="update", **owner)))


@OPERATORS
@pytest.mark.parametrize("path", FREE)
def test_every_other_path_is_the_apps(operator: str, path: str) -> None:
    assert made({operator: {path: 1}}) == {operator: {path: 1}}


@OPERATORS
@pytest.mark.parametrize("path", TAKEN)
@pytest.mark.parametrize("value", [1, "crm", ["shop"], None])
def test_the_tag_stays_what_it_is(operator: str, path: str, value: Any) -> None:
    with pytest.raises(ImmutableFieldError, match="would modify the immutable field 'app_id'"):
        made({operator: {"a": 1, path: value}})


@pytest.mark.parametrize("operator", ["$set", "$setOnInsert"])
def test_its_own_value_is_no_change(operator: str) -> None:
    assert made({operator: {"app_id": "shop"}}) == {operator: {"app_id": "shop"}}
    with pytest.raises(ImmutableFieldError):
        made({operator: {"app_id.x": "shop"}})


@pytest.mark.parametrize("operator", sorted(set(UPDATE_OPERATORS) - {"$set", "$setOnInsert"}))
def test_other_operators_may_not_even_write_that(operator: str) -> None:
    with pytest.raises(ImmutableFieldError):
        made({operator: {"app_id": "shop"}})


@pytest.mark.parametrize("target", [*FREE, 5])
def test_a_field_is_renamed(target: Any) -> None:
    assert made({"$rename": {"x": target}}) == {"$rename": {"x": target}}


@pytest.mark.parametrize("target", TAKEN)
def test_nothing_is_renamed_to_the_tag(target: str) -> None:
    with pytest.raises(ImmutableFieldError):
        made({"$rename": {"x": target}})


@pytest.mark.parametrize(
    ("operators", "added"),
    [
        ({"$set": {"a": 1}}, {"app_id": "shop"}),
        ({"$set": {"a": 1}, "$setOnInsert": {"b": 1}}, {"b": 1, "app_id": "shop"}),
        ({"$setOnInsert": {"app_id": "shop", "b": 1}}, {"app_id": "shop", "b": 1}),
        ({"$set": {"app_id": "shop"}}, None),
    ],
)
@pytest.mark.parametrize("upsert", [True, 1, 2.0])
def test_what_an_upsert_inserts_is_tagged(operators: Any, added: Any, upsert: Any) -> None:
    assert made(operators, upsert=upsert).get("$setOnInsert") == added


@pytest.mark.parametrize("upsert", [False, 0, 0.0, None])
def test_without_an_upsert_nothing_is_added(upsert: Any) -> None:
    assert made({"$set": {"a": 1}}, upsert=upsert) == {"$set": {"a": 1}}


@pytest.mark.parametrize("given", [{}, {"a": 1}, {"app_id": "crm", "a": 1}, {"a": {"$where": 1}}])
def test_a_replacement_is_tagged(given: Any) -> None:
    assert made(given) == {**given, "app_id": "shop"}


@pytest.mark.parametrize("name", sorted(UPDATE_STAGES))
def test_a_pipeline_ends_with_the_tag(name: str) -> None:
    assert made([{name: "$x"}]) == [{name: "$x"}, TAGGED]


@pytest.mark.parametrize(
    ("stage", "blind"),
    [
        ({"$set": {"a": "$$ROOT"}}, {"$set": {"a": {"$unsetField": {"field": "app_id",
                                                                     "input": "$$ROOT"}}}}),
        ({"$replaceWith": "$app_id"}, {"$replaceWith": "$$REMOVE"}),
        ({"$set": {"app_id": "crm"}}, {"$set": {"app_id": "crm"}}),
        ({"$unset": ["app_id", "a"]}, {"$unset": ["app_id", "a"]}),
    ],
)  # fmt: skip
def test_a_pipeline_does_not_see_it(stage: Any, blind: Any) -> None:
    assert made([stage]) == [blind, TAGGED]
    assert made([stage], SHOWN) == [stage, TAGGED]


@pytest.mark.parametrize(
    ("value", "code", "at"),
    [
        ([{"$match": {}}], 72, "u.0.$match"),
        ([{"$set": {}}, {"$lookup": {}}], 72, "u.1.$lookup"),
        ([{"$_internalApplyOplogUpdate": {}}], 40324, "u.0.$_internalApplyOplogUpdate"),
        ([{}], 40323, "u.0"),
        ([{"$set": {}, "$unset": "a"}], 40323, "u.0"),
        (["$set"], 14, "u.0"),
        ([{"$set": {"a": {"$function": {}}}}], 2, "u.0.$set.a.$function"),
        ({"$set": {}, "$nope": {}}, 9, "u.$nope"),
        ({"$v": 2, "diff": {}}, 9, "u.$v"),
        ({"$inc": 5}, 9, "u.$inc"),
        ({"$pull": {"a": {"$where": "1"}}}, 2, "u.$pull.a.$where"),
        ("x", 9, "u"),
        (None, 9, "u"),
    ],
)
def test_what_is_no_update(value: Any, code: int, at: str) -> None:
    with pytest.raises(RefusedError) as refused:
        made(value)
    assert (refused.value.code, refused.value.at) == (code, at)


def test_each_statement_may_be_as_long_as_is_allowed() -> None:
    place = where("u", command="update")
    two = lazy([{"$set": {"a": 1}}] * 2)
    assert all(len(update(two, SHORT, place)) == 3 for _ in range(3))
    with pytest.raises(QueryValidationError, match=r"maximum number of stages \(2\)"):
        update(lazy([{"$set": {"a": 1}}] * 3), SHORT, place)


def test_a_pipeline_in_a_pipeline_counts_with_it() -> None:
    place = where("whenMatched", command="aggregate")
    place.notes.stages = 1
    one = lazy([{"$set": {"a": 1}}])
    assert len(update_pipeline(one, SHORT, place)) == 2
    with pytest.raises(QueryValidationError):
        update_pipeline(one, SHORT, place)


def test_array_filters_are_checked() -> None:
    given = lazy([{"e.app_id": "x"}, {"f": {"$gt": 1}}])
    assert array_filters(given, SHOP, where("arrayFilters")) is given
    with pytest.raises(RefusedError) as refused:
        array_filters(lazy([{"a": 1}, {"$where": "1"}]), SHOP, where("arrayFilters"))
    assert refused.value.at == "arrayFilters.1.$where"


def test_array_filters_that_are_none_are_the_servers_to_refuse() -> None:
    assert array_filters(5, SHOP, where("arrayFilters")) == 5
