"""Search indexes can always filter on the app's tag."""

from typing import Any

import pytest

from mdb_engine.indexes.searching import hybrid, text_search, vector_search
from mdb_engine.manifest.indexes import IndexDefinition

FILTER = {"type": "filter", "path": "app_id"}
VECTOR = {"type": "vector", "path": "v", "numDimensions": 3, "similarity": "cosine"}


def index(**keys: Any) -> IndexDefinition:
    return IndexDefinition.model_validate({"name": "i", **keys})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([VECTOR], [VECTOR, FILTER]),
        ([VECTOR, FILTER], [VECTOR, FILTER]),
    ],
)
def test_vector(fields: list[Any], expected: list[Any]) -> None:
    definition = index(type="vector", definition={"fields": fields})
    assert vector_search(definition) == (
        {"name": "i", "type": "vectorSearch", "definition": {"fields": expected}},
    )
    assert definition.definition == {"fields": fields}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({}, {"mappings": {"fields": {"app_id": {"type": "token"}}}}),
        (
            {"mappings": {"dynamic": True, "fields": {"t": {"type": "string"}}}},
            {
                "mappings": {
                    "dynamic": True,
                    "fields": {"t": {"type": "string"}, "app_id": {"type": "token"}},
                }
            },
        ),
        (
            {"mappings": {}, "storedSource": {"include": ["t"]}},
            {
                "mappings": {"fields": {"app_id": {"type": "token"}}},
                "storedSource": {"include": ["t", "app_id"]},
            },
        ),
        (
            {"storedSource": True},
            {"mappings": {"fields": {"app_id": {"type": "token"}}}, "storedSource": True},
        ),
    ],
)
def test_text(written: dict[str, Any], expected: dict[str, Any]) -> None:
    definition = index(type="search", definition=written)
    assert text_search(definition) == ({"name": "i", "type": "search", "definition": expected},)


def test_hybrid() -> None:
    parts = {
        "vector_index": {"definition": {"fields": [VECTOR]}},
        "text_index": {"name": "words", "definition": {}},
    }
    vector, text = hybrid(index(type="hybrid", hybrid=parts))
    assert (vector["name"], vector["type"]) == ("i_vector", "vectorSearch")
    assert (text["name"], text["type"]) == ("words", "search")
    assert FILTER in vector["definition"]["fields"]
