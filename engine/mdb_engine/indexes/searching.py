"""Specifications of search indexes; each can filter on the app's tag. Pure."""

from typing import Any

from mdb_engine.manifest.indexes import IndexDefinition
from mdb_engine.scope.model import TAG_FIELD

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
    fields = list(definition.get("fields", []))
    tagged = {"type": "filter", "path": TAG_FIELD}
    if tagged not in fields:
        fields.append(tagged)
    return {"name": name, "type": "vectorSearch", "definition": {**definition, "fields": fields}}


def _text(name: str, definition: dict[str, Any]) -> Spec:
    mappings = definition.get("mappings", {})
    fields = {**mappings.get("fields", {}), TAG_FIELD: {"type": "token"}}
    tagged = {**definition, "mappings": {**mappings, "fields": fields}}
    stored = definition.get("storedSource")
    if isinstance(stored, dict) and "include" in stored:
        included = list(dict.fromkeys([*stored["include"], TAG_FIELD]))
        tagged["storedSource"] = {**stored, "include": included}
    return {"name": name, "type": "search", "definition": tagged}
