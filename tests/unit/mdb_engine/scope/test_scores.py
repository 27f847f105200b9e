"""The score is told to those who ask, and shown to nobody."""

from typing import Any

import pytest

from mdb_engine.exceptions import QueryValidationError
from mdb_engine.scope.scores import FORGET, SCORE, carried
from tests.support.kernel import lazy, shown, where

ASKED = {"$meta": "vectorSearchScore"}
TOLD = f"$$ROOT.{SCORE}"
HERE = where("pipeline", command="aggregate")


def bare(root: str = "$$ROOT") -> dict[str, Any]:
    return {"$unsetField": {"field": SCORE, "input": root}}


def told(*stages: Any, begin: int = 0) -> list[Any]:
    given = [dict(stage) for stage in lazy(list(stages))]
    return [shown(stage) for stage in carried(given, begin, HERE)]


SET, SCORED = {"$set": {"s": ASKED}}, {"$set": {"s": TOLD}}


def test_nobody_asks() -> None:
    assert told({"$set": {"a": "$$ROOT"}}) == [FORGET, {"$set": {"a": "$$ROOT"}}]
    assert told() == [FORGET]
    head = {"$sort": {SCORE: -1}}
    assert told(head, {"$limit": 1}, begin=1) == [head, FORGET, {"$limit": 1}]


def test_it_is_forgotten_behind_the_last_who_asks() -> None:
    assert told(SET, {"$limit": 1}, SET, {"$skip": 1}) == [
        SCORED, {"$limit": 1}, SCORED, FORGET, {"$skip": 1},
    ]  # fmt: skip


ROWS: list[tuple[Any, Any]] = [
    ({"$project": {"n": 1}}, {"$project": {"n": 1, SCORE: 1}}),
    ({"$project": {"n": 0}}, {"$project": {"n": 0}}),
    ({"$project": {"s": ASKED}}, {"$project": {"s": TOLD, SCORE: 1}}),
    ({"$project": 1}, {"$project": 1}),
    (
        {"$replaceRoot": {"newRoot": {"$mergeObjects": ["$$ROOT", {"s": ASKED}]}}},
        {
            "$replaceRoot": {
                "newRoot": {
                    "$setField": {
                        "field": SCORE,
                        "input": {"$mergeObjects": [bare(), {"s": TOLD}]},
                        "value": TOLD,
                    }
                }
            }
        },
    ),
    ({"$replaceRoot": "$a"}, {"$replaceRoot": "$a"}),
    ({"$replaceRoot": {"a": 1}}, {"$replaceRoot": {"a": 1}}),
    (
        {"$replaceWith": "$a"},
        {"$replaceWith": {"$setField": {"field": SCORE, "input": "$a", "value": TOLD}}},
    ),
    ({"$sort": {"a": 1, "x": ASKED}}, {"$sort": {"a": 1, SCORE: -1}}),
    ({"$sort": {"a": 1}}, {"$sort": {"a": 1}}),
    ({"$sort": 1}, {"$sort": 1}),
    ({"$match": {"$expr": {"$gt": [ASKED, 1]}}}, {"$match": {"$expr": {"$gt": [TOLD, 1]}}}),
    ({"$match": {"a": ASKED}}, {"$match": {"a": ASKED}}),
    ({"$set": {"a": {"$meta": "score"}}}, {"$set": {"a": TOLD}}),
    ({"$set": {"a": {"$meta": "textScore"}}}, {"$set": {"a": {"$meta": "textScore"}}}),
    ({"$set": {"a": {"$literal": ASKED}}}, {"$set": {"a": {"$literal": ASKED}}}),
    ({"$set": {"a": ["$$ROOT", "$$CURRENT"]}}, {"$set": {"a": [bare(), bare("$$CURRENT")]}}),
    ({"$set": {"a": "$$ROOT.b"}}, {"$set": {"a": "$$ROOT.b"}}),
    (
        {"$set": {"a": {"$getField": "b"}}},
        {"$set": {"a": {"$getField": {"field": "b", "input": bare("$$CURRENT")}}}},
    ),
    (
        {"$set": {"a": {"$getField": {"field": "b"}}}},
        {"$set": {"a": {"$getField": {"field": "b", "input": bare("$$CURRENT")}}}},
    ),
    (
        {"$set": {"a": {"$getField": {"field": "b", "input": "$$ROOT"}}}},
        {"$set": {"a": {"$getField": {"field": "b", "input": bare()}}}},
    ),
    (
        {"$lookup": {"from": "x", "let": {"s": ASKED}, "pipeline": [SET], "as": "y"}},
        {"$lookup": {"from": "x", "let": {"s": TOLD}, "pipeline": [SET], "as": "y"}},
    ),
    ({"$unionWith": "x"}, {"$unionWith": "x"}),
    (
        {"$unionWith": {"coll": "x", "pipeline": [SET]}},
        {"$unionWith": {"coll": "x", "pipeline": [SET]}},
    ),
    ({"$unset": "a"}, {"$unset": "a"}),
    ({"$limit": 1}, {"$limit": 1}),
]


@pytest.mark.parametrize(("given", "becomes"), ROWS)
def test_a_stage_in_between(given: Any, becomes: Any) -> None:
    assert told(given, SET) == [becomes, SCORED, FORGET]


def test_what_gathers_documents_ends_it() -> None:
    group = {"$group": {"_id": None, "best": {"$max": ASKED}, "all": {"$push": "$$ROOT"}}}
    gathered = {"$group": {"_id": None, "best": {"$max": TOLD}, "all": {"$push": bare()}}}
    assert told(group, SET, {"$sort": {"x": ASKED}}) == [gathered, SCORED, {"$sort": {SCORE: -1}}]
    plain = {"$group": {"_id": None, "all": {"$push": "$$ROOT"}}}
    assert told(plain, SET) == [FORGET, plain, SCORED]


def test_what_writes_never_gets_it() -> None:
    merge = {"$merge": {"into": "a", "let": {"s": ASKED}}}
    stored = {"$merge": {"into": "a", "let": {"s": TOLD}}}
    assert told(merge) == [FORGET, stored]
    assert told(SET, merge) == [SCORED, FORGET, stored]


def test_branches_lose_it_each_for_itself() -> None:
    facet = {"$facet": {"a": [{"$limit": 1}, SET], "b": [{"$limit": 1}]}}
    branches = {"a": [{"$limit": 1}, SCORED, FORGET], "b": [FORGET, {"$limit": 1}]}
    assert told(facet, {"$limit": 1}) == [{"$facet": branches}, {"$limit": 1}]
    quiet = {"$facet": {"b": [{"$set": {"a": {"$meta": "textScore"}}}]}}
    assert told(quiet) == [FORGET, quiet]
    assert told({"$count": "n"}, facet) == [FORGET, {"$count": "n"}, {"$facet": branches}]


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        ([{"$project": {SCORE: 1}}], f"{SCORE} is reserved"),
        ([{"$set": {"a": f"$$CURRENT.{SCORE}"}}], f"{SCORE} is reserved"),
        ([{"$match": {"$jsonSchema": {}}}, SET], r"\$jsonSchema is not supported"),
    ],
)
def test_what_would_notice_it_is_refused(stages: list[Any], reason: str) -> None:
    with pytest.raises(QueryValidationError, match=reason):
        told(*stages)


def test_schemas_behind_it_are_free() -> None:
    schema = {"$match": {"$jsonSchema": {"maxProperties": 3}}}
    assert told(SET, schema) == [SCORED, FORGET, schema]
