"""Why a document failed its validator, told of the document and validator that the app wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from mdb_engine.rawbson import Array, Document, encode, encode_array
from mdb_engine.scope.schemas import bare, bare_count, bare_pattern
from mdb_engine.scope.veil import unveil


def write_errors(value: Any) -> Any:
    """`writeErrors`, each with its `errInfo`."""
    if not isinstance(value, Array):
        return value
    told = [_with_info(item) if isinstance(item, Document) else item for item in value]
    return Array(encode_array(told))


def _with_info(item: Document) -> Mapping[str, Any]:
    return {**item, "errInfo": error_info(item["errInfo"])} if "errInfo" in item else item


def error_info(value: Any) -> Any:
    """`errInfo`: its `details` follow the validator; the document's own values stay."""
    if not isinstance(value, Document) or not isinstance(value.get("details"), Document):
        return value
    return Document(encode({**value, "details": _told(value["details"])}))


def _told(value: Any) -> Any:
    """A part of the explanation that is about the whole document."""
    if isinstance(value, Array):
        return [_told(item) for item in value]
    if not isinstance(value, Document):
        return value
    if "propertyName" in value:
        return {n: bare_pattern(v) if n == "regexMatched" else v for n, v in value.items()}
    return {name: _TOLD[name](v) if name in _TOLD else v for name, v in value.items()}


def _specified(value: Any) -> Any:
    if not isinstance(value, Document):
        return value
    return {name: _SPECIFIED[name](v) if name in _SPECIFIED else v for name, v in value.items()}


_SPECIFIED: Final[Mapping[str, Callable[[Any], Any]]] = {
    "$expr": unveil,
    "$jsonSchema": bare,
    "maxProperties": bare_count,
    "minProperties": bare_count,
}

_TOLD: Final[Mapping[str, Callable[[Any], Any]]] = {
    "clausesNotSatisfied": _told,
    "clausesSatisfied": _told,
    "details": _told,
    "failingDependencies": _told,
    "numberOfProperties": bare_count,
    "propertiesNotSatisfied": _told,
    "schemaRulesNotSatisfied": _told,
    "schemasNotSatisfied": _told,
    "specifiedAs": _specified,
}
"""Members that lead to other parts, or say what the tag changes (6.0.5)."""
