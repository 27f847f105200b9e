"""Rules for the fields of commands: names, filters, pipelines, counts, and the generic ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mdb_engine.exceptions import (
    InvalidNamespaceError,
    InvalidOptionsError,
    TypeMismatchError,
    UnauthorizedError,
    UnknownFieldError,
)
from mdb_engine.rawbson import Array, Document
from mdb_engine.scope.caps import (
    batch_size,
    cursor_options,
    limit,
    more_batch_size,
    number,
)
from mdb_engine.scope.clauses import expression, read_filter, write_filter
from mdb_engine.scope.joins import EMPTY_DOCUMENT, Place, noted
from mdb_engine.scope.model import Role, Rule, Scope, Where
from mdb_engine.scope.names import not_authorized, type_name
from mdb_engine.scope.projections import projection
from mdb_engine.scope.stages import pipeline
from mdb_engine.scope.updates import array_filters, update

DROP: Final = object()
"""What a rule returns for a field that is checked but not forwarded."""

MAX_WRITE_TIMEOUT_MS: Final = 300_000


def wrong_type(value: Any, where: Where, expected: str) -> TypeMismatchError:
    """The server's words for a field of the wrong type."""
    path = ".".join((where.command, *where.path))
    msg = f"BSON field '{path}' is the wrong type '{type_name(value)}', expected type '{expected}'"
    return TypeMismatchError(msg, str(where))


def subfields(value: Any, known: frozenset[str], where: Where) -> Document:
    """A document that holds known fields only."""
    if not isinstance(value, Document):
        raise wrong_type(value, where, "object")
    for name in value:
        if name not in known:
            path = ".".join((where.command, *where.path, name))
            msg = f"BSON field '{path}' is an unknown field."
            raise UnknownFieldError(msg, str(where.at(name)))
    return value


def _pass(value: Any, _scope: Scope, _where: Where) -> Any:
    return value


def _drop(_value: Any, _scope: Scope, _where: Where) -> Any:
    return DROP


def _unsupported(_value: Any, _scope: Scope, where: Where) -> Any:
    msg = f"{where.path[-1]} is not supported"
    raise InvalidOptionsError(msg, str(where))


def _read_target(value: Any, scope: Scope, where: Where) -> Any:
    return noted(value, scope, where).physical


def _write_target(value: Any, scope: Scope, where: Where) -> Any:
    return noted(value, scope, where, write=True).physical


def _aggregate_target(value: Any, scope: Scope, where: Where) -> Any:
    if isinstance(value, str):
        return noted(value, scope, where).physical
    if number(value) != 1:
        raise wrong_type(value, where, "string")
    return 1


def _pipeline(value: Any, scope: Scope, where: Where) -> Any:
    source = where.owner.get("aggregate")
    collection = isinstance(source, str)
    first = value[0].first if isinstance(value, Array) and value and _is_stage(value[0]) else None
    place = Place(pipeline, guarded=collection, namespace=f"{where.db}.{source}")
    physical = pipeline(value, scope, where, place)
    if not collection and first != "$documents":
        msg = f"{{aggregate: 1}} is not valid for '{first}'; a collection is required."
        raise InvalidNamespaceError(msg, str(where))
    return physical


def _is_stage(value: Any) -> bool:
    return isinstance(value, Document)


def _optional(rule: Any) -> Any:
    """A rule for a field where null means absent, and absent stays so when the rule says None."""

    def apply(value: Any, scope: Scope, where: Where) -> Any:
        result = rule(value, scope, where)
        return DROP if result is None else result

    return apply


def _projection(value: Any, scope: Scope, where: Where) -> Any:
    if value is None and not scope.hidden:
        return DROP
    return projection(value, scope, where)


def _cursor(value: Any, scope: Scope, where: Where) -> Any:
    return DROP if value is None else cursor_options(value, scope, where)


def _disk_use(value: Any, scope: Scope, where: Where) -> Any:
    if value is True and not scope.limits.disk_use:
        msg = "allowDiskUse is not supported"
        raise InvalidOptionsError(msg, str(where))
    return False if value is None else value


def _read_concern(value: Any, _scope: Scope, where: Where) -> Any:
    return subfields(value, frozenset({"afterClusterTime", "atClusterTime", "level"}), where)


_WRITE_CONCERN: Final = frozenset({"fsync", "j", "provenance", "w", "wtimeout"})


def _write_concern(value: Any, _scope: Scope, where: Where) -> Any:
    """`w: 0` becomes `w: 1`, so that errors and limits are still seen; the wait is capped."""
    fields = dict(subfields(value, _WRITE_CONCERN, where))
    fields.pop("provenance", None)
    if number(fields.get("w")) == 0:
        fields["w"] = 1
    timeout = number(fields.get("wtimeout"))
    if timeout is not None and timeout > MAX_WRITE_TIMEOUT_MS:
        fields["wtimeout"] = MAX_WRITE_TIMEOUT_MS
    return fields


def _session_id(value: Any, _scope: Scope, where: Where) -> Any:
    if isinstance(value, Document) and set(value) != {"id"}:
        msg = "only the id of a session may be given"
        raise InvalidOptionsError(msg, str(where))
    return value


def _filter(value: Any, scope: Scope, where: Where) -> Any:
    if value is None and where.path[-1] in where.owner:
        raise wrong_type(value, where, "object")
    return read_filter(value, scope, where)


def _required_filter(value: Any, scope: Scope, where: Where) -> Any:
    return write_filter(EMPTY_DOCUMENT if value is None else value, scope, where)


def _more(value: Any, scope: Scope, _where: Where) -> Any:
    return more_batch_size(value, scope)


def may_write(scope: Scope, where: Where, name: str) -> None:
    """Refuse a command that writes to a credential that only reads.

    Raises:
        UnauthorizedError: role `read`.
    """
    if scope.role is not Role.READ_WRITE:
        raise UnauthorizedError(not_authorized(where.db, f"{where.command}: {name}"))


ARRAY_FILTERS: Final = Rule(array_filters)
BATCH: Final = Rule(_optional(batch_size))
CURSOR: Final = Rule(_cursor)
DISK_USE: Final = Rule(_disk_use)
DROPPED: Final = Rule(_drop)
EXPRESSION: Final = Rule(expression)
LIMIT: Final = Rule(_optional(limit))
MORE: Final = Rule(_more)
PASS: Final = Rule(_pass)
PIPELINE: Final = Rule(_pipeline)
PROJECTION: Final = Rule(_projection)
READ_FILTER: Final = Rule(_filter)
READ_QUERY: Final = Rule(read_filter)
SOURCE: Final = Rule(_aggregate_target)
TARGET: Final = Rule(_read_target)
UNSUPPORTED: Final = Rule(_unsupported)
UPDATE: Final = Rule(update)
WRITE_FILTER: Final = Rule(_required_filter)
WRITE_TARGET: Final = Rule(_write_target)

GENERIC: Final[Mapping[str, Rule]] = {
    "$clusterTime": DROPPED,
    "$db": PASS,
    "$readPreference": DROPPED,
    "apiDeprecationErrors": PASS,
    "apiStrict": PASS,
    "apiVersion": PASS,
    "autocommit": PASS,
    "comment": PASS,
    "lsid": Rule(_session_id),
    "readConcern": Rule(_read_concern),
    "recoveryToken": DROPPED,
    "startTransaction": PASS,
    "txnNumber": PASS,
    "writeConcern": Rule(_write_concern),
}
"""Fields that every command may carry; `maxTimeMS` has its own column in COMMANDS."""
