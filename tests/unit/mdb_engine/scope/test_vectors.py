"""`$vectorSearch` by ordinary stages; whole rows in tests/cases/vectorSearch.json."""

from typing import Any

import pytest
from bson import Binary
from bson.binary import BinaryVectorDtype

from mdb_engine.exceptions import QueryValidationError
from mdb_engine.scope.joins import Place
from mdb_engine.scope.model import Search
from mdb_engine.scope.stages import pipeline
from mdb_engine.scope.vectors import MAX_CANDIDATES, MAX_LIMIT, vector_search
from tests.support.cases import scope_of
from tests.support.kernel import lazy, shown, where

FIELD = {"type": "vector", "path": "v", "numDimensions": 2, "similarity": "dotProduct"}
INDEX = {"collection": "shop_tasks", "name": "i", "fields": [FIELD]}
SCOPE = scope_of({"vectors": [INDEX]})
PLACE = Place(pipeline, source="shop_tasks")
GIVEN: dict[str, Any] = {
    "index": "i", "path": "v", "queryVector": [1, 2], "limit": 3, "exact": True,
}  # fmt: skip


def stages(**changes: Any) -> list[Any]:
    here = where("pipeline", "0", "$vectorSearch", command="aggregate")
    return [shown(each) for each in vector_search(lazy(GIVEN | changes), SCOPE, here, PLACE)]


def query(**changes: Any) -> list[float]:
    terms = stages(**changes)[1]["$set"]["_mdb_engine_score"]["$divide"][0]["$add"][1]["$sum"]
    return [term["$multiply"][1] for term in terms]


@pytest.mark.parametrize(
    "vector",
    [
        [1, 2],
        [1.0, 2.0],
        Binary.from_vector([1, 2], BinaryVectorDtype.INT8),
        Binary.from_vector([1.0, 2.0], BinaryVectorDtype.FLOAT32),
    ],
)
def test_a_question_is_asked_in_doubles(vector: Any) -> None:
    found = query(queryVector=vector)
    assert found == [1.0, 2.0]
    assert all(isinstance(each, float) for each in found)


@pytest.mark.parametrize(
    "vector", [b"\x27\x00", Binary(b"", 9), Binary(b"\x27", 9), Binary(b"\x27\x01\x00", 9)]
)
def test_bytes_that_are_no_vector(vector: Any) -> None:
    with pytest.raises(QueryValidationError, match='"queryVector"'):
        stages(queryVector=vector)


def test_what_is_noted_for_the_plan() -> None:
    here = where("pipeline", "0", "$vectorSearch", command="aggregate")
    vector_search(lazy(GIVEN), SCOPE, here, PLACE)
    vector_search(lazy(GIVEN | {"index": "j"}), SCOPE, here, PLACE)
    first, second = here.notes.searches
    own = {"$and": [{"app_id": "shop"}, {"v": {"$type": "array", "$size": 2}}]}
    assert (first.collection, first.index, shown(first.candidates)) == ("shop_tasks", "i", own)
    assert second == Search("shop_tasks", "j")


def test_no_limit_is_above_the_candidates() -> None:
    assert stages(limit=MAX_LIMIT)[-1] == {"$limit": MAX_LIMIT}
    assert MAX_LIMIT <= MAX_CANDIDATES


def test_a_question_near_the_end_of_numbers_has_a_direction() -> None:
    scope = scope_of({"vectors": [{**INDEX, "fields": [{**FIELD, "similarity": "cosine"}]}]})
    here = where("pipeline", "0", "$vectorSearch", command="aggregate")
    for scale in (1e308, 1e-308):
        given = lazy(GIVEN | {"queryVector": [0.75 * scale, scale]})
        found = shown(vector_search(given, scope, here, PLACE))
        score = found[1]["$set"]["_mdb_engine_score"]["$let"]["in"]["$cond"][1]
        terms = score["$divide"][0]["$add"][1]["$divide"][0]["$sum"]
        assert [t["$multiply"][1] for t in terms] == pytest.approx([0.6, 0.8])
