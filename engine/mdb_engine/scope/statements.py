"""Batches of statements: a refused one does not take the others along."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from mdb_engine.exceptions import (
    FailedToParseError,
    ImmutableFieldError,
    InvalidOptionsError,
    MissingFieldError,
    NotSingleValueFieldError,
    RefusedError,
    ResourceLimitExceeded,
)
from mdb_engine.rawbson import Array, Document
from mdb_engine.scope import fields
from mdb_engine.scope.clauses import tag
from mdb_engine.scope.fields import subfields, wrong_type
from mdb_engine.scope.model import Rule, Scope, StatementError, Where, stops_at_errors

STATEMENT_ERRORS: Final[tuple[type[RefusedError], ...]] = (
    FailedToParseError,
    ImmutableFieldError,
    InvalidOptionsError,
    NotSingleValueFieldError,
    ResourceLimitExceeded,
)
"""Refusals that the server itself would report for one statement; all others refuse the batch."""

_DELETE: Final[Mapping[str, Rule]] = {
    "collation": fields.PASS,
    "hint": fields.PASS,
    "limit": fields.PASS,
    "q": fields.WRITE_FILTER,
}
_UPDATE: Final[Mapping[str, Rule]] = {
    "arrayFilters": fields.ARRAY_FILTERS,
    "c": fields.EXPRESSION,
    "collation": fields.PASS,
    "hint": fields.PASS,
    "multi": fields.PASS,
    "q": fields.WRITE_FILTER,
    "sort": fields.PASS,
    "u": fields.UPDATE,
    "upsert": fields.PASS,
}


_STATEMENTS: Final[Mapping[str, Mapping[str, Rule]]] = {
    "deletes": _DELETE,
    "documents": {},
    "ops": {},
    "updates": _UPDATE,
}


def batch(
    values: Any, scope: Scope, where: Where, one: Callable[[Any, Scope, Where], Any]
) -> list[Any]:
    """The statements that are left. The same ones for the same batch: retries depend on it."""
    if not isinstance(values, Array | list):
        raise wrong_type(values, where, "array")
    rules = _STATEMENTS[where.path[-1]]
    for index, value in enumerate(values if rules else ()):
        _check_shape(rules, value, where.at(index))
    notes, kept, left = where.notes, [], []
    for index, value in enumerate(values):
        try:
            left.append(one(value, scope, where.at(index)))
        except STATEMENT_ERRORS as error:
            if where.path[0] == "explain":
                raise
            notes.refused.append(StatementError(index, error.code, error.reason))
            if stops_at_errors(where.owner):
                break
        else:
            kept.append(index)
    notes.kept = kept if notes.refused else None
    return left


def _check_shape(rules: Mapping[str, Rule], value: Any, where: Where) -> None:
    """What the server's parser looks at before the first statement is carried out."""
    statement = subfields(value, frozenset(rules), where)
    if "q" not in statement:
        # Nothing goes without the tenant's condition, not even what the server would refuse.
        msg = f"BSON field '{where.at('q').field}' is missing but a required field"
        raise MissingFieldError(msg, str(where.at("q")))
    if not isinstance(statement.get("u", statement), Array | Document):
        msg = "Update argument must be either an object or an array"
        raise FailedToParseError(msg, str(where.at("u")))


def _rewritten(
    rules: Mapping[str, Rule], statement: Document, scope: Scope, where: Where
) -> dict[str, Any]:
    here = where.inside(statement)
    return {n: rules[n].decoded(v, scope, here.at(n)) for n, v in statement.items()}


def _documents(values: Any, scope: Scope, where: Where) -> Any:
    return batch(values, scope, where, tag)


def _updates(values: Any, scope: Scope, where: Where) -> Any:
    return batch(values, scope, where, lambda v, s, w: _rewritten(_UPDATE, v, s, w))


def _deletes(values: Any, scope: Scope, where: Where) -> Any:
    return batch(values, scope, where, lambda v, s, w: _rewritten(_DELETE, v, s, w))


DELETES: Final = Rule(_deletes)
DOCUMENTS: Final = Rule(_documents)
UPDATES: Final = Rule(_updates)

SEQUENCES: Final = frozenset({"deletes", "documents", "nsInfo", "ops", "updates"})
"""Fields that may arrive, and leave, as a document sequence of the message."""
