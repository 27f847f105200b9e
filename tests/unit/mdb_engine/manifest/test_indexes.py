"""`managed_indexes`: what each type needs."""

from typing import Any

import pytest

from mdb_engine.exceptions import ManifestValidationError
from mdb_engine.manifest import parse
from mdb_engine.manifest.indexes import REQUIREMENTS, IndexDefinition

VECTOR = {"fields": [{"type": "vector", "path": "v", "numDimensions": 3, "similarity": "cosine"}]}


def index(**keys: Any) -> IndexDefinition:
    document = {"slug": "shop", "name": "Shop", "managed_indexes": {"t": [{"name": "i", **keys}]}}
    return parse(document).managed_indexes["t"][0]


def row(kind: str, keys: Any = None, **options: Any) -> dict[str, Any]:
    return {"type": kind, **({"keys": keys} if keys is not None else {}), **options}


@pytest.mark.parametrize(
    "keys",
    [
        row("regular", {"a": 1}),
        row("regular", [["a", 1], ["b", -1]]),
        row("regular", {"a": 1}, options={"unique": True, "background": True, "name": "i"}),
        row("regular", {"a": 1}, unique=True),
        row("regular", {"a": 1}, unique=True, options={"unique": True}),
        row("compound", {"a": 1, "b": -1}, prefix=True),
        row("text", {"a": "text", "b": 1}),
        row("text", {"b": 1, "a": "text"}, prefix=True),
        row("text", {"a": "text"}, options={"weights": {"a": 3}, "default_language": "none"}),
        row("geospatial", {"a": "2dsphere"}, prefix=True),
        row("geospatial", {"a": "2d"}, options={"bits": 20, "min": -1, "max": 1.5}),
        row("geospatial", {"a": "geoHaystack"}),
        row("ttl", {"a": 1}, options={"expireAfterSeconds": 1}),
        row("ttl", {"a": 1}, expireAfterSeconds=2**31 - 1),
        row("partial", {"a": 1}, options={"partialFilterExpression": {"b": True}}, prefix=True),
        row("hashed", {"a": "hashed"}),
        row("wildcard", {"$**": 1}, wildcardProjection={"a": 1}),
        row("wildcard", {"a.$**": 1}),
        row("vector", definition=VECTOR),
        row("vectorSearch", definition=VECTOR),
        row("search", definition={"mappings": {"dynamic": True}}),
        row(
            "hybrid",
            hybrid={"vector_index": {"definition": VECTOR}, "text_index": {"definition": {}}},
        ),
    ],
)
def test_accepted(keys: dict[str, Any]) -> None:
    assert index(**keys).type == keys["type"]


def test_every_type_is_described() -> None:
    kinds = IndexDefinition.model_json_schema()["properties"]["type"]["enum"]
    assert set(kinds) == set(REQUIREMENTS)


def test_pairs_keep_their_order() -> None:
    assert list((index(type="regular", keys=[["b", 1], ["a", -1]]).keys or {}).items()) == [
        ("b", 1),
        ("a", -1),
    ]


def test_options_are_found_in_both_places() -> None:
    assert index(type="regular", keys={"a": 1}, unique=True).option("unique") is True
    assert index(type="regular", keys={"a": 1}, options={"unique": True}).option("unique") is True
    assert index(type="regular", keys={"a": 1}).option("unique") is None


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        (row("regular"), "keys"),
        (row("regular", {}), "keys"),
        (row("regular", {"a": 2}), "keys.a"),
        (row("regular", {"a": True}), "keys"),
        (row("regular", {"a": "up"}), "keys.a"),
        (row("regular", ["a"]), "keys"),
        (row("regular", [["a", 1], ["a", -1]]), "keys"),
        (row("regular", [[1, 1]]), "keys"),
        (row("regular", "a"), "keys"),
        (row("regular", {"a": 1}, name=""), "name"),
        (row("regular", {"a": 1}, name="a b"), "name"),
        (row("regular", {"a": 1}, uniqe=True), "uniqe"),
        (row("regular", {"a": 1}, options={"uniqe": True}), "options.uniqe"),
        (row("regular", {"a": 1}, unique=True, options={"unique": False}), "unique"),
        (row("regular", {"a": 1}, options={"name": "other"}), "name"),
        (row("btree", {"a": 1}), "type"),
        (row("text", {"a": 1}), "keys"),
        (row("text", {"a": "text"}, prefix=True), "prefix"),
        (row("geospatial", {"a": 1}), "keys"),
        (row("geospatial", {"a": "2d"}, prefix=True), "prefix"),
        (row("ttl", {"a": 1}), "expireAfterSeconds"),
        (row("ttl", {"a": 1, "b": 1}, expireAfterSeconds=5), "keys"),
        (row("ttl", {"a": 1}, expireAfterSeconds=0), "expireAfterSeconds"),
        (row("ttl", {"a": 1}, expireAfterSeconds=2**31), "expireAfterSeconds"),
        (row("ttl", {"a": 1}, expireAfterSeconds=5, prefix=True), "prefix"),
        (row("partial", {"a": 1}), "partialFilterExpression"),
        (row("hashed", {"a": 1}), "keys"),
        (row("hashed", {"a": "hashed"}, prefix=True), "prefix"),
        (row("regular", {"a": 1}, sparse=True, prefix=True), "prefix"),
        (row("wildcard", {"a": 1}), "keys"),
        (row("wildcard", {"$**": 1}, prefix=True), "prefix"),
        (row("vector"), "definition"),
        (row("search"), "definition"),
        (row("hybrid"), "hybrid"),
        (row("hybrid", hybrid={"vector_index": {"definition": {}}}), "hybrid.text_index"),
    ],
)
def test_refused(keys: dict[str, Any], path: str) -> None:
    with pytest.raises(ManifestValidationError) as caught:
        index(**keys)
    assert caught.value.path == f"managed_indexes.t.0.{path}"
