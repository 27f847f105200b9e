"""REPLIES: how an answer of the cluster becomes the app's own words again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bson.int64 import Int64

from mdb_engine.exceptions import OperationFailedError
from mdb_engine.rawbson import (
    Array,
    Document,
    encode,
    find,
    replace,
    walk,
    without,
)
from mdb_engine.scope import failures
from mdb_engine.scope.commands import command_name
from mdb_engine.scope.model import TAG_FIELD, Physical, Scope, StatementError, stops_at_errors
from mdb_engine.scope.texts import Words

_NOT_FOUND: Final = 26
ERROR_FIELDS: Final = frozenset({b"errmsg", b"errInfo", b"writeConcernError", b"writeErrors"})


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked: the logical command, what became of it, and for whom."""

    command: Mapping[str, Any]
    physical: Physical
    scope: Scope

    @property
    def name(self) -> str:
        """The command's name, aliases resolved."""
        return command_name(self.command)

    @property
    def db(self) -> str:
        """The logical database."""
        return str(self.command["$db"])

    @property
    def words(self) -> Words:
        """The translator for this reply."""
        return Words(self.scope, self.db, self.physical.names)

    @property
    def namespace(self) -> str:
        """The logical namespace that the reply names."""
        first = "collection" if self.name == "getMore" else next(iter(self.command))
        value = self.command[first]
        return f"{self.db}.{value if isinstance(value, str) else f'$cmd.{self.name}'}"


def answer(reply: bytes, asked: Asked) -> bytes:
    """The reply for the client; bytes that need no change are not touched.

    >>> from mdb_engine.rawbson import encode, Document
    >>> scope = Scope("shop", "mdb", ("shop",))
    >>> ping = Asked({"ping": 1, "$db": "shop"}, Physical({}), scope)
    >>> Document(answer(encode({"ok": 1.0}), ping))["ok"]
    1.0
    """
    if any(item.name in ERROR_FIELDS for item in walk(reply)):
        reply = _errors(reply, asked)
    rule = REPLIES.get(asked.name)
    return reply if rule is None else rule(reply, asked)


def _errors(reply: bytes, asked: Asked) -> bytes:
    words = asked.words
    for name in ERROR_FIELDS:
        found = find(reply, name.decode())
        if name in _FAILURES:
            found = _FAILURES[name](found)
        reply = replace(reply, name.decode(), words.texts(found))
    return reply


_FAILURES: Final[Mapping[bytes, Callable[[Any], Any]]] = {
    b"errInfo": failures.error_info,
    b"writeErrors": failures.write_errors,
}


def _cursor(reply: bytes, asked: Asked) -> bytes:
    cursor = find(reply, "cursor")
    if not isinstance(cursor, Document):
        return reply
    return replace(reply, "cursor", Document(replace(cursor.data, "ns", asked.namespace)))


def _aggregate(reply: bytes, asked: Asked) -> bytes:
    # `explain: false` is answered with a cursor.
    return explained(reply, asked) if find(reply, "cursor") is None else _cursor(reply, asked)


def _distinct(reply: bytes, asked: Asked) -> bytes:
    values = find(reply, "values")
    limits = asked.scope.limits
    if not isinstance(values, Array) or len(values) <= limits.max_results:
        return reply
    if limits.overflow_fails:
        raise too_many(limits.max_results)
    return replace(reply, "values", values[: limits.max_results])


def too_many(most: int) -> OperationFailedError:
    """The error for an app that wants to know when a result is not whole."""
    return OperationFailedError(f"result exceeds the limit of {most} documents")


_STATISTICS: Final = frozenset({
    "$clusterTime", "avgObjSize", "capped", "count", "freeStorageSize", "indexSizes", "max",
    "maxSize", "nindexes", "ns", "ok", "operationTime", "scaleFactor", "size", "storageSize",
    "timeseries", "totalIndexSize", "totalSize",
})  # fmt: skip
"""What of a collection's statistics is the app's business; the rest tells of the server."""


def _coll_stats(reply: bytes, asked: Asked) -> bytes:
    fields = dict(Document(reply))
    if not fields.get("ok"):
        return reply
    kept = {name: value for name, value in fields.items() if name in _STATISTICS}
    if "timeseries" in kept:
        kept["timeseries"] = asked.words.explained(kept["timeseries"])
    return encode({**kept, "ns": asked.namespace})


def _validate(reply: bytes, asked: Asked) -> bytes:
    for name in ("errors", "warnings"):
        texts = find(reply, name)
        if texts:
            reply = replace(reply, name, asked.words.texts(texts))
    return replace(reply, "ns", asked.namespace)


def _drop(reply: bytes, asked: Asked) -> bytes:
    return replace(reply, "ns", asked.namespace)


def _rename(reply: bytes, asked: Asked) -> bytes:
    """Between two logical databases the server finds other words for what is not there (6.0.5)."""
    source, target = (str(asked.command[n]).partition(".")[0] for n in ("renameCollection", "to"))
    if source == target or find(reply, "code") != _NOT_FOUND:
        return reply
    return replace(reply, "errmsg", "source namespace does not exist")


def _find_and_modify(reply: bytes, asked: Asked) -> bytes:
    """A retried one comes from a stored image, to which no projection was applied (6.0.5)."""
    if not asked.scope.hidden or find(reply, "retriedStmtId") is None:
        return reply
    value = find(reply, "value")
    if not isinstance(value, Document):
        return reply
    return replace(reply, "value", Document(without(value.data, TAG_FIELD)))


def _batch(reply: bytes, asked: Asked) -> bytes:
    """Statements that we took out come back under their own index, as if the server had."""
    physical = asked.physical
    if not physical.refused or not find(reply, "ok"):
        return reply
    fields = dict(Document(reply))
    kept = physical.kept or ()
    theirs = [_numbered(item, kept) for item in fields.get("writeErrors", ())]
    if theirs and stops_at_errors(asked.command):
        # The server stopped before it came to ours.
        return encode({**fields, "writeErrors": theirs})
    if "upserted" in fields:
        fields["upserted"] = [_numbered(item, kept) for item in fields["upserted"]]
    both = [*theirs, *map(write_error, physical.refused)]
    fields["writeErrors"] = sorted(both, key=lambda item: int(item["index"]))
    return encode(fields)


def _numbered(item: Mapping[str, Any], kept: tuple[int, ...]) -> dict[str, Any]:
    return {**item, "index": kept[item["index"]]}


def write_error(error: StatementError) -> dict[str, Any]:
    """A refused statement in the form of the server's own write errors."""
    return {"index": error.index, "code": error.code, "errmsg": error.message}


_BULK: Final = "$cmd.bulkWrite"
_COUNTERS: Final = ("nErrors", "nInserted", "nMatched", "nModified", "nUpserted", "nDeleted")


def _bulk_write(reply: bytes, asked: Asked) -> bytes:
    """The results of `bulkWrite`, statements that we took out among them."""
    cursor = find(reply, "cursor")
    if not isinstance(cursor, Document):
        return reply
    physical, fields = asked.physical, dict(Document(reply))
    items = _results(cursor, "firstBatch", asked)
    if physical.kept is not None:
        items = [{**item, "idx": physical.kept[item["idx"]]} for item in items]
    stopped = fields["nErrors"] and stops_at_errors(asked.command)
    if physical.refused and not stopped:
        items = sorted([*items, *map(_result, physical.refused)], key=lambda item: int(item["idx"]))
        fields["nErrors"] += len(physical.refused)
    batch = {**cursor, "ns": asked.namespace, "firstBatch": items}
    return encode({**fields, "cursor": batch})


def _results(cursor: Document, name: str, asked: Asked) -> list[Mapping[str, Any]]:
    """The items of a batch; only their errors hold texts of the server's."""
    words = asked.words
    return [
        {n: words.texts(v) if n in ("errmsg", "errInfo") else v for n, v in item.items()}
        for item in cursor[name]
    ]


def _result(error: StatementError) -> dict[str, Any]:
    return {"ok": 0.0, "idx": error.index, "code": error.code, "errmsg": error.message, "n": 0}


def _next_batch(reply: bytes, asked: Asked) -> bytes:
    cursor = find(reply, "cursor")
    if asked.command["collection"] == _BULK and isinstance(cursor, Document):
        items = _results(cursor, "nextBatch", asked)
        reply = replace(reply, "cursor", {**cursor, "nextBatch": items})
    return _cursor(reply, asked)


def refused_whole(asked: Asked) -> bytes:
    """The reply to a batch of which nothing is left to send."""
    if asked.name == "bulkWrite":
        counts = {**dict.fromkeys(_COUNTERS, 0), "nErrors": len(asked.physical.refused)}
        items = list(map(_result, asked.physical.refused))
        cursor = {"id": Int64(0), "firstBatch": items, "ns": asked.namespace}
        return encode({"cursor": cursor, **counts, "ok": 1.0})
    fields: dict[str, Any] = {"n": 0, "ok": 1.0}
    if asked.name == "update":
        fields = {"n": 0, "nModified": 0, "ok": 1.0}
    return encode({**fields, "writeErrors": [write_error(e) for e in asked.physical.refused]})


_NOT_SHOWN: Final = frozenset({"$clusterTime", "$readPreference", "lsid"})


def explained(reply: bytes, asked: Asked) -> bytes:
    """An explanation in which only the app's own names stand."""
    document = Document(reply)
    if not document.get("ok"):
        return reply
    words = asked.words
    host, _, port = asked.scope.address.rpartition(":")
    fields: dict[str, Any] = {}
    for name, value in document.items():
        if name == "command":
            fields[name] = _shown(asked)
        elif name == "serverInfo" and isinstance(value, Document):
            fields[name] = {**value, "host": host, "port": int(port)}
        else:
            fields[name] = words.explained(value)
    return encode(fields)


def _shown(asked: Asked) -> dict[str, Any]:
    """The explained command as the client sent it."""
    inner = asked.command.get("explain")
    command = inner if isinstance(inner, Document) else asked.command
    fields = {name: value for name, value in command.items() if name not in _NOT_SHOWN}
    return {**fields, "$db": asked.db}


REPLIES: Final[Mapping[str, Callable[[bytes, Asked], bytes]]] = {
    "aggregate": _aggregate,
    "bulkWrite": _bulk_write,
    "collStats": _coll_stats,
    "delete": _batch,
    "distinct": _distinct,
    "drop": _drop,
    "explain": explained,
    "find": _cursor,
    "findAndModify": _find_and_modify,
    "getMore": _next_batch,
    "insert": _batch,
    "listIndexes": _cursor,
    "listSearchIndexes": _cursor,
    "renameCollection": _rename,
    "update": _batch,
    "validate": _validate,
}
