"""Rules for the fields of commands: names, filters, pipelines, counts, and the generic ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from mdb_engine.exceptions import (
    FailedToParseError,
    InvalidNamespaceError,
    InvalidOptionsError,
    NoDocumentError,
    QueryValidationError,
    RefusedError,
    TypeMismatchError,
    UnauthorizedError,
    UnknownFieldError,
)
from mdb_engine.rawbson import Document
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
from mdb_engine.scope.names import check_database, not_authorized, type_name
from mdb_engine.scope.projections import projection
from mdb_engine.scope.stages import SOURCELESS, pipeline
from mdb_engine.scope.updates import array_filters, update
from mdb_engine.scope.walk import check_filter

DROP: Final = object()
"""What a rule returns for a field that is checked but not forwarded."""

MAX_WRITE_TIMEOUT_MS: Final = 300_000


def wrong_type(value: Any, where: Where, expected: str) -> RefusedError:
    """The server's words for a field of the wrong type."""
    if value is None and expected == "array":
        msg = f"invalid parameter: expected an object ({where.path[-1]})"
        return NoDocumentError(msg, str(where))
    msg = (
        f"BSON field '{where.field}' is the wrong type '{type_name(value)}',"
        f" expected type '{expected}'"
    )
    if where.command == "find" and where.path[-1] in ("filter", "projection"):
        msg = f"Expected field {where.path[-1]}to be of type object"
    return TypeMismatchError(msg, str(where))


def subfields(value: Any, known: frozenset[str], where: Where) -> Document:
    """A document that holds known fields only."""
    if not isinstance(value, Document):
        raise wrong_type(value, where, "object")
    for name in value:
        if name not in known:
            raise unknown_field(where.at(name))
    return value


def unknown_field(where: Where) -> UnknownFieldError:
    """The server's words for a field that a command does not know."""
    return UnknownFieldError(f"BSON field '{where.field}' is an unknown field.", str(where))


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
    given = number(value)
    if given is None:
        msg = f"collection name has invalid type: {type_name(value)}"
        raise TypeMismatchError(msg, str(where))
    if given != 1:
        msg = "Invalid command format: the 'aggregate' field must specify a collection name or 1"
        raise FailedToParseError(msg, str(where))
    return 1


def _namespace(*, write: bool) -> Rule:
    """A rule for `db.collection`; the database is one of the app's own logical ones."""

    def apply(value: Any, scope: Scope, where: Where) -> Any:
        if not isinstance(value, str) and where.path[-1] == where.command:
            msg = f"collection name has invalid type {type_name(value)}"
            raise QueryValidationError(msg, str(where))
        if not isinstance(value, str):
            raise wrong_type(value, where, "string")
        db, dot, name = value.partition(".")
        if not dot:
            msg = f"Invalid namespace specified '{value}'"
            raise InvalidNamespaceError(msg, str(where))
        check_database(db, scope, where.command)
        target = noted(name, scope, replace(where, db=db), write=write)
        return f"{scope.database}.{target.physical}"

    return Rule(apply)


def _pipeline(value: Any, scope: Scope, where: Where) -> Any:
    source = where.owner.get("aggregate")
    collection = isinstance(source, str)
    physical_source = noted(source, scope, where).physical if collection else ""
    place = Place(
        pipeline, guarded=collection, namespace=f"{where.db}.{source}", source=physical_source
    )
    physical = pipeline(value, scope, where, place)
    first = value[0].first if value else None
    if not collection and first not in SOURCELESS:
        kind = f"'{first}'; a collection is required." if first else "an empty pipeline."
        msg = f"{{aggregate: 1}} is not valid for {kind}"
        raise InvalidNamespaceError(msg, str(where))
    return physical


def _flag(value: Any, _scope: Scope, where: Where) -> Any:
    if isinstance(value, bool):
        return value
    if where.path == ("explain",):
        msg = "explain must be a boolean"
    elif where.command in ("aggregate", "find"):
        msg = f"Field '{where.path[-1]}' should be a boolean value, but found: {type_name(value)}"
    else:
        raise wrong_type(value, where, "bool")
    raise TypeMismatchError(msg, str(where))


def _dropped_flag(value: Any, scope: Scope, where: Where) -> Any:
    _flag(value, scope, where)
    return DROP


def _flag_or_null(value: Any, scope: Scope, where: Where) -> Any:
    return DROP if value is None else _flag(value, scope, where)


def _optional(rule: Any) -> Any:
    """A rule for a field where null means absent, and absent stays so when the rule says None."""

    def apply(value: Any, scope: Scope, where: Where) -> Any:
        result = rule(value, scope, where)
        return DROP if result is None else result

    return apply


def _projection(value: Any, scope: Scope, where: Where) -> Any:
    if value is None and where.command == "find" and where.path[-1] in where.owner:
        raise wrong_type(value, where, "object")
    if value is None and not scope.hidden:
        return DROP
    if value is not None and not isinstance(value, Document):
        raise wrong_type(value, where, "object")
    return projection(value, scope, where)


def _cursor(value: Any, scope: Scope, where: Where) -> Any:
    if where.command == "aggregate":
        return cursor_options(value, scope, where)
    if value is None:
        return DROP
    return cursor_options(subfields(value, frozenset({"batchSize"}), where), scope, where)


def _disk_use(value: Any, scope: Scope, where: Where) -> Any:
    """Never left out: the server's own default is that everybody may (6.0)."""
    if where.path[-1] not in where.owner:
        return False
    if _flag(value, scope, where) and not scope.limits.disk_use:
        msg = "allowDiskUse is not supported"
        raise InvalidOptionsError(msg, str(where))
    return value


def _read_concern(value: Any, _scope: Scope, where: Where) -> Any:
    known = frozenset({"afterClusterTime", "atClusterTime", "level"})
    if where.command in _LISTS:
        _check_local(value, where)
    if not isinstance(value, Document):
        return value  # the server refuses it, each command in its own words
    for name in value:
        if name not in known:
            msg = f"Unrecognized option in readConcern: {name}"
            raise InvalidOptionsError(msg, str(where.at(name)))
    return value


_LISTS: Final = frozenset({"dbStats", "killCursors", "listCollections", "listDatabases"})
"""Commands whose plans do not hand a read concern on."""

_LEVELS: Final = ("local", "majority", "linearizable", "available", "snapshot")


def _check_local(value: Any, where: Where) -> None:
    """The server's words for a read concern of a command that reads what is there now."""
    if not isinstance(value, Document):
        msg = "readConcern field should be an object"
        raise FailedToParseError(msg, str(where))
    level = value.get("level", "local")
    if not isinstance(level, str):
        msg = f'"level" had the wrong type. Expected string, found {type_name(level)}'
        raise TypeMismatchError(msg, str(where.at("level")))
    if level not in _LEVELS:
        *others, last = map(repr, _LEVELS)
        msg = f"readConcern.level must be either {', '.join(others)}, or {last}"
        raise FailedToParseError(msg, str(where.at("level")))
    if level != "local":
        shown = f'{{ readConcern: {{ level: "{level}", provenance: "clientSupplied" }} }}'
        reason = "caused by :: read concern not supported"
        msg = f"Command {where.command} does not support {shown} :: {reason}"
        raise InvalidOptionsError(msg, str(where.at("level")))


_READERS: Final = frozenset({
    "collStats", "count", "dataSize", "dbStats", "distinct", "explain", "find", "getMore",
    "killCursors", "listCollections", "listDatabases", "listIndexes", "validate",
})  # fmt: skip
"""Commands that know no write concern."""

_WRITE_CONCERN: Final = frozenset({"fsync", "j", "provenance", "w", "wtimeout"})


def _write_concern(value: Any, _scope: Scope, where: Where) -> Any:
    """`w: 0` becomes `w: 1`, so that errors and limits are still seen; the wait is capped."""
    if where.command in _READERS:
        raise InvalidOptionsError("Command does not support writeConcern", str(where))
    if not isinstance(value, Document):
        return value  # the server refuses it, each command in its own words
    for name in value:
        if name not in _WRITE_CONCERN:
            msg = f"BSON field 'WriteConcernOptions.{name}' is an unknown field."
            raise UnknownFieldError(msg, str(where.at(name)))
    fields = dict(value)
    fields.pop("provenance", None)
    acknowledged = number(fields.get("w"))
    if acknowledged is not None and not abs(acknowledged) >= 1:
        # The server cuts fractions off and takes NaN for 0 (6.0.5).
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


def _write_query(value: Any, scope: Scope, where: Where) -> Any:
    return write_filter(EMPTY_DOCUMENT if value is None else value, scope, where)


def _shown_filter(value: Any, scope: Scope, where: Where) -> Any:
    """A filter on names and sizes, which a plan applies to logical documents."""
    if value is not None:
        check_filter(value, scope, where)
    return value


def _more(value: Any, scope: Scope, where: Where) -> Any:
    return more_batch_size(value, scope, where)


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
DROPPED_FLAG: Final = Rule(_dropped_flag)
EXPRESSION: Final = Rule(expression)
FLAG: Final = Rule(_flag)
FLAG_OR_NULL: Final = Rule(_flag_or_null)
LIMIT: Final = Rule(_optional(limit))
MORE: Final = Rule(_more)
NAMESPACE: Final = _namespace(write=False)
OWN_NAMESPACE: Final = _namespace(write=True)
PASS: Final = Rule(_pass)
PIPELINE: Final = Rule(_pipeline)
PROJECTION: Final = Rule(_projection)
READ_FILTER: Final = Rule(_filter)
READ_QUERY: Final = Rule(read_filter)
SHOWN_FILTER: Final = Rule(_shown_filter)
SOURCE: Final = Rule(_aggregate_target)
TARGET: Final = Rule(_read_target)
UNSUPPORTED: Final = Rule(_unsupported)
UPDATE: Final = Rule(update)
WRITE_FILTER: Final = Rule(write_filter)
WRITE_QUERY: Final = Rule(_write_query)
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
