"""Definitions of search indexes: what one holds, and the tag that every one can filter on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mdb_engine.exceptions import (
    CommandNotFoundError,
    QueryValidationError,
    UnknownFieldError,
)
from mdb_engine.rawbson import Document
from mdb_engine.scope.caps import number
from mdb_engine.scope.fields import TARGET, WRITE_TARGET, subfields, wrong_type
from mdb_engine.scope.model import TAG_FIELD, Rule, Scope, VectorField, VectorIndex, Where
from mdb_engine.scope.veil import names_tag

VECTOR: Final = "vectorSearch"
TEXT: Final = "search"
DEFAULT_NAME: Final = "default"
MAX_DIMENSIONS: Final = 8192
SIMILARITIES: Final = frozenset({"cosine", "dotProduct", "euclidean"})

_DEFINITION: Final = frozenset({"fields", "numPartitions"})
_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "filter": frozenset({"path", "type"}),
    "vector": frozenset({
        "hnswOptions", "indexingMethod", "numDimensions", "path", "quantization", "similarity",
        "type",
    }),
}  # fmt: skip
"""Members of a field of a vector index, by its type."""

_TAG_FILTER: Final = {"type": "filter", "path": TAG_FIELD}


def tagged(kind: str, definition: Mapping[str, Any]) -> dict[str, Any]:
    """The definition of an index that can filter on the tag; what it already has is kept.

    >>> tagged("vectorSearch", {"fields": []})["fields"][0]["type"]
    'filter'
    """
    return _tagged_vector(definition) if kind == VECTOR else _tagged_text(definition)


def _tagged_vector(definition: Mapping[str, Any]) -> dict[str, Any]:
    fields = _items(definition.get("fields"))
    if not any(isinstance(f, Mapping) and dict(f) == _TAG_FILTER for f in fields):
        fields = [*fields, dict(_TAG_FILTER)]
    return {**definition, "fields": fields}


def _tagged_text(definition: Mapping[str, Any]) -> dict[str, Any]:
    mappings = definition.get("mappings", {})
    if not isinstance(mappings, Mapping) or not isinstance(mappings.get("fields", {}), Mapping):
        return dict(definition)
    fields = {**mappings.get("fields", {}), TAG_FIELD: {"type": "token"}}
    result = {**definition, "mappings": {**mappings, "fields": fields}}
    stored = definition.get("storedSource")
    if isinstance(stored, Mapping):
        result["storedSource"] = {name: _stored(name, paths) for name, paths in stored.items()}
    return result


def _stored(name: str, paths: Any) -> list[Any]:
    """Which fields are stored beside the index: the tag always is."""
    others = [path for path in _items(paths) if path != TAG_FIELD]
    return [*others, TAG_FIELD] if name == "include" else others


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []


def vector_index(
    definition: Mapping[str, Any], where: Where, *, id_: str = "", managed: bool = False
) -> VectorIndex:
    """A vector index, as its definition says.

    Raises:
        QueryValidationError: the definition is not one of a vector index.
        UnknownFieldError: it holds a member that nobody knows.
    """
    _known(definition, _DEFINITION, where)
    here = where.at("fields")
    vectors: list[VectorField] = []
    filters: list[str] = []
    for index, item in enumerate(_items(definition.get("fields"))):
        kind, path = _field(item, here.at(index))
        if path in (*filters, *(v.path for v in vectors)):
            raise _wrong(f"the path '{path}' stands twice", here.at(index, "path"))
        if kind == "filter":
            filters.append(path)
        else:
            vectors.append(_vector(item, path, here.at(index)))
    if not vectors:
        raise _wrong("a vector index needs at least one field of type 'vector'", here)
    return VectorIndex(id_, tuple(vectors), frozenset(filters), definition, managed)


def _wrong(reason: str, where: Where) -> QueryValidationError:
    return QueryValidationError(reason, str(where))


def _known(value: Mapping[str, Any], known: frozenset[str], where: Where) -> None:
    for name in value:
        if name not in known:
            msg = f"BSON field '{where.path[-1]}.{name}' is an unknown field."
            raise UnknownFieldError(msg, str(where.at(name)))


def _field(item: Any, where: Where) -> tuple[str, str]:
    kind = item.get("type") if isinstance(item, Mapping) else None
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise _wrong("the type of a field is 'vector' or 'filter'", where.at("type"))
    _known(item, _FIELDS[kind], where)
    path = item.get("path")
    if not isinstance(path, str) or not _is_path(path):
        raise _wrong("the path of a field is a dotted name", where.at("path"))
    return kind, path


def _is_path(path: str) -> bool:
    return all(part and not part.startswith("$") for part in path.split(".")) and "\0" not in path


def _vector(item: Mapping[str, Any], path: str, where: Where) -> VectorField:
    if names_tag(path):
        raise _wrong(f"{TAG_FIELD} is reserved", where.at("path"))
    dimensions = number(item.get("numDimensions")) or 0
    if dimensions != dimensions // 1 or not 1 <= dimensions <= MAX_DIMENSIONS:
        msg = f"numDimensions is a whole number from 1 to {MAX_DIMENSIONS}"
        raise _wrong(msg, where.at("numDimensions"))
    similarity = item.get("similarity")
    if not isinstance(similarity, str) or similarity not in SIMILARITIES:
        msg = f"similarity is one of {', '.join(sorted(SIMILARITIES))}"
        raise _wrong(msg, where.at("similarity"))
    return VectorField(path, int(dimensions), similarity)


def _target(rule: Rule) -> Rule:
    """The collection of a search-index command, which a plan carries out without mongot."""

    def apply(value: Any, scope: Scope, where: Where) -> Any:
        if not scope.features.search:
            where.notes.plan = where.command
        return rule.decoded(value, scope, where)

    return Rule(apply)


def _text(value: Any, _scope: Scope, where: Where) -> Any:
    if not isinstance(value, str):
        raise wrong_type(value, where, "string")
    if {"id", "name"} <= where.owner.keys():
        msg = "only one of 'id' and 'name' may be given"
        raise _wrong(msg, where)
    return value


def _one(rule: Rule) -> Rule:
    """The collection of a command that is about one index."""

    def apply(value: Any, scope: Scope, where: Where) -> Any:
        if not {"id", "name"} & where.owner.keys():
            msg = "one of 'id' and 'name' must be given"
            raise _wrong(msg, where)
        return rule.decoded(value, scope, where)

    return Rule(apply)


_INDEX: Final = frozenset({"definition", "name", "type"})


def _indexes(value: Any, scope: Scope, where: Where) -> Any:
    items = _items(value)
    if not items:
        raise wrong_type(value, where, "array")
    indexes = [_index(item, scope, where.at(i)) for i, item in enumerate(items)]
    names = [index["name"] for index in indexes]
    if len(set(names)) < len(names):
        msg = "two indexes of one name"
        raise _wrong(msg, where)
    return indexes


def _index(value: Any, scope: Scope, where: Where) -> dict[str, Any]:
    spec = subfields(value, _INDEX, where)
    name, kind = spec.get("name", DEFAULT_NAME), spec.get("type", TEXT)
    if not isinstance(name, str) or not name:
        raise wrong_type(name, where.at("name"), "string")
    if not isinstance(kind, str) or kind not in (TEXT, VECTOR):
        raise _wrong(f"the type of a search index is '{TEXT}' or '{VECTOR}'", where.at("type"))
    definition = _definition(spec.get("definition"), kind, scope, where.at("definition"))
    return {"name": name, "type": kind, "definition": definition}


def _definition(value: Any, kind: str, scope: Scope, where: Where) -> Mapping[str, Any]:
    if not isinstance(value, Document):
        raise wrong_type(value, where, "object")
    if scope.features.search:
        return tagged(kind, value)
    if kind == TEXT:
        msg = f"no such command: '{where.command}'"
        raise CommandNotFoundError(msg, str(where))
    vector_index(value, where)
    return value


def _changed(value: Any, scope: Scope, where: Where) -> Any:
    """The new definition of an index; its kind is told by what only a vector index has."""
    vector = isinstance(value, Document) and "fields" in value
    return _definition(value, VECTOR if vector else TEXT, scope, where)


_NAMED: Final[Mapping[str, Rule]] = {"id": Rule(_text), "name": Rule(_text)}

CREATE_SEARCH_INDEXES: Final[Mapping[str, Rule]] = {
    "createSearchIndexes": _target(WRITE_TARGET),
    "indexes": Rule(_indexes),
}
DROP_SEARCH_INDEX: Final[Mapping[str, Rule]] = {
    **_NAMED,
    "dropSearchIndex": _one(_target(WRITE_TARGET)),
}
LIST_SEARCH_INDEXES: Final[Mapping[str, Rule]] = {**_NAMED, "listSearchIndexes": _target(TARGET)}
UPDATE_SEARCH_INDEX: Final[Mapping[str, Rule]] = {
    **_NAMED,
    "definition": Rule(_changed),
    "updateSearchIndex": _one(_target(WRITE_TARGET)),
}
