"""`$jsonSchema` that does not notice the tag: what applies to the document itself makes room."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from mdb_engine.exceptions import QueryValidationError
from mdb_engine.rawbson import Array, Document, encode, encode_array
from mdb_engine.scope.caps import MAX_INT64, number
from mdb_engine.scope.model import TAG_FIELD, Where

_SPARING: Final = rf"^(?!{TAG_FIELD}\z)(?s:.*)(?:"
"""What stands in front of a client's pattern of names, and needs a bracket behind it."""


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
    return {f"{_SPARING}{pattern})": rule for pattern, rule in value.items()}


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


def bare(schema: Any) -> Any:
    """A stored schema as it is of documents without the tag: `spare_tag` undone.

    >>> from mdb_engine.rawbson import encode
    >>> stored = {"maxProperties": 3, "required": ["a", "app_id"]}
    >>> dict(bare(Document(encode(stored))))
    {'maxProperties': 2, 'required': ['a']}
    """
    if not isinstance(schema, Document):
        return schema
    found = {name: _BARE[name](v) if name in _BARE else v for name, v in schema.items()}
    return Document(encode({name: value for name, value in found.items() if value is not None}))


def _bare_properties(value: Any) -> Any:
    if not isinstance(value, Document) or TAG_FIELD not in value:
        return value
    return {name: rule for name, rule in value.items() if name != TAG_FIELD} or None


def _bare_required(value: Any) -> Any:
    if not isinstance(value, Array):
        return value
    return [name for name in value if name != TAG_FIELD] or None


def bare_pattern(pattern: str) -> str:
    """The client's own pattern of names."""
    ours = pattern.startswith(_SPARING) and pattern.endswith(")")
    return pattern[len(_SPARING) : -1] if ours else pattern


def _bare_patterns(value: Any) -> Any:
    if not isinstance(value, Document):
        return value
    return {bare_pattern(pattern): rule for pattern, rule in value.items()}


def bare_count(value: Any) -> Any:
    """One less: the tag does not count."""
    given = number(value)
    return given - 1 if given is not None and given > 0 else value


def _bare_all(value: Any) -> Any:
    return [bare(item) for item in value] if isinstance(value, Array) else value


def _bare_dependencies(value: Any) -> Any:
    if not isinstance(value, Document):
        return value
    return {name: bare(item) for name, item in value.items()}


_BARE: Final[Mapping[str, Callable[[Any], Any]]] = {
    "allOf": _bare_all,
    "anyOf": _bare_all,
    "dependencies": _bare_dependencies,
    "maxProperties": bare_count,
    "minProperties": bare_count,
    "not": bare,
    "oneOf": _bare_all,
    "patternProperties": _bare_patterns,
    "properties": _bare_properties,
    "required": _bare_required,
}
