"""`bulkWrite` (8.0): statements of all kinds on several collections, each as it would be alone.

Source: MongoDB manual, "bulkWrite (database command)"; driver specification "Bulk Write".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mdb_engine.exceptions import MissingFieldError, QueryValidationError
from mdb_engine.rawbson import Array
from mdb_engine.scope import fields as f
from mdb_engine.scope.caps import number
from mdb_engine.scope.clauses import tag
from mdb_engine.scope.fields import subfields, wrong_type
from mdb_engine.scope.model import Rule, Scope, Where
from mdb_engine.scope.statements import batch

_OPS: Final[Mapping[str, Mapping[str, Rule]]] = {
    "delete": {
        "collation": f.PASS,
        "delete": f.PASS,
        "filter": f.WRITE_FILTER,
        "hint": f.PASS,
        "multi": f.PASS,
    },
    "insert": {"document": Rule(tag), "insert": f.PASS},
    "update": {
        "arrayFilters": f.ARRAY_FILTERS,
        "collation": f.PASS,
        "constants": f.EXPRESSION,
        "filter": f.WRITE_FILTER,
        "hint": f.PASS,
        "multi": f.PASS,
        "sort": f.PASS,
        "update": f.PASS,
        "updateMods": f.UPDATE,
        "upsert": f.PASS,
    },
}
"""Kind of a statement, its first field -> a rule per field."""

_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "delete": ("filter",),
    "insert": ("document",),
    "update": ("filter", "updateMods"),
}


def _ops(values: Any, scope: Scope, where: Where) -> Any:
    return batch(values, scope, where, _op)


def _op(value: Any, scope: Scope, where: Where) -> dict[str, Any]:
    kind = next(iter(value), "") if isinstance(value, Mapping) else ""
    rules = _OPS.get(kind)
    if rules is None:
        msg = "a statement of bulkWrite begins with insert, update or delete"
        raise QueryValidationError(msg, str(where))
    statement = subfields(value, frozenset(rules), where)
    for name in _REQUIRED[kind]:
        if name not in statement:
            msg = f"BSON field 'bulkWrite.ops.{name}' is missing but a required field"
            raise MissingFieldError(msg, str(where.at(name)))
    _check_place(statement[kind], where.at(kind))
    here = where.inside(statement)
    return {n: rules[n].decoded(v, scope, here.at(n)) for n, v in statement.items()}


def _check_place(value: Any, where: Where) -> None:
    """A statement names its collection by its place in `nsInfo`."""
    given = number(value)
    spaces = where.owner.get("nsInfo")
    count = len(spaces) if isinstance(spaces, Array | list) else 0
    if given is None or given != given // 1 or not 0 <= given < count:
        msg = f"BulkWrite ops entry {where.path[-2]} has an invalid nsInfo index."
        raise QueryValidationError(msg, str(where))


_SPACE: Final = frozenset({"ns"})


def _spaces(values: Any, scope: Scope, where: Where) -> Any:
    if not isinstance(values, Array | list):
        raise wrong_type(values, where, "array")
    return [_space(value, scope, where.at(index)) for index, value in enumerate(values)]


def _space(value: Any, scope: Scope, where: Where) -> dict[str, Any]:
    ns = subfields(value, _SPACE, where).get("ns")
    return {"ns": f.OWN_NAMESPACE.decoded(ns, scope, where.at("ns"))}


BULK_WRITE: Final[Mapping[str, Rule]] = {
    "bulkWrite": f.PASS,
    "bypassDocumentValidation": f.PASS,
    "cursor": f.CURSOR,
    "errorsOnly": f.FLAG,
    "let": f.EXPRESSION,
    "nsInfo": Rule(_spaces),
    "ops": Rule(_ops),
    "ordered": f.PASS,
}
