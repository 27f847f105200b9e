from typing import Any

import pytest

from mdb_engine.exceptions import QueryValidationError, RefusedError
from mdb_engine.rawbson import Array
from mdb_engine.scope.joins import Place
from mdb_engine.scope.model import Limits, Scope, Where
from mdb_engine.scope.stages import DENIED_STAGES, STAGES, StageRule, pipeline
from mdb_engine.scope.visibility import Sight
from tests.support.kernel import SHOP, lazy, shown, where

GUARD, UNSET, LIMIT = {"$match": {"app_id": "shop"}}, {"$unset": "app_id"}, {"$limit": 10_000}
SHOWN = Scope("shop", "appdata", ("app",), expose_app_id=True)
TOP = Place(pipeline, namespace="app.tasks")
BARE = Place(pipeline, guarded=False)

ROWS = pytest.mark.parametrize(("name", "rule"), STAGES.items(), ids=list(STAGES))


def there(**owner: Any) -> Where:
    return where("pipeline", command="aggregate", **owner)


def rewritten(stages: Any, place: Place = TOP, scope: Scope = SHOP, **owner: Any) -> list[Any]:
    return [shown(stage) for stage in pipeline(lazy(stages), scope, there(**owner), place)]


def refused(stages: Any, place: Place = TOP, scope: Scope = SHOP) -> RefusedError:
    with pytest.raises(RefusedError) as error:
        pipeline(lazy(stages), scope, there(), place)
    return error.value


@ROWS
def test_a_row_is_consistent(name: str, rule: StageRule) -> None:
    assert rule.inside >= {""}
    assert not rule.writes or (rule.inside == {""} and rule.sight is Sight.WRITES)
    assert rule.first is None or rule.head is not None
    assert name not in DENIED_STAGES


def test_the_table_is_sorted() -> None:
    assert list(STAGES) == sorted(STAGES)


@pytest.mark.parametrize(
    "stages",
    [
        [],
        [{"$sort": {"a": 1}}],
        [{"$set": {"a": 1}}, {"$match": {"a": 1}}],
        [{"$skip": 1}, {"$sample": {"size": 1}}],
    ],
)
def test_the_condition_comes_first_the_limit_and_the_tag_last(stages: list[Any]) -> None:
    assert rewritten(stages) == [GUARD, *stages, LIMIT, UNSET]
    assert rewritten(stages, scope=SHOWN) == [GUARD, *stages, LIMIT]


@pytest.mark.parametrize(
    ("first", "head"),
    [
        ({"$match": {}}, [GUARD]),
        ({"$match": {"a": 1}}, [{"$match": {"$and": [{"app_id": "shop"}, {"a": 1}]}}]),
        ({"$sample": {"size": 1}}, [{"$sample": {"size": 1}}, GUARD]),
        (
            {"$geoNear": {"near": [0, 0]}},
            [{"$geoNear": {"near": [0, 0], "query": {"app_id": "shop"}}}],
        ),
    ],
)
def test_some_stages_bring_the_condition_themselves(first: Any, head: list[Any]) -> None:
    assert rewritten([first, {"$skip": 1}]) == [*head, {"$skip": 1}, LIMIT, UNSET]


@pytest.mark.parametrize("scope", [SHOP, SHOWN])
def test_a_pipeline_whose_documents_come_from_elsewhere_has_no_condition(scope: Scope) -> None:
    inside = BARE.nested("$facet", guarded=False)
    stages = [{"$match": {"a": 1}}, {"$sample": {"size": 1}}]
    assert rewritten(stages, inside, scope) == stages


SEES = [
    ("$facet", {"a": []}),
    ("$redact", "$$KEEP"),
    ("$set", {"a": "$$ROOT"}),
    ("$group", {"_id": 1, "pipeline": {"$push": "$$ROOT"}}),
]
DROPS = [
    ("$bucket", {"groupBy": "$a"}),
    ("$count", "n"),
    ("$group", {"_id": "$a"}),
    ("$replaceRoot", {"newRoot": "$a"}),
    ("$replaceWith", "$a"),
    ("$sortByCount", "$a"),
]


@pytest.mark.parametrize(("name", "operand"), SEES)
def test_the_tag_goes_before_who_could_see_it(name: str, operand: Any) -> None:
    stages = [{"$skip": 1}, {name: operand}, {"$set": {"b": "$$ROOT"}}]
    assert rewritten(stages) == [GUARD, stages[0], UNSET, *stages[1:], LIMIT]


@pytest.mark.parametrize(("name", "operand"), DROPS)
def test_the_tag_is_gone_behind_a_new_document(name: str, operand: Any) -> None:
    stages = [{name: operand}, {"$set": {"b": "$$ROOT"}}]
    assert rewritten(stages) == [GUARD, *stages, LIMIT]


@pytest.mark.parametrize(
    ("operand", "gone"),
    [
        ({"distanceField": "d"}, False),
        ({"distanceField": "app_id"}, True),
        ({"distanceField": "app_id.d"}, True),
        ({"distanceField": "d", "includeLocs": "app_id"}, True),
        ({"distanceField": "d", "key": "app_id"}, False),
        ({"distanceField": 5, "key": "app_id"}, False),
        ({"distanceField": "app_ids"}, False),
    ],
)
def test_a_distance_may_take_the_tags_place(operand: Any, gone: bool) -> None:
    assert (rewritten([{"$geoNear": operand}])[-1] == UNSET) is not gone


def test_a_condition_with_such_names_hides_nothing() -> None:
    """Only `$geoNear` writes what it calls a distanceField."""
    condition = {"distanceField": "app_id", "$text": {"$search": "x"}, "$expr": "$$ROOT"}
    assert rewritten([{"$match": condition}])[-1] == UNSET


@pytest.mark.parametrize(("name", "code"), [("$match", 15959), ("$geoNear", 10065)])
def test_an_operand_of_another_kind(name: str, code: int) -> None:
    error = refused([{name: "app_id"}])
    assert (error.code, error.at) == (code, f"pipeline.0.{name}")


def test_one_that_the_server_refuses() -> None:
    assert rewritten([{"$sample": "app_id"}])[-2:] == [LIMIT, UNSET]


@pytest.mark.parametrize(
    ("operand", "told"),
    [({}, "app.tasks"), ({"count": {}}, "app.tasks")],
)
def test_statistics_name_what_the_client_knows(operand: Any, told: str) -> None:
    found = rewritten([{"$collStats": operand}])
    shown_names = {"ns": {"$literal": told}, "host": {"$literal": "localhost:27018"}}
    assert found[:2] == [{"$collStats": operand}, {"$set": shown_names}]
    assert found[-1] == LIMIT


@pytest.mark.parametrize(
    ("stages", "code", "at"),
    [
        (5, 14, "pipeline"),
        ([5], 14, "pipeline.0"),
        ([{}], 40323, "pipeline.0"),
        ([{"$match": {}, "$limit": 1}], 40323, "pipeline.0"),
        ([{"$nope": 1}], 40324, "pipeline.0.$nope"),
        ([{"$skip": 1}, {"$currentOp": {}}], 13, "pipeline.1.$currentOp"),
        ([{"$skip": 1}, {"$collStats": {}}], 40602, "pipeline.1.$collStats"),
        ([{"$out": "x"}, {"$skip": 1}], 40601, "pipeline.0.$out"),
    ],
)
def test_what_is_refused(stages: Any, code: int, at: str) -> None:
    error = refused(stages)
    assert (error.code, error.at) == (code, at)


@pytest.mark.parametrize(
    ("inside", "codes"),
    [
        ("$facet", {"$facet": 40600, "$geoNear": 40600, "$collStats": 40600, "$out": 40600}),
        ("$lookup", {"$collStats": 13, "$indexStats": 13, "$merge": 51047, "$out": 51047}),
        ("$unionWith", {"$collStats": 13, "$indexStats": 13, "$merge": 31441, "$out": 31441}),
    ],
)
def test_what_is_refused_inside(inside: str, codes: dict[str, int]) -> None:
    for name, code in codes.items():
        operand = {"$facet": {"a": []}, "$merge": "x", "$out": "x"}.get(name, {})
        assert refused([{name: operand}], TOP.nested(inside)).code == code


def test_all_pipelines_share_one_budget() -> None:
    scope = Scope("shop", "appdata", ("app",), limits=Limits(max_stages=4))
    inner = [{"$skip": 1}]
    stages = [{"$unionWith": {"coll": "a", "pipeline": inner}}, {"$facet": {"x": inner}}]
    assert rewritten(stages, scope=scope)
    assert isinstance(refused([*stages, {"$skip": 1}], scope=scope), QueryValidationError)


def test_pipelines_inside_one_another_end_somewhere() -> None:
    stages: list[Any] = []
    for _ in range(5):
        stages = [{"$unionWith": {"coll": "a", "pipeline": stages}}]
    assert rewritten(stages)
    error = refused([{"$unionWith": {"coll": "a", "pipeline": stages}}])
    assert "nesting of sub-pipelines (5)" in error.reason


def test_a_pipeline_is_left_alone() -> None:
    given = lazy([{"$match": {"a": 1}}, {"$lookup": {"from": "users", "as": "u", "pipeline": []}}])
    assert isinstance(given, Array)
    before = given.data
    pipeline(given, SHOP, there(), TOP)
    assert given.data == before
