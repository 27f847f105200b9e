"""Definitions of search indexes; the commands stand in tests/cases/searchIndexes.json."""

from typing import Any

import pytest

from mdb_engine.exceptions import QueryValidationError, UnknownFieldError
from mdb_engine.rawbson import Document, encode
from mdb_engine.scope.model import VectorField
from mdb_engine.scope.search_definitions import MAX_DIMENSIONS, tagged, vector_index
from tests.support.kernel import shown, where

FIELD = {"type": "vector", "path": "v", "numDimensions": 2, "similarity": "cosine"}
TAG = {"type": "filter", "path": "app_id"}
HERE = where("definition", command="createSearchIndexes")


@pytest.mark.parametrize("wrap", [dict, lambda given: Document(encode(given))])
def test_what_an_index_says(wrap: Any) -> None:
    fields = [
        FIELD,
        {**FIELD, "path": "a.b", "numDimensions": 3.0},
        {"type": "filter", "path": "n"},
    ]
    found = vector_index(wrap({"fields": fields}), HERE, id_="1", managed=True)
    assert found.vectors == (VectorField("v", 2, "cosine"), VectorField("a.b", 3, "cosine"))
    assert (found.filters, found.id, found.managed) == ({"n"}, "1", True)
    assert shown(found.definition) == {"fields": fields}


@pytest.mark.parametrize("count", [None, "2", True, -1, float("nan"), MAX_DIMENSIONS + 1])
def test_dimensions_are_a_count(count: Any) -> None:
    with pytest.raises(QueryValidationError, match="numDimensions is a whole number"):
        vector_index({"fields": [{**FIELD, "numDimensions": count}]}, HERE)


@pytest.mark.parametrize("fields", [None, "text", 1, {}, []])
def test_fields_are_a_list(fields: Any) -> None:
    with pytest.raises(QueryValidationError, match="at least one field"):
        vector_index({"fields": fields}, HERE)


def test_members_of_a_filter() -> None:
    with pytest.raises(UnknownFieldError) as refused:
        vector_index({"fields": [{**TAG, "similarity": "cosine"}]}, HERE)
    assert refused.value.at == "definition.fields.0.similarity"


def test_the_tag_is_added_once() -> None:
    once = tagged("vectorSearch", {"fields": [FIELD]})
    assert once == {"fields": [FIELD, TAG]}
    assert tagged("vectorSearch", once) == once


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ({}, {"mappings": {"fields": {"app_id": {"type": "token"}}}}),
        (
            {"mappings": {"fields": {"app_id": {"type": "string"}}}},
            {"mappings": {"fields": {"app_id": {"type": "token"}}}},
        ),
        (
            {"mappings": {}, "storedSource": True},
            {"mappings": {"fields": {"app_id": {"type": "token"}}}, "storedSource": True},
        ),
        ({"mappings": {"fields": 1}}, {"mappings": {"fields": 1}}),
    ],
)
def test_indexes_of_texts(given: Any, becomes: Any) -> None:
    assert tagged("search", given) == becomes
