"""From index definitions to what the server is asked for."""

from typing import Any

import pytest

from mdb_engine.indexes import INDEX_TYPES, index_models, search_models
from mdb_engine.indexes.kinds import warnings
from mdb_engine.manifest.indexes import REQUIREMENTS, IndexDefinition

SEARCH = {"search", "hybrid", "vector", "vectorSearch"}


def index(**keys: Any) -> IndexDefinition:
    return IndexDefinition.model_validate({"name": "i", **keys})


def test_every_type_of_a_manifest_has_a_row() -> None:
    assert set(INDEX_TYPES) == set(REQUIREMENTS)
    assert {name for name, row in INDEX_TYPES.items() if row.search} == SEARCH


@pytest.mark.parametrize(
    ("keys", "spec"),
    [
        ({"type": "regular", "keys": {"a": 1, "b": -1}}, {"key": {"a": 1, "b": -1}}),
        (
            {
                "type": "regular",
                "keys": {"a": 1},
                "options": {"unique": True, "background": True, "name": "i"},
            },
            {"key": {"a": 1}, "unique": True},
        ),
        (
            {"type": "regular", "keys": {"a": 1}, "unique": False},
            {"key": {"a": 1}, "unique": False},
        ),
        (
            {"type": "compound", "keys": {"a": 1, "b": 1}, "prefix": True},
            {"key": {"app_id": 1, "a": 1, "b": 1}},
        ),
        (
            {"type": "regular", "keys": {"a": 1, "app_id": -1}, "prefix": True},
            {"key": {"app_id": -1, "a": 1}},
        ),
        (
            {"type": "text", "keys": {"a": "text"}, "options": {"weights": {"a": 2}}},
            {"key": {"a": "text"}, "weights": {"a": 2}},
        ),
        ({"type": "geospatial", "keys": {"a": "2dsphere"}}, {"key": {"a": "2dsphere"}}),
        (
            {"type": "ttl", "keys": {"a": 1}, "options": {"expireAfterSeconds": 60}},
            {"key": {"a": 1}, "expireAfterSeconds": 60},
        ),
        (
            {"type": "partial", "keys": {"a": 1}, "partialFilterExpression": {"b": 1}},
            {"key": {"a": 1}, "partialFilterExpression": {"b": 1}},
        ),
        ({"type": "hashed", "keys": {"a": "hashed"}}, {"key": {"a": "hashed"}}),
        (
            {"type": "wildcard", "keys": {"$**": 1}, "wildcardProjection": {"a": 1}},
            {"key": {"$**": 1}, "wildcardProjection": {"a": 1}},
        ),
    ],
)
def test_specifications(keys: dict[str, Any], spec: dict[str, Any]) -> None:
    [found] = index_models([index(**keys)])
    assert found == {"name": "i", **spec}
    assert list(found["key"]) == list(spec["key"])
    assert search_models([index(**keys)]) == []


def test_search_indexes_are_kept_apart() -> None:
    definitions = [
        index(type="regular", keys={"a": 1}),
        index(type="vector", definition={"fields": []}),
        index(type="search", definition={}),
    ]
    assert [spec["key"] for spec in index_models(definitions)] == [{"a": 1}]
    assert [spec["type"] for spec in search_models(definitions)] == ["vectorSearch", "search"]


@pytest.mark.parametrize(("seconds", "warned"), [(1, 0), (31_536_000, 0), (31_536_001, 1)])
def test_long_lives_are_warned_of(seconds: int, warned: int) -> None:
    definition = index(type="ttl", keys={"a": 1}, expireAfterSeconds=seconds)
    assert len(warnings(definition)) == warned
