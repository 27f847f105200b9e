"""The one door between handles and the driver: a logical command goes in, the kernel looks first.

Handles hold closures of this module, which take logical commands only: whatever is asked through
them is rewritten, and no attribute of theirs leads to a client, a database or a collection.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import bson
from pymongo.asynchronous.database import AsyncDatabase

from mdb_engine.database import calls
from mdb_engine.database.bare import Bare, open_bare
from mdb_engine.database.door import Ask, Door, Options, laid_out, prepared
from mdb_engine.database.errors import in_words, translated
from mdb_engine.database.house import House, note
from mdb_engine.database.run import carry_out, exchange, failed
from mdb_engine.database.sessions import ScopedSession, driver_session
from mdb_engine.exceptions import RefusedError
from mdb_engine.observability.operations import Observer
from mdb_engine.scope.model import Scope, Where
from mdb_engine.scope.names import resolve
from mdb_engine.scope.replies import Asked, answer

__all__ = ["Ask", "Options", "Rim", "open_rim"]


@dataclass(frozen=True, slots=True)
class Rim:
    """What handles may do. Every member is a closure.

    Attributes:
        check: refuse at once what the kernel refuses; sends nothing. Gives what `ask` may be
            handed, so that it need not look again.
        ask: carry out one request.
        bare: the short way of a collection's calls.
        bulk: carry out several requests as one bulk write.
        run: any command of the kernel's table; gives the reply.
        scope: the app's scope now.
        streaming: note an open change stream.
        name: refuse a collection's name that the app cannot have.
    """

    name: Callable[[str], None]
    check: Callable[[Ask], Asked]
    ask: Callable[..., Awaitable[Any]]
    bare: Callable[[str, Options], Bare]
    bulk: Callable[[Sequence[Ask], Mapping[str, Any]], Awaitable[Any]]
    run: Callable[[Ask], Awaitable[dict[str, Any]]]
    scope: Callable[[], Scope]
    streaming: Callable[[Any], None]


def open_rim(
    database: AsyncDatabase[Any], scope: Callable[[], Scope], observer: Observer, house: House
) -> Rim:
    """The door of one app's handles.

    Args:
        database: the physical one.
        scope: the app's scope, read anew for each command: the ledger may have changed.
        observer: is told of every operation and refusal.
        house: what the process knows of what its apps hold.
    """
    door = Door(database, scope, observer, house)
    # Functions, not methods: a method leads to its object.
    return Rim(
        name=lambda collection: _name(door, collection),
        check=lambda ask: _check(door, ask),
        ask=lambda ask, seen=None: _ask(door, ask, seen),
        bare=lambda name, options: open_bare(door, name, options),
        bulk=lambda asks, more: _bulk(door, asks, more),
        run=lambda ask: _run(door, ask),
        scope=scope,
        streaming=lambda stream: note(house.streams, scope().slug, stream),
    )


def _name(door: Door, collection: str) -> None:
    scope = door.scope()
    where = Where("collection", scope.home[0], path=("name",))
    try:
        resolve(collection, scope, where, write=False)
    except RefusedError as error:
        door.observer.refused(scope.slug, "collection", error)
        raise


def _check(door: Door, ask: Ask) -> Asked:
    return prepared(ask, door.scope(), door.observer)


async def _ask(door: Door, ask: Ask, seen: Asked | None) -> Any:
    scope = door.scope()
    known = seen is not None and seen.scope is scope
    asked = seen if seen is not None and known else prepared(ask, scope, door.observer)
    call = calls.CALLS[ask.operation]
    door.enter(asked, ask.session)
    door.observer.saw(asked.command)
    with _watched(door, ask.operation, asked):
        if asked.physical.plan:
            reply = await _planned(door, asked, ask)
            return call.of_reply(reply, asked, ask.options.codec)
        return await call.run(laid_out(door, ask, asked))


async def _bulk(door: Door, asks: Sequence[Ask], more: Mapping[str, Any]) -> Any:
    found = [prepared(each, door.scope(), door.observer) for each in asks]
    for each in found:
        door.enter(each, asks[0].session)
    here = laid_out(door, replace(asks[0], more=more), found[0])
    with _watched(door, "bulk_write", found[0]):
        return await calls.bulk_write(here, found)


async def _run(door: Door, ask: Ask) -> dict[str, Any]:
    asked = prepared(ask, door.scope(), door.observer)
    door.enter(asked, ask.session)
    with _watched(door, asked.name, asked):
        if asked.physical.plan:
            reply = await _planned(door, asked, ask)
        else:
            raw = await _exchanged(door, asked.scope.slug, asked.physical.command, ask.session)
            reply = answer(raw, asked)
        error = failed(reply)
        if error is not None:
            raise translated(error, asked.words)
        await calls.not_left_open(door.database, asked, reply)
    found: dict[str, Any] = bson.decode(reply, codec_options=ask.options.codec)
    return found


async def _exchanged(
    door: Door, slug: str, command: Mapping[str, Any], session: ScopedSession | None
) -> bytes:
    """One physical command; what it took away may be made again at once."""
    raw = await exchange(door.database, command, driver_session(session))
    if failed(raw) is None:
        door.house.holdings.done(slug, command)
    return raw


async def _planned(door: Door, asked: Asked, request: Ask) -> bytes:
    token = secrets.token_hex(16)
    reply = await carry_out(
        door.database,
        asked,
        token,
        driver_session(request.session),
        lambda command: door.house.holdings.done(asked.scope.slug, command),
    )
    error = failed(reply)
    if error is not None:
        raise translated(error, asked.words)
    return reply


@contextmanager
def _watched(door: Door, operation: str, asked: Asked) -> Iterator[None]:
    """Errors in the app's words; every operation is counted and timed."""
    began, slug, fine = time.monotonic(), asked.scope.slug, False
    observer, calls_now = door.observer, door.house.begin(slug)
    try:
        with in_words(asked.words):
            yield
        fine = True
    except RefusedError as error:
        observer.refused(slug, asked.name, error)
        raise
    finally:
        calls_now.going -= 1
        observer.done(slug, operation, time.monotonic() - began, failed=not fine)
        for cap in asked.physical.caps:
            observer.capped(slug, cap)
