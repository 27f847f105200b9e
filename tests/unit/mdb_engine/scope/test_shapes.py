from typing import Any

import pytest

from mdb_engine.rawbson import Document, encode
from mdb_engine.scope.shapes import Shape, shape_of


def found(**command: Any) -> Shape | None:
    return shape_of(Document(encode(command)))


def index(condition: Any, sort: Any = None) -> Any:
    shape = found(find="tasks", filter=condition, **({} if sort is None else {"sort": sort}))
    return None if shape is None else shape.index


@pytest.mark.parametrize(
    ("condition", "sort", "keys"),
    [
        ({"b": 1, "a": "x"}, None, (("a", 1), ("b", 1))),
        ({"a": {"$eq": 1}, "b": {"$in": [1, 2]}}, None, (("a", 1), ("b", 1))),
        ({"n": {"$gt": 1}, "a": 1}, {"t": -1}, (("a", 1), ("t", -1), ("n", 1))),
        ({"a": 1}, {"a": 1, "t": 1.0}, (("a", 1), ("t", 1))),
        ({"n": {"$gte": 1, "$lt": 5}}, {"n": -1}, (("n", -1),)),
        ({"$and": [{"a": 1}, {"n": {"$lte": 2}}]}, None, (("a", 1), ("n", 1))),
        ({"a": 1, "$and": [{"a": {"$gt": 0}}]}, None, (("a", 1),)),
        ({"a": {"inner": 1}}, None, (("a", 1),)),
        ({"app_id": "shop", "a": 1}, None, (("a", 1),)),
        ({}, {"t": -1}, (("t", -1),)),
        (dict.fromkeys("abcdefg", 1), None, ()),
    ],
)
def test_the_index_that_serves(condition: Any, sort: Any, keys: Any) -> None:
    assert index(condition, sort) == keys


@pytest.mark.parametrize(
    ("condition", "sort"),
    [
        ({}, None),
        ({"_id": 1, "a": 1}, None),
        ({"$or": [{"a": 1}]}, None),
        ({"a": {"$regex": "x"}}, None),
        ({"$and": [{"$or": []}]}, None),
        ({"$and": [1]}, None),
        ({"a": 1}, {"s": {"$meta": "textScore"}}),
        ({"a": 1}, {"app_id": 1}),
    ],
)
def test_no_index_helps(condition: Any, sort: Any) -> None:
    assert index(condition, sort) is None


def test_an_aggregation_that_begins_like_a_find() -> None:
    pipeline = [{"$match": {"a": 1}}, {"$sort": {"t": 1}}, {"$limit": 1}]
    shape = found(aggregate="tasks", pipeline=pipeline)
    assert shape is not None
    assert shape.index == (("a", 1), ("t", 1))
    assert found(aggregate="tasks", pipeline=[]) is None
    assert found(aggregate="tasks", pipeline=[{"$limit": 1}]) is None
    assert found(insert="tasks") is None
