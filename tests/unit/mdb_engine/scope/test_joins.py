from typing import Any

import pytest

from mdb_engine.exceptions import RefusedError
from mdb_engine.scope.joins import Place, facet, graph_lookup, lookup, noted, union_with, unwind
from mdb_engine.scope.model import Scope
from mdb_engine.scope.stages import pipeline
from tests.support.kernel import SHOP, lazy, shown, where

SHOWN = Scope("shop", "appdata", ("app",), expose_app_id=True)
GRANTED = Scope("shop", "appdata", ("app",), readable=("shared",))
GUARD, UNSET = {"$match": {"app_id": "shop"}}, {"$unset": "app_id"}
EQUAL = {"from": "users", "localField": "u", "foreignField": "_id", "as": "user"}
SEARCH = {"from": "users", "startWith": "$a", "connectFromField": "a", "connectToField": "b"}


def joined(
    stage: Any, value: Any, scope: Scope = SHOP, place: Place | None = None, **owner: Any
) -> list[Any]:
    where_ = where("pipeline", "0", "$stage", command="aggregate", **owner)
    return [shown(s) for s in stage(lazy(value), scope, where_, place or Place(pipeline))]


def followed(stage: Any) -> Place:
    return Place(pipeline, following=lazy(stage))


@pytest.mark.parametrize(
    ("scope", "kept"),
    [
        (SHOWN, {"$filter": {"input": "$user", "cond": {"$eq": ["$$this.app_id", "shop"]}}}),
        (
            SHOP,
            {
                "$map": {
                    "input": {
                        "$filter": {"input": "$user", "cond": {"$eq": ["$$this.app_id", "shop"]}}
                    },
                    "in": {"$unsetField": {"field": "app_id", "input": "$$this"}},
                }
            },
        ),
    ],
)
def test_a_fast_join_is_filtered_behind_it(scope: Scope, kept: Any) -> None:
    expected = [{"$lookup": {**EQUAL, "from": "shop_users"}}, {"$set": {"user": kept}}]
    assert joined(lookup, EQUAL, scope) == expected


def test_grants_are_read_too() -> None:
    _, filtered = joined(lookup, {**EQUAL, "from": "shared_users"}, GRANTED)
    condition = {"$in": ["$$this.app_id", ["shop", "shared"]]}
    assert filtered["$set"]["user"]["$map"]["input"]["$filter"]["cond"] == condition


@pytest.mark.parametrize(
    ("changes", "place", "owner"),
    [
        ({}, followed({"$unwind": "$user"}), {}),
        ({}, followed({"$unwind": {"path": "$user"}}), {}),
        ({}, None, {"collation": {"locale": "fr"}}),
        ({"as": "a.b"}, None, {}),
        ({"as": "$user"}, None, {}),
        ({"as": "app_id"}, None, {}),
        ({"as": ""}, None, {}),
        ({"as": 5}, None, {}),
    ],
)
def test_where_it_cannot_be_the_condition_goes_inside(
    changes: Any, place: Place | None, owner: Any
) -> None:
    (made,) = joined(lookup, {**EQUAL, **changes}, place=place, **owner)
    assert made["$lookup"]["pipeline"][-1] == UNSET
    assert "app_id" in str(made["$lookup"]["pipeline"][0])


@pytest.mark.parametrize(
    "stage",
    [{"$unwind": "$other"}, {"$unwind": 5}, {"$skip": 1}, {"$set": {"user": {"path": "$user"}}}],
)
def test_other_stages_behind_it_do_not_matter(stage: Any) -> None:
    assert len(joined(lookup, EQUAL, place=followed(stage))) == 2


@pytest.mark.parametrize("form", [{"pipeline": []}, {**EQUAL, "pipeline": []}])
def test_a_pipeline_inside_has_its_own_condition(form: Any) -> None:
    (made,) = joined(lookup, {**EQUAL, **form})
    assert made["$lookup"]["pipeline"] == [GUARD, UNSET]
    (made,) = joined(lookup, {**EQUAL, **form}, SHOWN)
    assert made["$lookup"]["pipeline"] == [GUARD]


def test_documents_need_no_condition() -> None:
    spec = {"pipeline": [{"$documents": [{"a": 1}]}], "as": "x"}
    assert joined(lookup, spec) == [{"$lookup": spec}]
    union = {"pipeline": spec["pipeline"]}
    assert joined(union_with, union) == [{"$unionWith": union}]


@pytest.mark.parametrize(
    ("given", "depth"),
    [({}, 100), ({"maxDepth": 5}, 5), ({"maxDepth": 500}, 100), ({"maxDepth": None}, 100)],
)
def test_a_search_has_an_end(given: Any, depth: int) -> None:
    made, cleared = joined(graph_lookup, {**SEARCH, "as": "chain", **given})
    assert made["$graphLookup"]["maxDepth"] == depth
    assert made["$graphLookup"]["restrictSearchWithMatch"] == {"app_id": "shop"}
    assert cleared == {"$unset": "chain.app_id"}


def test_a_cap_is_noted() -> None:
    place = where(command="aggregate")
    graph_lookup(lazy({**SEARCH, "as": "x"}), SHOP, place, Place(pipeline))
    assert place.notes.caps == ["max_graph_depth"]


@pytest.mark.parametrize(
    ("path", "scope", "late"),
    [("$chain", SHOP, True), ({"path": "$chain"}, SHOP, True), ("$chain", SHOWN, False),
     ("$other", SHOP, False)],
)  # fmt: skip
def test_the_server_merges_a_search_with_its_unwind(path: Any, scope: Scope, late: bool) -> None:
    """So the tags go behind both."""
    search, unwound = {"$graphLookup": {**SEARCH, "as": "chain"}}, {"$unwind": path}
    behind = joined(graph_lookup, search["$graphLookup"], scope, followed(unwound))
    assert (behind[-1] == {"$unset": "chain.app_id"}) is (scope is SHOP and not late)
    place = Place(pipeline, preceding=lazy(search))
    cleared = [{"$unset": "chain.app_id"}] if late else []
    assert joined(unwind, path, scope, place) == [unwound, *cleared]


@pytest.mark.parametrize("before", [{"$skip": 1}, {"$lookup": {"as": "chain"}}, None])
def test_an_unwind_behind_anything_else_is_one(before: Any) -> None:
    place = Place(pipeline, preceding=None if before is None else lazy(before))
    assert joined(unwind, "$chain", place=place) == [{"$unwind": "$chain"}]


@pytest.mark.parametrize("value", ["users", {"coll": "users"}, {"coll": "users", "pipeline": []}])
def test_a_union_has_a_condition_of_its_own(value: Any) -> None:
    expected = {"$unionWith": {"coll": "shop_users", "pipeline": [GUARD, UNSET]}}
    assert joined(union_with, value) == [expected]


def test_the_branches_of_a_facet_have_none() -> None:
    branches = {"a": [{"$skip": 1}], "b": [{"$unionWith": "users"}]}
    union = {"$unionWith": {"coll": "shop_users", "pipeline": [GUARD, UNSET]}}
    assert joined(facet, branches) == [{"$facet": {"a": [{"$skip": 1}], "b": [union]}}]


SOURCES = [{"db": "local", "coll": "oplog.rs"}, {"db": "app", "coll": "users"}, None, 5, ["users"]]


@pytest.mark.parametrize("stage", [lookup, graph_lookup])
@pytest.mark.parametrize("source", SOURCES)
def test_a_source_is_a_name(stage: Any, source: Any) -> None:
    with pytest.raises(RefusedError) as refused:
        joined(stage, {**SEARCH, **EQUAL, "from": source} if stage is lookup else {"from": source})
    assert refused.value.code in (9, 40415)


def test_a_name_is_remembered() -> None:
    place = where("find")
    assert noted("tasks", SHOP, place).physical == "shop_tasks"
    assert place.notes.names == {"shop_tasks": "app.tasks"}
