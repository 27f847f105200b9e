from typing import Any

import pytest

from mdb_engine.exceptions import RefusedError
from mdb_engine.scope.joins import Place
from mdb_engine.scope.model import Role, Scope
from mdb_engine.scope.stages import pipeline
from mdb_engine.scope.writers import merge, out
from tests.support.kernel import SHOP, lazy, shown, where

PLACE = Place(pipeline)
SHOWN = Scope("shop", "appdata", ("app",), expose_app_id=True)
TAGGED = {"$set": {"app_id": {"$literal": "shop"}}}


def written(stage: Any, value: Any, scope: Scope = SHOP, db: str = "app") -> list[Any]:
    place = where("pipeline", "0", f"${stage.__name__}", command="aggregate", db=db)
    return [shown(s) for s in stage(lazy(value), scope, place, PLACE)]


TARGETS = [
    ("x", "app", "shop_x"),
    ("x", "other", "shop_@other.x"),
    ({"db": "app", "coll": "x"}, "other", "shop_x"),
    ({"db": "other", "coll": "x"}, "app", "shop_@other.x"),
    ({"db": "appdata", "coll": "crm_x"}, "app", "shop_@appdata.crm_x"),
    ({"coll": "x"}, "other", "shop_@other.x"),
]


@pytest.mark.parametrize(("target", "db", "physical"), TARGETS)
def test_what_is_written_is_tagged_and_goes_to_an_own_collection(
    target: Any, db: str, physical: str
) -> None:
    into = {"db": "appdata", "coll": physical}
    if isinstance(target, str) or "db" in target:
        assert written(out, target, db=db) == [TAGGED, {"$out": into}]
    assert written(merge, {"into": target}, db=db) == [TAGGED, {"$merge": {"into": into}}]


def test_merge_by_name() -> None:
    into = {"db": "appdata", "coll": "shop_x"}
    assert written(merge, "x") == [TAGGED, {"$merge": {"into": into}}]


@pytest.mark.parametrize("mode", ["replace", "keepExisting", "merge", "fail", 5])
def test_modes_pass(mode: Any) -> None:
    _, made = written(merge, {"into": "x", "whenMatched": mode, "on": ["a", "b"]})
    assert (made["$merge"]["whenMatched"], made["$merge"]["on"]) == (mode, ["a", "b"])


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (SHOP, {"d": {"$unsetField": {"field": "app_id", "input": "$$ROOT"}}, "t": "$$REMOVE"}),
        (SHOWN, {"d": "$$ROOT", "t": "$app_id"}),
    ],
)
def test_variables_cannot_carry_the_tag_into_a_document(scope: Scope, expected: Any) -> None:
    spec = {"into": "x", "let": {"d": "$$ROOT", "t": "$app_id"}, "whenMatched": []}
    _, made = written(merge, spec, scope)
    assert made["$merge"]["let"] == expected
    assert made["$merge"]["whenMatched"] == [TAGGED]


def test_out_is_carried_out_by_a_plan() -> None:
    place = where("$out", command="aggregate")
    out("x", SHOP, place, PLACE)
    assert place.notes.plan == "$out"
    assert place.notes.names == {"shop_x": "app.x"}


@pytest.mark.parametrize("stage", [merge, out])
def test_a_reader_does_not_write(stage: Any) -> None:
    with pytest.raises(RefusedError, match="not authorized on app") as refused:
        written(stage, "x", Scope("shop", "appdata", ("app",), role=Role.READ))
    assert refused.value.code == 13


@pytest.mark.parametrize(
    ("db", "code"), [("admin", 13), ("config", 13), ("a.b", 73), ("APP", 13297), (5, 73), ("", 73)]
)
@pytest.mark.parametrize(("stage", "at"), [(merge, "$merge.into.db"), (out, "$out.db")])
def test_a_database_that_is_none_of_the_apps(db: Any, code: int, stage: Any, at: str) -> None:
    target = {"db": db, "coll": "x"}
    with pytest.raises(RefusedError) as refused:
        written(stage, target if stage is out else {"into": target})
    assert (refused.value.code, refused.value.at) == (code, f"pipeline.0.{at}")


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"s3": {}}, 16994),
        ({"coll": "x", "timeseries": {}}, 72),
        (5, 16990),
        ({}, 16994),
        ({"coll": 5}, 16994),
        ({"db": "app", "coll": 5}, 2),
        ("eu_x", 73),
    ],
)
def test_a_target_that_is_none(value: Any, code: int) -> None:
    with pytest.raises(RefusedError) as refused:
        written(out, value)
    assert refused.value.code == code
