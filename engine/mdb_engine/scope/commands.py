"""COMMANDS: one row per command, one rule per field. A command without a row is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from mdb_engine.exceptions import (
    CommandNotFoundError,
    FailedToParseError,
    IllegalOperationError,
    InvalidNamespaceError,
    MissingFieldError,
    UnauthorizedError,
)
from mdb_engine.rawbson import Document, render
from mdb_engine.scope import fields as f
from mdb_engine.scope.bulk import BULK_WRITE
from mdb_engine.scope.caps import Time, max_time, parse_time
from mdb_engine.scope.definitions import CLONE, COLL_MOD, CREATE, CREATE_INDEXES, VALIDATE
from mdb_engine.scope.denied import is_denied
from mdb_engine.scope.explaining import guard
from mdb_engine.scope.fields import DROP, GENERIC, may_write
from mdb_engine.scope.model import Notes, Physical, Rule, Scope, Where
from mdb_engine.scope.names import ADMIN, check_database, not_authorized
from mdb_engine.scope.search_definitions import (
    CREATE_SEARCH_INDEXES,
    DROP_SEARCH_INDEX,
    LIST_SEARCH_INDEXES,
    UPDATE_SEARCH_INDEX,
)
from mdb_engine.scope.statements import DELETES, DOCUMENTS, UPDATES
from mdb_engine.scope.streams import cluster_wide

SEARCHING: Final = "$vectorSearch"
"""The plan of a command with stages that need definitions of vector indexes."""


@dataclass(frozen=True, slots=True)
class CommandRow:
    """What happens to one command.

    Attributes:
        fields: a rule per field, besides the generic ones.
        writes: it needs the role readWrite.
        time: which maxTimeMS it gets.
        always: fields whose rule also runs, on None, when the client did not send them.
        required: fields that must be there. admin: it is run against the admin database.
        plan: the row of PLANS that carries it out; "" when it is forwarded.
        cursor: its reply may leave a cursor open. since: the server that brought it.
        cluster: whether this one may be run against the admin database too.
    """

    fields: Mapping[str, Rule]
    writes: bool
    time: Time = Time.DEFAULT
    always: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    admin: bool = False
    plan: str = ""
    cursor: bool = False
    since: tuple[int, int] = (6, 0)
    cluster: Callable[[Mapping[str, Any]], bool] | None = None


def _always(_command: Mapping[str, Any]) -> bool:
    """A cursor says itself where it belongs."""
    return True


def _row(fields: Mapping[str, Rule], *, writes: bool, **more: Any) -> CommandRow:
    return CommandRow(MappingProxyType(dict(fields)), writes, **more)


_WRITE: Final[Mapping[str, Rule]] = {
    "bypassDocumentValidation": f.PASS,
    "ordered": f.PASS,
}

COMMANDS: Final[Mapping[str, CommandRow]] = {
    "abortTransaction": _row(
        {"abortTransaction": f.PASS}, writes=False, time=Time.CLIENT, admin=True
    ),
    "aggregate": _row(
        {
            "aggregate": f.SOURCE,
            "allowDiskUse": f.DISK_USE,
            "bypassDocumentValidation": f.PASS,
            "collation": f.PASS,
            "cursor": f.CURSOR,
            "explain": f.FLAG,
            "hint": f.PASS,
            "let": f.EXPRESSION,
            "pipeline": f.PIPELINE,
        },
        writes=False,
        always=("allowDiskUse",),
        required=("pipeline",),
        cursor=True,
        cluster=cluster_wide,
    ),
    "bulkWrite": _row(
        BULK_WRITE,
        writes=True,
        admin=True,
        required=("ops", "nsInfo"),
        cursor=True,
        since=(8, 0),
    ),
    "cloneCollectionAsCapped": _row(
        CLONE,
        writes=True,
        time=Time.DEFINITION,
        always=("toCollection",),
        plan="cloneCollectionAsCapped",
    ),
    "collMod": _row(COLL_MOD, writes=True, time=Time.DEFINITION),
    "collStats": _row({"collStats": f.TARGET, "scale": f.PASS}, writes=False),
    "commitTransaction": _row(
        {"commitTransaction": f.PASS}, writes=False, time=Time.CLIENT, admin=True
    ),
    "convertToCapped": _row(
        {"convertToCapped": f.WRITE_TARGET, "size": f.PASS}, writes=True, time=Time.DEFINITION
    ),
    "count": _row(
        {
            "collation": f.PASS,
            "count": f.TARGET,
            "fields": f.DROPPED,
            "hint": f.PASS,
            "limit": f.PASS,
            "query": f.READ_QUERY,
            "skip": f.PASS,
        },
        writes=False,
        always=("query",),
    ),
    "create": _row(CREATE, writes=True, time=Time.DEFINITION, always=("pipeline",)),
    "createIndexes": _row(CREATE_INDEXES, writes=True, time=Time.DEFINITION, required=("indexes",)),
    "createSearchIndexes": _row(
        CREATE_SEARCH_INDEXES, writes=True, time=Time.DEFINITION, required=("indexes",)
    ),
    "dataSize": _row(
        {
            "dataSize": f.NAMESPACE,
            "estimate": f.PASS,
            "keyPattern": f.PASS,
            "max": f.PASS,
            "min": f.PASS,
        },
        writes=False,
    ),
    "dbStats": _row(
        {"dbStats": f.PASS, "freeStorage": f.PASS, "scale": f.PASS},
        writes=False,
        time=Time.IGNORED,
        plan="dbStats",
    ),
    "delete": _row(
        {**_WRITE, "delete": f.WRITE_TARGET, "deletes": DELETES, "let": f.EXPRESSION},
        writes=True,
        required=("deletes",),
    ),
    "distinct": _row(
        {
            "collation": f.PASS,
            "distinct": f.TARGET,
            "hint": f.PASS,
            "key": f.PASS,
            "query": f.READ_QUERY,
        },
        writes=False,
        always=("query",),
        required=("key",),
    ),
    "drop": _row(
        {"drop": f.WRITE_TARGET, "encryptedFields": f.UNSUPPORTED},
        writes=True,
        time=Time.DEFINITION,
        plan="drop",
    ),
    "dropDatabase": _row(
        {"dropDatabase": f.PASS}, writes=True, time=Time.IGNORED, plan="dropDatabase"
    ),
    "dropIndexes": _row(
        {"dropIndexes": f.WRITE_TARGET, "index": f.PASS}, writes=True, time=Time.DEFINITION
    ),
    "dropSearchIndex": _row(DROP_SEARCH_INDEX, writes=True, time=Time.DEFINITION),
    "explain": _row({"explain": f.PASS, "verbosity": f.PASS}, writes=False),
    "find": _row(
        {
            "allowDiskUse": f.DISK_USE,
            "allowPartialResults": f.PASS,
            "awaitData": f.PASS,
            "batchSize": f.BATCH,
            "collation": f.PASS,
            "filter": f.READ_FILTER,
            "find": f.TARGET,
            "hint": f.PASS,
            "let": f.EXPRESSION,
            "limit": f.LIMIT,
            "max": f.PASS,
            "min": f.PASS,
            "noCursorTimeout": f.DROPPED_FLAG,
            "oplogReplay": f.DROPPED_FLAG,
            "projection": f.PROJECTION,
            "returnKey": f.PASS,
            "showRecordId": f.PASS,
            "singleBatch": f.FLAG,
            "skip": f.PASS,
            "sort": f.PASS,
            "tailable": f.FLAG,
        },
        writes=False,
        always=("allowDiskUse", "filter", "limit", "projection"),
        cursor=True,
    ),
    "findAndModify": _row(
        {
            "arrayFilters": f.ARRAY_FILTERS,
            "bypassDocumentValidation": f.PASS,
            "collation": f.PASS,
            "fields": f.PROJECTION,
            "findAndModify": f.WRITE_TARGET,
            "hint": f.PASS,
            "let": f.EXPRESSION,
            "new": f.PASS,
            "query": f.WRITE_QUERY,
            "remove": f.PASS,
            "sort": f.PASS,
            "update": f.UPDATE,
            "upsert": f.PASS,
        },
        writes=True,
        always=("query", "fields"),
    ),
    "getMore": _row(
        {"batchSize": f.MORE, "collection": f.PASS, "getMore": f.PASS},
        writes=False,
        time=Time.REFUSED,
        always=("batchSize",),
        required=("collection",),
        cursor=True,
        cluster=_always,
    ),
    "insert": _row(
        {**_WRITE, "documents": DOCUMENTS, "insert": f.WRITE_TARGET},
        writes=True,
        required=("documents",),
    ),
    "killCursors": _row(
        {"cursors": f.PASS, "killCursors": f.PASS},
        writes=False,
        time=Time.IGNORED,
        required=("cursors",),
        cluster=_always,
    ),
    "listCollections": _row(
        {
            "authorizedCollections": f.FLAG_OR_NULL,
            "cursor": f.CURSOR,
            "filter": f.SHOWN_FILTER,
            "listCollections": f.PASS,
            "nameOnly": f.FLAG_OR_NULL,
        },
        writes=False,
        time=Time.IGNORED,
        plan="listCollections",
    ),
    "listDatabases": _row(
        {
            "authorizedDatabases": f.PASS,
            "filter": f.SHOWN_FILTER,
            "listDatabases": f.PASS,
            "nameOnly": f.PASS,
        },
        writes=False,
        time=Time.IGNORED,
        admin=True,
        plan="listDatabases",
    ),
    "listIndexes": _row({"cursor": f.CURSOR, "listIndexes": f.TARGET}, writes=False, cursor=True),
    "listSearchIndexes": _row(LIST_SEARCH_INDEXES, writes=False, cursor=True),
    "renameCollection": _row(
        {"dropTarget": f.FLAG, "renameCollection": f.OWN_NAMESPACE, "to": f.OWN_NAMESPACE},
        writes=True,
        time=Time.DEFINITION,
        admin=True,
        required=("to",),
        plan="renameCollection",
    ),
    "update": _row(
        {**_WRITE, "let": f.EXPRESSION, "update": f.WRITE_TARGET, "updates": UPDATES},
        writes=True,
        required=("updates",),
    ),
    "updateSearchIndex": _row(
        UPDATE_SEARCH_INDEX, writes=True, time=Time.DEFINITION, required=("definition",)
    ),
    "validate": _row(VALIDATE, writes=True, time=Time.DEFINITION),
}

ALIASES: Final[Mapping[str, str]] = {
    "collstats": "collStats",
    "datasize": "dataSize",
    "dbstats": "dbStats",
    "deleteIndexes": "dropIndexes",
    "findandmodify": "findAndModify",
}
_OUTER: Final = frozenset(
    {"$db", "autocommit", "lsid", "readConcern", "startTransaction", "txnNumber", "writeConcern"}
)
"""What a command that is explained leaves to the command that explains it."""

EXPLAINED: Final = frozenset(
    {"aggregate", "bulkWrite", "count", "delete", "distinct", "find", "findAndModify", "update"}
)


def command_name(command: Mapping[str, Any]) -> str:
    """The command's own name: its first key, aliases resolved. "" for an empty command."""
    first = next(iter(command), "")
    return ALIASES.get(first, first)


def row_of(name: str, db: str, value: Any = "") -> CommandRow:
    """The row of a command.

    Raises:
        UnauthorizedError: denied, or run against the wrong database.
        CommandNotFoundError: no such command.
    """
    row = COMMANDS.get(name)
    if row is None:
        if is_denied(name):
            raise UnauthorizedError(not_authorized(db, _spelled(name, value, db)))
        msg = f"no such command: '{name}'"
        raise CommandNotFoundError(msg)
    if row.admin and db != ADMIN:
        msg = f"{name} may only be run against the admin database."
        raise UnauthorizedError(msg)
    return row


def _spelled(name: str, value: Any, db: str) -> str:
    return f'{name}: {render(value)}, $db: "{db}"'


def rewrite(command: Mapping[str, Any], scope: Scope) -> Physical:
    """A logical command as the cluster may see it. Pure; the input is left alone.

    The command is what the app means, `$db` included; its values are views of BSON bytes
    (rawbson), so what no rule changes keeps its bytes. A command whose `plan` is named takes
    several exchanges; what is returned then are its checked fields, in logical form.

    Raises:
        RefusedError: some rule says no; nothing of the command may be sent.
    """
    name = command_name(command)
    db = command.get("$db")
    db = db if isinstance(db, str) else ""
    value = command[next(iter(command))] if command else None
    _check_version(name, scope)
    row = row_of(name, db, value)
    where = Where(name, db, command, notes=Notes())
    if row.writes:
        may_write(scope, where, render(value))
    wide = db == ADMIN and row.cluster is not None and row.cluster(command)
    if not (row.admin or wide or _explains_admin(name, value, db)):
        check_database(where.db, scope, _spelled(name, value, where.db))
    if name == "explain":
        return _explain(command, row, scope, where)
    fields = _fields(command, row, scope, where)
    fields["$db"] = ADMIN if row.admin else scope.database
    return _physical(fields, row, where)


def _check_version(name: str, scope: Scope) -> None:
    row = COMMANDS.get(name)
    if row is not None and scope.features.version < row.since:
        msg = f"no such command: '{name}'"
        raise CommandNotFoundError(msg)


def _explains_admin(name: str, value: Any, db: str) -> bool:
    """Whether a command is explained that belongs to the admin database."""
    row = COMMANDS.get(command_name(value)) if isinstance(value, Document) else None
    return name == "explain" and db == ADMIN and row is not None and row.admin


def _physical(fields: dict[str, Any], row: CommandRow, where: Where) -> Physical:
    notes = where.notes
    return Physical(
        command=fields,
        names=notes.names,
        refused=tuple(notes.refused),
        kept=None if notes.kept is None else tuple(notes.kept),
        caps=tuple(notes.caps),
        plan=SEARCHING if notes.searches else row.plan or notes.plan,
        then=notes.plan if notes.searches else "",
        allowance=notes.allowance,
        searches=tuple(notes.searches),
        stream=notes.stream,
    )


def _fields(
    command: Mapping[str, Any], row: CommandRow, scope: Scope, where: Where
) -> dict[str, Any]:
    for name in row.required:
        if name not in command:
            msg = f"BSON field '{where.at(name).field}' is missing but a required field"
            raise MissingFieldError(msg, str(where.at(name)))
    result: dict[str, Any] = {}
    for given, value in command.items():
        name = ALIASES.get(given, given) if not result else given
        if name == "maxTimeMS":
            continue
        rule = row.fields.get(name) or GENERIC.get(name)
        if rule is None or name in result:
            raise f.unknown_field(where.at(name))
        _set(result, name, rule.decoded(value, scope, where.at(name)))
    for name in row.always:
        if name not in command:
            _set(result, name, row.fields[name].decoded(None, scope, where.at(name)))
    _finish(command, row, result, scope, where)
    return result


def _set(result: dict[str, Any], name: str, value: Any) -> None:
    if value is not DROP:
        result[name] = value


def _finish(
    command: Mapping[str, Any], row: CommandRow, result: dict[str, Any], scope: Scope, where: Where
) -> None:
    """What depends on more than one field."""
    here = where.at("maxTimeMS")
    given = parse_time(command["maxTimeMS"], here) if "maxTimeMS" in command else None
    time = max_time(given, row.time, scope, here)
    if time is not None:
        result["maxTimeMS"] = time
    if where.command == "bulkWrite" and where.notes.refused:
        # Refused statements are merged into the results, which must then come all at once.
        result["cursor"] = {"batchSize": len(command["ops"])}
    if where.command == "aggregate" and "cursor" not in result and "explain" not in command:
        msg = "The 'cursor' option is required, except for aggregate with the explain argument"
        raise FailedToParseError(msg, str(where.at("cursor")))
    if command.get("explain") is True:
        # What is only explained is not carried out.
        where.notes.plan = ""


def _explain(command: Mapping[str, Any], row: CommandRow, scope: Scope, where: Where) -> Physical:
    """The inner command is rewritten as if it were run; the time limit is the outer one's."""
    inner = command["explain"]
    if not isinstance(inner, Document):
        raise f.wrong_type(inner, where.at("explain"), "object")
    name = command_name(inner)
    if name not in EXPLAINED:
        if is_denied(name):
            raise UnauthorizedError(not_authorized(where.db, f"explain: {name}"), "explain")
        msg = f"Cannot explain cmd: {name}"
        raise IllegalOperationError(msg, "explain")
    if inner.get("$db", where.db) != where.db:
        msg = "Mismatched $db in explain command."
        raise InvalidNamespaceError(msg, "explain.$db")
    here = Where(name, where.db, inner, ("explain",), where.notes)
    _check_version(name, scope)
    inner_row = row_of(name, where.db)
    if inner_row.writes:
        may_write(scope, here, render(inner[next(iter(inner))]))
    rewritten = _inner_fields(inner, inner_row, scope, here)
    fields = _fields(command, row, scope, where)
    where.notes.plan = ""
    fields["explain"] = rewritten
    guard(fields, here)
    fields["$db"] = ADMIN if inner_row.admin else scope.database
    return _physical(fields, row, where)


def _inner_fields(inner: Document, row: CommandRow, scope: Scope, where: Where) -> dict[str, Any]:
    bare = {name: value for name, value in inner.items() if name not in _OUTER}
    if where.command == "aggregate":
        bare.setdefault("cursor", Document(b"\5\0\0\0\0"))
    fields = _fields(bare, row, scope, where)
    fields.pop("maxTimeMS", None)
    return fields
