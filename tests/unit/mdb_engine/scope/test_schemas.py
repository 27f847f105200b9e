"""`$jsonSchema` beside the tag: true of the tagged document when it is true of the bare one."""

from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64

from mdb_engine.exceptions import QueryValidationError
from mdb_engine.scope.schemas import bare, spare_tag
from tests.support.kernel import lazy, shown, where

PLACE = where("filter", "$jsonSchema")
SPARED = r"^(?!app_id\z)(?s:.*)(?:%s)"


@pytest.mark.parametrize(
    ("schema", "becomes"),
    [
        ({"additionalProperties": False}, {"properties": {"app_id": {}}}),
        (
            {"properties": {"a": {}}, "additionalProperties": {"bsonType": "int"}},
            {"properties": {"a": {}, "app_id": {}}},
        ),
        ({"maxProperties": 2}, {"maxProperties": 3}),
        ({"minProperties": 0}, {"minProperties": 1}),
        ({"maxProperties": Int64(2)}, {"maxProperties": 3}),
        ({"maxProperties": 2.0}, {"maxProperties": 3.0}),
        ({"maxProperties": Decimal128("2")}, {"maxProperties": 3.0}),
        ({"maxProperties": Int64(2**63 - 1)}, {"maxProperties": Int64(2**63 - 1)}),
        ({"patternProperties": {"^a": {}}}, {"patternProperties": {SPARED % "^a": {}}}),
        ({"patternProperties": {"a|b": {}}}, {"patternProperties": {SPARED % "a|b": {}}}),
        ({"allOf": [{"maxProperties": 1}]}, {"allOf": [{"maxProperties": 2}]}),
        ({"anyOf": [{"maxProperties": 1}]}, {"anyOf": [{"maxProperties": 2}]}),
        ({"oneOf": [{"not": {"maxProperties": 1}}]}, {"oneOf": [{"not": {"maxProperties": 2}}]}),
        (
            {"dependencies": {"a": {"maxProperties": 1}, "b": ["c"]}},
            {"dependencies": {"a": {"maxProperties": 2}, "b": ["c"]}},
        ),
    ],
)
def test_what_applies_to_the_document_makes_room(schema: Any, becomes: Any) -> None:
    stored = spare_tag(lazy(schema), PLACE)
    assert shown(stored) == {**schema, **becomes}
    if schema.get("maxProperties") not in (2**63 - 1, Decimal128("2")):
        assert shown(bare(stored)) == schema


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"bsonType": "object", "title": "x", "required": ["a"]},
        {"properties": {"a": {"maxProperties": 1, "properties": {"app_id": {}}}}},
        {"items": {"maxProperties": 1}},
        {"enum": [1, "app_id"]},
        # The server refuses these; what they would mean is not ours to guess.
        {"maxProperties": -1},
        {"maxProperties": "1"},
        {"maxProperties": True},
        {"patternProperties": 1},
        {"properties": 1},
        {"properties": 1, "additionalProperties": False},
        {"allOf": 1},
        {"allOf": [1]},
        {"not": 1},
        {"required": "app_id"},
        {"dependencies": 1},
        {"dependencies": {"a": 1}},
        {"enum": 1},
    ],
)
def test_what_does_not_stays(schema: Any) -> None:
    assert shown(spare_tag(lazy(schema), PLACE)) == schema


def test_a_schema_that_is_none_stays() -> None:
    assert spare_tag(1, PLACE) == 1


@pytest.mark.parametrize(
    ("schema", "at"),
    [
        ({"properties": {"app_id": {}}}, "properties"),
        ({"required": ["a", "app_id"]}, "required"),
        ({"dependencies": {"app_id": ["a"]}}, "dependencies"),
        ({"dependencies": {"a": ["app_id"]}}, "dependencies.a"),
        ({"dependencies": {"a": {"required": ["app_id"]}}}, "dependencies.a.required"),
        ({"allOf": [{}, {"not": {"required": ["app_id"]}}]}, "allOf.1.not.required"),
        ({"enum": [{"a": 1}]}, "enum"),
    ],
)
def test_a_schema_must_not_name_the_tag(schema: Any, at: str) -> None:
    with pytest.raises(QueryValidationError) as caught:
        spare_tag(lazy(schema), PLACE)
    assert caught.value.at == f"filter.$jsonSchema.{at}"


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ({"required": ["a", "app_id"]}, {"required": ["a"]}),
        ({"required": ["app_id"]}, {}),
        ({"properties": {"app_id": {"bsonType": "string"}}}, {}),
        ({"maxProperties": 0}, {"maxProperties": 0}),
        ({"patternProperties": {"^a": {}}}, {"patternProperties": {"^a": {}}}),
    ],
)
def test_a_schema_made_by_hand_is_told_of_bare_documents(stored: Any, told: Any) -> None:
    assert shown(bare(lazy(stored))) == told


@pytest.mark.parametrize(
    "name",
    [
        "allOf",
        "dependencies",
        "maxProperties",
        "not",
        "patternProperties",
        "properties",
        "required",
    ],
)
def test_what_is_no_schema_is_told_as_it_is(name: str) -> None:
    assert shown(bare(lazy({name: "x"}))) == {name: "x"}
    assert bare(5) == 5
