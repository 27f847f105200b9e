"""Stored pipelines told back: every pipeline of the case rows, and what nobody made through us."""

from dataclasses import replace
from typing import Any

import pytest

from mdb_engine.rawbson import Document, encode
from mdb_engine.scope.commands import rewrite
from mdb_engine.scope.unstored import logical_pipeline
from tests.support.kernel import SHOP, lazy, shown

LOOKUP = {"from": "users", "pipeline": [{"$match": {"a": 1}}], "as": "u"}
GRAPH = {
    "from": "users", "startWith": "$a", "connectFromField": "a", "connectToField": "b",
    "as": "g", "maxDepth": 3,
}  # fmt: skip
NEAR = {"near": [0, 0], "distanceField": "d"}

ROUND: list[list[Any]] = [
    [],
    [{"$match": {"done": False}}],
    [{"$match": {"$and": [{"a": 1}, {"b": 2}]}}],
    [{"$sort": {"a": 1}}],
    [{"$project": {"a": 1}}],
    [{"$set": {"copy": "$$ROOT"}}],
    [{"$lookup": LOOKUP}],
    [{"$unionWith": {"coll": "users", "pipeline": []}}],
    [{"$facet": {"a": [{"$lookup": LOOKUP}], "b": [{"$count": "n"}]}}],
    [{"$geoNear": NEAR}],
    [{"$geoNear": {**NEAR, "query": {"a": 1}}}],
    [{"$graphLookup": {**GRAPH, "restrictSearchWithMatch": {"a": 1}}}, {"$unwind": "$g"}],
]


def stored(pipeline: list[Any], db: str, **more: Any) -> Any:
    command = {"create": "v", "viewOn": "tasks", "pipeline": pipeline, "$db": db, **more}
    physical = rewrite(Document(encode(command)), SHOP).command
    return lazy(physical["pipeline"])


@pytest.mark.parametrize("collation", [{}, {"collation": {"locale": "en"}}])
@pytest.mark.parametrize("db", ["app", "other"])
@pytest.mark.parametrize("pipeline", ROUND, ids=str)
def test_what_was_stored_is_told_back(pipeline: list[Any], db: str, collation: Any) -> None:
    found = logical_pipeline(stored(pipeline, db, **collation), SHOP, db)
    kept = [stage for stage in shown(found) if stage != {"$unset": "g.app_id"}]
    assert kept == pipeline


MADE_BY_HAND: list[tuple[Any, Any]] = [
    (5, None),
    ([5], [5]),
    ([{"$match": 5}], [{"$match": 5}]),
    ([{"$match": {"$and": [{"a": 1}]}}], [{"$match": {"$and": [{"a": 1}]}}]),
    ([{"$match": {"$and": [{"app_id": "shop"}]}}], []),
    ([{"$match": {"$and": 5}}], [{"$match": {"$and": 5}}]),
    ([{"$match": {"$and": [{"app_id": "shop"}, 5, {"a": 1}]}}],
     [{"$match": {"$and": [5, {"a": 1}]}}]),
    ([{"$lookup": {"from": "crm_x", "as": "u"}}], None),
    ([{"$lookup": {"from": "shop_eu_x", "as": "u"}}], None),
    ([{"$lookup": {"from": "shop_@other.x", "as": "u"}}], None),
    ([{"$lookup": {"from": {"db": "local", "coll": "oplog.rs"}, "as": "u"}}], None),
    ([{"$lookup": {"pipeline": [{"$documents": []}], "as": "u"}}],
     [{"$lookup": {"pipeline": [{"$documents": []}], "as": "u"}}]),
    ([{"$lookup": {"from": "shop_x", "pipeline": 5}}], [{"$lookup": {"from": "x", "pipeline": 5}}]),
    ([{"$unionWith": "shop_x"}], [{"$unionWith": "x"}]),
    ([{"$unionWith": "_mdb_engine_slugs"}], None),
    ([{"$unionWith": "shared_x"}], None),
    ([{"$facet": {"a": [{"$unionWith": "crm_x"}]}}], None),
    ([{"$facet": {"a": 5}}], [{"$facet": {"a": 5}}]),
]  # fmt: skip


@pytest.mark.parametrize(("pipeline", "told"), MADE_BY_HAND)
def test_what_was_made_by_hand_shows_no_physical_name(pipeline: Any, told: Any) -> None:
    scope = replace(SHOP, readable=("shared",))
    assert shown(logical_pipeline(lazy(pipeline), scope, "app")) == told
