"""`$jsonSchema` that does not notice the tag: what applies to the document itself makes room."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from mdb_engine.exceptions import QueryValidationError
from mdb_engine.rawbson import Array, Document, encode, encode_array
from mdb_engine.scope.caps import MAX_INT64, number
from mdb_engine.scope.model import TAG_FIELD, Where


def spare_tag(schema: Any, where: Where) -> Any:
    """The schema, true of a tagged document when the client's is true of the bare one.

    Raises:
        QueryValidationError: the schema names the tag.
    """
    if not isinstance(schema, Document):
        return schema
    fields = {name: _KEYWORDS.get(name, _keep)(v, where.at(name)) for name, v in schema.items()}
    if "additionalProperties" in fields:
        properties = fields.get("properties")
        if properties is None or isinstance(properties, Mapping):
            fields["properties"] = {**(properties or {}), TAG_FIELD: {}}
    return Document(encode(fields))


def _keep(value: Any, _: Where) -> Any:
    return value


def _refuse_tag(names: Any, where: Where) -> None:
    if TAG_FIELD in names:
        msg = f"{TAG_FIELD} is reserved"
        raise QueryValidationError(msg, str(where))


def _properties(value: Any, where: Where) -> Any:
    if isinstance(value, Document):
        _refuse_tag(value, where)
    return value


def _required(value: Any, where: Where) -> Any:
    if isinstance(value, Array):
        _refuse_tag(list(value), where)
    return value


def _patterns(value: Any, _: Where) -> Any:
    """Each pattern, told not to match the tag; `.*` finds what stood anywhere in the name."""
    if not isinstance(value, Document):
        return value
    return {rf"^(?!{TAG_FIELD}\z)(?s:.*)(?:{pattern})": rule for pattern, rule in value.items()}


def _count(value: Any, _: Where) -> Any:
    """One more, for the tag; what is no count stays, for the server to refuse."""
    given = number(value)
    return min(given + 1, MAX_INT64) if given is not None and given >= 0 else value


def _all(value: Any, where: Where) -> Any:
    if not isinstance(value, Array):
        return value
    return Array(encode_array([spare_tag(v, where.at(i)) for i, v in enumerate(value)]))


def _enum(value: Any, where: Where) -> Any:
    """Whole documents to be equal to: no tagged one ever is."""
    if isinstance(value, Array) and any(isinstance(item, Document) for item in value):
        msg = "enum of whole documents is not supported"
        raise QueryValidationError(msg, str(where))
    return value


def _dependencies(value: Any, where: Where) -> Any:
    if not isinstance(value, Document):
        return value
    _refuse_tag(value, where)
    for name, item in value.items():
        _required(item, where.at(name))
    return {name: spare_tag(item, where.at(name)) for name, item in value.items()}


_KEYWORDS: Final[Mapping[str, Callable[[Any, Where], Any]]] = {
    "allOf": _all,
    "anyOf": _all,
    "dependencies": _dependencies,
    "enum": _enum,
    "maxProperties": _count,
    "minProperties": _count,
    "not": spare_tag,
    "oneOf": _all,
    "patternProperties": _patterns,
    "properties": _properties,
    "required": _required,
}
