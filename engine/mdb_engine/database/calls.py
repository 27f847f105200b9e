"""CALLS: one row per method of PyMongo; the rewritten parts of a command become its arguments.

Retries, batches of bulk writes, sessions and cursors stay the driver's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final

import bson
import pymongo
from pymongo import CursorType
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.operations import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.results import BulkWriteResult, DeleteResult, UpdateResult

from mdb_engine.database.feeds import Feed, empty_feed, feed_of
from mdb_engine.database.forms import Codec, handed, hint, ordered, pairs
from mdb_engine.database.house import House
from mdb_engine.database.run import exchange
from mdb_engine.exceptions import InvalidOptionsError
from mdb_engine.rawbson import Document, find
from mdb_engine.scope.model import Limits
from mdb_engine.scope.replies import Asked, too_many

Parts = Mapping[str, Any]
_PER_ROUND: Final = 1_000
"""Statements that the time limit of one command is for."""


@dataclass(frozen=True, slots=True)
class Here:
    """The driver's objects for one request, and what was asked."""

    database: AsyncDatabase[Any]
    asked: Asked
    session: AsyncClientSession | None
    more: Mapping[str, Any] = field(default_factory=dict)
    house: House = field(default_factory=House)

    @property
    def parts(self) -> Parts:
        """The physical command."""
        return self.asked.physical.command

    @property
    def target(self) -> AsyncCollection[Any]:
        """The physical collection."""
        return self.database[str(self.parts[next(iter(self.parts))])]

    @property
    def limits(self) -> Limits:
        """The app's."""
        return self.asked.scope.limits

    @property
    def seconds(self) -> float:
        """The command's time limit."""
        return float(self.parts.get("maxTimeMS", self.limits.default_time_ms)) / 1000

    def timed(self, statements: int = 1) -> AbstractContextManager[Any]:
        """The command's time limit, for methods that have no argument for it."""
        rounds = -(-statements // _PER_ROUND) or 1
        return pymongo.timeout(self.seconds * rounds)

    def options(self, *names: str) -> dict[str, Any]:
        """Fields of the command that the method takes under PyMongo's name, where they are."""
        found = {_NAMES[name]: (name, _FORMS.get(name, handed)) for name in names}
        return {
            given: form(self.parts[name])
            for given, (name, form) in found.items()
            if name in self.parts
        }


_NAMES: Final[Mapping[str, str]] = {
    "allowDiskUse": "allow_disk_use",
    "allowPartialResults": "allow_partial_results",
    "bypassDocumentValidation": "bypass_document_validation",
    "collation": "collation",
    "comment": "comment",
    "hint": "hint",
    "let": "let",
    "max": "max",
    "maxTimeMS": "max_time_ms",
    "min": "min",
    "ordered": "ordered",
    "projection": "projection",
    "returnKey": "return_key",
    "showRecordId": "show_record_id",
    "skip": "skip",
    "sort": "sort",
}
"""A command's field -> the argument of PyMongo's methods."""

_FORMS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "collation": ordered,
    "hint": hint,
    "max": ordered,
    "min": ordered,
    "sort": pairs,
}


def _collation(parts: Parts) -> Any:
    return ordered(parts["collation"]) if "collation" in parts else None


async def _insert_one(here: Here) -> None:
    document = handed(here.parts["documents"][0])
    options = here.options("bypassDocumentValidation", "comment")
    with here.timed():
        await here.target.insert_one(document, session=here.session, **options)


async def _insert_many(here: Here) -> None:
    documents = handed(here.parts["documents"])
    options = here.options("bypassDocumentValidation", "comment", "ordered")
    with here.timed(len(documents)):
        await here.target.insert_many(documents, session=here.session, **options)


def _updating(kind: str) -> Callable[[Here], Awaitable[UpdateResult]]:
    async def run(here: Here) -> UpdateResult:
        statement = here.parts["updates"][0]
        options = here.options("bypassDocumentValidation", "comment", "let")
        options |= _statement_options(statement, "arrayFilters", "hint", "sort")
        options["upsert"] = bool(statement.get("upsert", False))
        method = getattr(here.target, kind)
        with here.timed():
            result: UpdateResult = await method(
                handed(statement["q"]),
                handed(statement["u"]),
                collation=_collation(statement),
                session=here.session,
                **options,
            )
        return result

    return run


_STATEMENT: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "arrayFilters": ("array_filters", handed),
    "hint": ("hint", hint),
    "sort": ("sort", ordered),
}


def _statement_options(statement: Parts, *names: str) -> dict[str, Any]:
    rows = {name: _STATEMENT[name] for name in names if name in statement}
    return {given: form(statement[name]) for name, (given, form) in rows.items()}


def _deleting(kind: str) -> Callable[[Here], Awaitable[DeleteResult]]:
    async def run(here: Here) -> DeleteResult:
        statement = here.parts["deletes"][0]
        options = here.options("comment", "let") | _statement_options(statement, "hint")
        method = getattr(here.target, kind)
        with here.timed():
            result: DeleteResult = await method(
                handed(statement["q"]),
                collation=_collation(statement),
                session=here.session,
                **options,
            )
        return result

    return run


def _finding_one(kind: str) -> Callable[[Here], Awaitable[Any]]:
    async def run(here: Here) -> Any:
        parts = here.parts
        options = here.options("comment", "hint", "let", "sort")
        options |= {n: handed(parts[n]) for n in ("maxTimeMS",) if n in parts}
        options |= {"projection": handed(parts["fields"])} if "fields" in parts else {}
        options |= {"collation": _collation(parts)} if "collation" in parts else {}
        arguments = [handed(parts["query"])]
        if "update" in parts:
            arguments.append(handed(parts["update"]))
            options["return_document"] = bool(parts.get("new"))
            options["upsert"] = bool(parts.get("upsert"))
            for name in ("arrayFilters", "bypassDocumentValidation"):
                if name in parts:
                    given = "array_filters" if name == "arrayFilters" else name
                    options[given] = handed(parts[name])
        return await getattr(here.target, kind)(*arguments, session=here.session, **options)

    return run


def _batch(here: Here, asked_for: Any) -> int:
    """Documents per batch: never more than the app may have, also of those that follow."""
    most = here.limits.max_batch
    return min(asked_for, most) if asked_for else most


_TAILS: Final[Mapping[tuple[bool, bool], int]] = {
    (False, False): CursorType.NON_TAILABLE,
    (True, False): CursorType.TAILABLE,
    (True, True): CursorType.TAILABLE_AWAIT,
}


def find_options(here: Here) -> dict[str, Any]:
    """Arguments of PyMongo's `find()`, save the filter and the session."""
    parts = here.parts
    limit = int(parts.get("limit", 0))
    return here.options(
        "allowDiskUse", "allowPartialResults", "collation", "comment", "hint", "let", "max",
        "maxTimeMS", "min", "projection", "returnKey", "showRecordId", "skip", "sort",
    ) | {
        "limit": -limit if parts.get("singleBatch") else limit,
        "batch_size": _batch(here, parts.get("batchSize")),
        "cursor_type": _TAILS[bool(parts.get("tailable")), bool(parts.get("awaitData"))],
    }  # fmt: skip


async def _find(here: Here) -> Feed:
    here.house.cursor(here.asked.scope)
    options = find_options(here)
    cursor = here.target.find(handed(here.parts["filter"]), session=here.session, **options)
    if "max_await_time_ms" in here.more:
        cursor.max_await_time_ms(here.more["max_await_time_ms"])
    return feed_of(cursor, here.asked, most(here), here.house)


def most(here: Here) -> int | None:
    """How many documents the cap leaves; None when the caller asked for fewer anyway."""
    if here.parts.get("tailable"):
        return None
    limit = int(here.parts.get("limit", 0))
    wanted = here.asked.command.get("limit") or 0
    cut = not wanted or limit < wanted
    return limit if cut and here.asked.physical.allowance is None else None


_NATIVE: Final = ("allowDiskUse", "bypassDocumentValidation", "comment", "let", "maxTimeMS")


def aggregate_options(here: Here) -> dict[str, Any]:
    """Arguments of PyMongo's `aggregate()`, save the pipeline and the session."""
    parts = here.parts
    options = {name: handed(parts[name]) for name in _NATIVE if name in parts}
    options |= {"hint": _index(parts["hint"])} if "hint" in parts else {}
    options |= {"collation": _collation(parts)} if "collation" in parts else {}
    asked_for = parts.get("cursor", {}).get("batchSize")
    return {**options, "batchSize": 0 if asked_for == 0 else _batch(here, asked_for)}


def _index(value: Any) -> Any:
    return value if isinstance(value, str) else ordered(value)


async def _aggregate(here: Here) -> Feed:
    here.house.cursor(here.asked.scope)
    target = here.parts["aggregate"]
    place = here.target if isinstance(target, str) else here.database
    pipeline = handed(here.parts["pipeline"])
    options = aggregate_options(here)
    cursor = await place.aggregate(pipeline, session=here.session, **options)
    return feed_of(cursor, here.asked, here.limits.max_results, here.house)


async def _distinct(here: Here) -> list[Any]:
    parts = here.parts
    options = here.options("collation", "comment")
    options |= {"maxTimeMS": parts["maxTimeMS"]}
    options |= {"hint": _index(parts["hint"])} if "hint" in parts else {}
    found: list[Any] = await here.target.distinct(
        parts["key"], handed(parts["query"]), session=here.session, **options
    )
    most = here.limits.max_results
    if len(found) > most and here.limits.overflow_fails:
        raise too_many(most)
    return found[:most]


async def _watch(here: Here) -> Any:
    """An open change stream; the driver puts `$changeStream` in front of the rest itself."""
    here.house.stream(here.asked.scope)
    target, pipeline = here.parts["aggregate"], list(here.parts["pipeline"])
    place = here.target if isinstance(target, str) else here.database
    first = ordered(pipeline[0])["$changeStream"]
    options = {_STREAM[name]: value for name, value in first.items()}
    options |= here.options("collation", "comment")
    return await place.watch(
        handed(pipeline[1:]),
        batch_size=_batch(here, here.parts["cursor"].get("batchSize")),
        max_await_time_ms=here.more.get("max_await_time_ms"),
        session=here.session,
        **options,
    )


_STREAM: Final[Mapping[str, str]] = {
    "fullDocument": "full_document",
    "fullDocumentBeforeChange": "full_document_before_change",
    "resumeAfter": "resume_after",
    "showExpandedEvents": "show_expanded_events",
    "startAfter": "start_after",
    "startAtOperationTime": "start_at_operation_time",
}


def _no_documents(_reply: bytes, _asked: Asked, _codec: Codec) -> Feed:
    """What is left to read of an aggregation that a plan carried out: `$out` gives nothing."""
    return empty_feed()


def _decoded(reply: bytes, _asked: Asked, codec: Codec) -> Any:
    return bson.decode(reply, codec_options=codec)


@dataclass(frozen=True, slots=True)
class Call:
    """How one operation is carried out; `of_reply` makes its result when a plan did it."""

    run: Callable[[Here], Awaitable[Any]]
    of_reply: Callable[[bytes, Asked, Codec], Any] = _decoded


CALLS: Final[Mapping[str, Call]] = {
    "aggregate": Call(_aggregate, _no_documents),
    "delete_many": Call(_deleting("delete_many")),
    "delete_one": Call(_deleting("delete_one")),
    "distinct": Call(_distinct),
    "find": Call(_find),
    "find_one_and_delete": Call(_finding_one("find_one_and_delete")),
    "find_one_and_replace": Call(_finding_one("find_one_and_replace")),
    "find_one_and_update": Call(_finding_one("find_one_and_update")),
    "insert_many": Call(_insert_many),
    "insert_one": Call(_insert_one),
    "replace_one": Call(_updating("replace_one")),
    "update_many": Call(_updating("update_many")),
    "update_one": Call(_updating("update_one")),
    "watch": Call(_watch),
}


async def bulk_write(here: Here, prepared: Sequence[Asked]) -> BulkWriteResult:
    """Several rewritten batches as one bulk write of the driver."""
    requests = [request for asked in prepared for request in _requests(asked.physical.command)]
    options = here.options("bypassDocumentValidation", "comment", "let")
    with here.timed(len(requests)):
        return await here.target.bulk_write(
            requests, ordered=here.more.get("ordered", True), session=here.session, **options
        )


def _requests(command: Parts) -> list[Any]:
    name = next(iter(command))
    rows = {"insert": ("documents", _insert), "update": ("updates", _update)}
    field_name, make = rows.get(name, ("deletes", _delete))
    return [make(item) for item in command[field_name]]


def _insert(document: Any) -> InsertOne[Any]:
    return InsertOne(handed(document))


def _update(statement: Parts) -> Any:
    change = statement["u"]
    options = _statement_options(statement, "hint", "sort")
    options |= {"collation": _collation(statement), "upsert": bool(statement.get("upsert"))}
    first = next(iter(change), "") if isinstance(change, Mapping) else "$"
    if not str(first).startswith("$"):
        return ReplaceOne(handed(statement["q"]), handed(change), **options)
    options |= _statement_options(statement, "arrayFilters")
    kind = UpdateMany if statement.get("multi") else UpdateOne
    return kind(handed(statement["q"]), handed(change), **options)


def _delete(statement: Parts) -> Any:
    options = _statement_options(statement, "hint") | {"collation": _collation(statement)}
    kind = DeleteOne if statement.get("limit") else DeleteMany
    return kind(handed(statement["q"]), **options)


async def not_left_open(database: AsyncDatabase[Any], asked: Asked, reply: bytes) -> None:
    """End a cursor that a plain command has left open: nobody could read it on.

    Raises:
        InvalidOptionsError: the result takes more than one batch.
    """
    cursor = find(reply, "cursor")
    if not isinstance(cursor, Document) or not cursor.get("id"):
        return
    physical = asked.physical.command
    target = physical[next(iter(physical))]
    collection = target if isinstance(target, str) else f"$cmd.{asked.name}"
    kill = {"killCursors": collection, "cursors": [cursor["id"]], "$db": asked.scope.database}
    await exchange(database, kill, None)
    msg = "the result takes more than one batch: use find(), aggregate() or list_indexes()"
    raise InvalidOptionsError(msg)
