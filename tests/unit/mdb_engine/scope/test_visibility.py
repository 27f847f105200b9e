from typing import Any

import pytest

from mdb_engine.scope.visibility import UNSET, uses_tag
from tests.support.kernel import lazy

USES = [
    ("$set", {"a": "$app_id"}),
    ("$set", {"a": "$app_id.x"}),
    ("$set", {"app_id": 1}),
    ("$set", {"app_id.x": 1}),
    ("$set", {"a": "$$ROOT"}),
    ("$set", {"a": "$$ROOT.n"}),
    ("$set", {"a": [1, {"b": "$$CURRENT"}]}),
    ("$set", {"a": {"$getField": "n"}}),
    ("$set", {"a": {"$setField": {"field": "n", "input": "$b", "value": 1}}}),
    ("$set", {"a": {"$unsetField": {"field": "n", "input": "$b"}}}),
    ("$set", {"pipeline": "$$ROOT"}),
    ("$group", {"_id": 1, "pipeline": {"$push": "$$ROOT"}}),
    ("$unset", "app_id"),
    ("$unset", ["a", "app_id"]),
    ("$count", "app_id"),
    ("$sortByCount", "$app_id"),
    ("$unwind", "$app_id"),
    ("$unwind", {"path": "$a", "includeArrayIndex": "app_id"}),
    ("$sort", {"app_id": 1}),
    ("$densify", {"field": "a", "partitionByFields": ["app_id"]}),
    ("$lookup", {"from": "x", "let": {"d": "$$ROOT"}, "pipeline": [], "as": "y"}),
    ("$lookup", {"from": "x", "localField": "app_id", "foreignField": "b", "as": "y"}),
    ("$lookup", {"from": "x", "as": "app_id"}),
    ("$graphLookup", {"from": "x", "startWith": "$app_id"}),
    ("$facet", {"pipeline": [{"$set": {"a": "$$ROOT"}}]}),
    ("$match", {"$expr": {"$eq": ["$app_id", "x"]}}),
    ("$match", {"$or": [{"$expr": "$$ROOT"}]}),
    ("$match", {"$jsonSchema": {}}),
]
IGNORES = [
    ("$set", {"a": "$n", "b": 1, "c": None, "d": "app_idx", "a.app_id": 1, "x": "$a.app_id"}),
    ("$set", {"a": "app", "b": "$$NOW"}),
    ("$unset", ["a", "b.app_id"]),
    ("$count", "n"),
    ("$limit", 5),
    ("$sample", {"size": 5}),
    ("$lookup", {"from": "x", "pipeline": [{"$set": {"a": "$$ROOT"}}], "as": "y"}),
    ("$unionWith", {"coll": "x", "pipeline": [{"$set": {"a": "$app_id"}}]}),
    ("$match", {"app_id": "crm"}),
    ("$match", {"$expr": {"$eq": ["$a", 1]}}),
    ("$match", {"a": "$$ROOT"}),
]


@pytest.mark.parametrize(("name", "operand"), USES)
def test_a_stage_that_could_notice_the_tag(name: str, operand: Any) -> None:
    assert uses_tag(name, lazy(operand))


@pytest.mark.parametrize(("name", "operand"), IGNORES)
def test_a_stage_that_could_not(name: str, operand: Any) -> None:
    assert not uses_tag(name, lazy(operand))


def test_the_tag_goes_by_one_stage() -> None:
    assert UNSET == {"$unset": "app_id"}
