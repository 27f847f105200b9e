"""Specifications of search indexes; each can filter on the app's tag. Pure."""

from typing import Any

from mdb_engine.manifest.indexes import IndexDefinition
from mdb_engine.scope.search_definitions import TEXT, VECTOR, tagged

Spec = dict[str, Any]


def vector_search(index: IndexDefinition) -> tuple[Spec, ...]:
    """One vector index."""
    return (_vector(index.name, index.definition or {}),)


def text_search(index: IndexDefinition) -> tuple[Spec, ...]:
    """One text search index."""
    return (_text(index.name, index.definition or {}),)


def hybrid(index: IndexDefinition) -> tuple[Spec, ...]:
    """A vector index and a text one; their names default to the definition's."""
    if index.hybrid is None:
        return ()
    vector, text = index.hybrid.vector_index, index.hybrid.text_index
    return (
        _vector(vector.name or f"{index.name}_vector", vector.definition),
        _text(text.name or f"{index.name}_text", text.definition),
    )


def _vector(name: str, definition: dict[str, Any]) -> Spec:
    return {"name": name, "type": VECTOR, "definition": tagged(VECTOR, definition)}


def _text(name: str, definition: dict[str, Any]) -> Spec:
    return {"name": name, "type": TEXT, "definition": tagged(TEXT, definition)}
