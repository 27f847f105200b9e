"""The one door between handles and the driver: a logical command goes in, the kernel looks first.

Handles hold closures of this module, which take logical commands only: whatever is asked through
them is rewritten, and no attribute of theirs leads to a client, a database or a collection.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import bson
from bson.codec_options import CodecOptions
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from mdb_engine.database import calls
from mdb_engine.database.calls import Here
from mdb_engine.database.errors import in_words, translated
from mdb_engine.database.forms import Codec, logical, ordered
from mdb_engine.database.refusals import detailed, statement_error
from mdb_engine.database.run import carry_out, exchange, failed
from mdb_engine.database.sessions import ScopedSession, driver_session
from mdb_engine.exceptions import RefusedError
from mdb_engine.observability.operations import Observer
from mdb_engine.rawbson import Document
from mdb_engine.scope.commands import rewrite
from mdb_engine.scope.model import Scope, Where
from mdb_engine.scope.names import resolve
from mdb_engine.scope.replies import Asked, answer

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """How a handle reads and writes; None: as the client's URI says."""

    codec: Codec = field(default_factory=CodecOptions)
    read_preference: Any = None
    read_concern: ReadConcern | None = None
    write_concern: WriteConcern | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of a handle.

    Attributes:
        operation: a row of CALLS.
        fields: the logical command in Python's values, without `$db`; None members are left out.
        batch: its documents to store, as bytes, by field.
        more: what the driver's method needs beside the command.
    """

    operation: str
    fields: Fields
    options: Options
    session: ScopedSession | None = None
    batch: Mapping[str, Sequence[Document]] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rim:
    """What handles may do. Every member is a closure.

    Attributes:
        check: refuse at once what the kernel refuses; sends nothing.
        ask: carry out one request.
        bulk: carry out several requests as one bulk write.
        run: any command of the kernel's table; gives the reply.
        scope: the app's scope now.
        name: refuse a collection's name that the app cannot have.
    """

    name: Callable[[str], None]
    check: Callable[[Ask], None]
    ask: Callable[[Ask], Awaitable[Any]]
    bulk: Callable[[Sequence[Ask], Mapping[str, Any]], Awaitable[Any]]
    run: Callable[[Ask], Awaitable[dict[str, Any]]]
    scope: Callable[[], Scope]


_ON_ADMIN: Final = frozenset({"renameCollection"})


@dataclass(frozen=True, slots=True)
class _Door:
    """What lies behind a rim: the physical database, the app's scope now, who is told."""

    database: AsyncDatabase[Any]
    scope: Callable[[], Scope]
    observer: Observer


def open_rim(database: AsyncDatabase[Any], scope: Callable[[], Scope], observer: Observer) -> Rim:
    """The door of one app's handles.

    Args:
        database: the physical one.
        scope: the app's scope, read anew for each command: the ledger may have changed.
        observer: is told of every operation and refusal.
    """
    door = _Door(database, scope, observer)
    # Functions, not methods: a method leads to its object.
    return Rim(
        name=lambda collection: _name(door, collection),
        check=lambda ask: _check(door, ask),
        ask=lambda ask: _ask(door, ask),
        bulk=lambda asks, more: _bulk(door, asks, more),
        run=lambda ask: _run(door, ask),
        scope=scope,
    )


def _name(door: _Door, collection: str) -> None:
    scope = door.scope()
    where = Where("collection", scope.home[0], path=("name",))
    try:
        resolve(collection, scope, where, write=False)
    except RefusedError as error:
        door.observer.refused(scope.slug, "collection", error)
        raise


def _check(door: _Door, ask: Ask) -> None:
    _prepared(ask, door.scope(), door.observer)


async def _ask(door: _Door, ask: Ask) -> Any:
    asked = _prepared(ask, door.scope(), door.observer)
    call = calls.CALLS[ask.operation]
    door.observer.saw(asked.command)
    with _watched(door.observer, ask.operation, asked):
        if asked.physical.plan:
            reply = await _planned(door.database, asked, ask)
            return call.of_reply(reply, asked, ask.options.codec)
        return await call.run(_here(door.database, ask, asked))


async def _bulk(door: _Door, asks: Sequence[Ask], more: Mapping[str, Any]) -> Any:
    prepared = [_prepared(each, door.scope(), door.observer) for each in asks]
    here = _here(door.database, replace(asks[0], more=more), prepared[0])
    with _watched(door.observer, "bulk_write", prepared[0]):
        return await calls.bulk_write(here, prepared)


async def _run(door: _Door, ask: Ask) -> dict[str, Any]:
    asked = _prepared(ask, door.scope(), door.observer)
    with _watched(door.observer, asked.name, asked):
        if asked.physical.plan:
            reply = await _planned(door.database, asked, ask)
        else:
            session = driver_session(ask.session)
            raw = await exchange(door.database, asked.physical.command, session)
            reply = answer(raw, asked)
        error = failed(reply)
        if error is not None:
            raise translated(error, asked.words)
        await calls.not_left_open(door.database, asked, reply)
    found: dict[str, Any] = bson.decode(reply, codec_options=ask.options.codec)
    return found


def _prepared(ask: Ask, scope: Scope, observer: Observer) -> Asked:
    """The request as the cluster may see it.

    Raises:
        RefusedError: some rule says no, also of one statement of a batch.
    """
    name = next(iter(ask.fields))
    db = "admin" if name in _ON_ADMIN else scope.home[0]
    given = logical({**ask.fields, "$db": db}, ask.options.codec)
    command = {**given, **ask.batch} if ask.batch else given
    try:
        physical = rewrite(command, scope)
        if physical.refused:
            raise statement_error(physical, ask.batch, scope.limits)
    except RefusedError as error:
        observer.refused(scope.slug, name, error)
        raise detailed(error, name) from None
    return Asked(command, physical, scope)


def _here(database: AsyncDatabase[Any], request: Ask, asked: Asked) -> Here:
    """The driver's objects for one request; they live as long as it does."""
    options = request.options
    given = asked.physical.command.get("writeConcern")
    concern = WriteConcern(**ordered(given)) if given else options.write_concern
    target = database.with_options(
        codec_options=options.codec,
        read_preference=options.read_preference,
        read_concern=options.read_concern,
        write_concern=concern,
    )
    session = driver_session(request.session)
    return Here(target, asked, session, request.more)


async def _planned(database: AsyncDatabase[Any], asked: Asked, request: Ask) -> bytes:
    token = secrets.token_hex(16)
    reply = await carry_out(database, asked, token, driver_session(request.session))
    error = failed(reply)
    if error is not None:
        raise translated(error, asked.words)
    return reply


@contextmanager
def _watched(observer: Observer, operation: str, asked: Asked) -> Iterator[None]:
    """Errors in the app's words; every operation is counted and timed."""
    began, slug, fine = time.monotonic(), asked.scope.slug, False
    try:
        with in_words(asked.words):
            yield
        fine = True
    except RefusedError as error:
        observer.refused(slug, asked.name, error)
        raise
    finally:
        observer.done(slug, operation, time.monotonic() - began, failed=not fine)
        for cap in asked.physical.caps:
            observer.capped(slug, cap)
