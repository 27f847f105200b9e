"""The short way of a collection's calls: what the kernel says of them is asked once, not each time.

A specimen of the call, whose filter holds a mark, goes the long way: the kernel checks it and says
what stands beside the mark. Later calls that differ in plain values only (`scope.plain`) are filled
into that. With another scope the specimen is taken again; what is not plain goes the long way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

import bson
import pymongo
from bson.codec_options import TypeRegistry
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import PyMongoError
from pymongo.results import DeleteResult, UpdateResult

from mdb_engine.database.calls import Here, aggregate_options, find_options, most
from mdb_engine.database.door import Ask, Door, Options, laid_out, prepared
from mdb_engine.database.errors import translated
from mdb_engine.database.feeds import feed_of, whole_of
from mdb_engine.database.forms import handed
from mdb_engine.database.house import House
from mdb_engine.database.sessions import ScopedSession, driver_session
from mdb_engine.exceptions import MongoDBEngineError, RefusedError
from mdb_engine.observability.operations import Tally
from mdb_engine.rawbson import Document
from mdb_engine.scope import plain
from mdb_engine.scope.model import Scope
from mdb_engine.scope.replies import Asked
from mdb_engine.scope.texts import Words

KEPT: Final = 500
"""Specimens of one collection; then they are taken anew."""

LONGEST: Final = 8_192
"""Bytes of a command that is remembered."""

WRITING: Final = frozenset({"$merge", "$out"})
"""Last stages that may make a collection, which is looked at each time."""

COUNTING: Final = {"$group": {"_id": 1, "n": {"$sum": 1}}}

_OF_ONE: Final = frozenset({"batch_size", "cursor_type", "limit"})

Work = Awaitable[Any]
Opener = Callable[[bool], Work | None]
"""Opens a cursor: gives its feed, or (True) all of its documents and what is left of it. None when
the rules have changed since, so that it must not."""


@dataclass(slots=True)
class Prepared:
    """What the long way made of a specimen.

    Attributes:
        scope: by which it was rewritten.
        target: the driver's collection. send: its method.
        guard: what stands beside the filter; None: the whole was a specimen of itself.
        options: arguments of the method. tail: stages behind the first one.
        seconds: the time limit, for methods that have no argument for it.
        caps: limits that were applied. place: its key. tag: what a document gets.
    """

    scope: Scope
    target: AsyncCollection[Any]
    send: Callable[..., Any]
    guard: RawBSONDocument | None
    options: Mapping[str, Any]
    seconds: float
    words: Words
    tally: Tally
    asked: Asked
    house: House
    most: int | None = None
    tail: Sequence[Any] = ()
    caps: tuple[str, ...] = ()
    place: Any = None
    tag: bytes = b""

    def guarded(self, condition: plain.Plain) -> Any:
        """The filter that the kernel would make of a plain one."""
        return {"$and": [self.guard, condition]} if condition else self.guard


@dataclass(frozen=True, slots=True)
class Bare:
    """The short way of one collection. Each gives None where the long way must be taken.

    Attributes:
        find_one: (filter, session). count: (filter, session).
        insert_one: (document with its `_id`, session).
        update: (kind, filter, update, session). delete: (kind, filter, session).
        find: (fields of the command, session). aggregate: (fields, session); both give what
            opens the feed.
    """

    find_one: Callable[[Any, ScopedSession | None], Work | None]
    count: Callable[[Any, ScopedSession | None], Work | None]
    insert_one: Callable[[Any, ScopedSession | None], Work | None]
    update: Callable[[str, Any, Any, ScopedSession | None], Work | None]
    delete: Callable[[str, Any, ScopedSession | None], Work | None]
    find: Callable[[Mapping[str, Any], ScopedSession | None], Opener | None]
    aggregate: Callable[[Mapping[str, Any], ScopedSession | None], Opener | None]


@dataclass(slots=True)
class _Short:
    """One collection of one handle, and its specimens."""

    door: Door
    name: str
    options: Options
    plain_codec: bool
    kept: dict[Any, Prepared | None] = field(default_factory=dict)
    scope: Scope | None = None

    def ready(self, key: Any, make: Make) -> Prepared | None:
        """The prepared call of that key under the scope that holds now."""
        scope = self.door.scope()
        if scope is not self.scope or len(self.kept) > KEPT:
            self.kept.clear()
            self.scope = scope
        try:
            return self.kept[key]
        except KeyError:
            made = make(self, key) if self.plain_codec else None
            if made is not None:
                made.place = key
            self.kept[key] = made
            return made


Make = Callable[[_Short, Any], Prepared | None]


def open_bare(door: Door, name: str, options: Options) -> Bare:
    """The short way of a collection; values of custom types always go the long one."""
    short = _Short(door, name, options, options.codec.type_registry == TypeRegistry())
    # Functions, not methods: a method leads to its object.
    return Bare(
        find_one=lambda value, session: _find_one(short, value, session),
        count=lambda value, session: _count(short, value, session),
        insert_one=lambda value, session: _insert_one(short, value, session),
        update=lambda kind, value, change, session: _update(short, kind, (value, change), session),
        delete=lambda kind, value, session: _delete(short, kind, value, session),
        find=lambda fields, session: _find(short, fields, session),
        aggregate=lambda fields, session: _aggregate(short, fields, session),
    )


def _made(
    short: _Short, ask: Ask, found: Callable[[Mapping[str, Any]], Any]
) -> tuple[Here, Prepared] | None:
    """Send a specimen the long way, as far as the wire; None when it does not come out as expected.

    Args:
        short: the collection.
        ask: the specimen.
        found: where its filter stands in the physical command.
    """
    scope = short.door.scope()
    asked = prepared(ask, scope, short.door.observer)
    physical = asked.physical
    if physical.plan or physical.stream:
        return None
    guard = plain.condition_of(found(physical.command))
    here = laid_out(short.door, ask, asked)
    target = here.target
    made = Prepared(
        scope,
        target,
        target.find,
        None if guard is None else handed(guard),
        {},
        here.seconds,
        asked.words,
        short.door.observer.tally(scope.slug, ask.operation),
        asked,
        short.door.house,
        caps=physical.caps,
    )
    return here, made


def _concern(short: _Short) -> Any:
    concern = short.options.write_concern
    return None if concern is None else concern.document


async def _told(short: _Short, ready: Prepared, work: Work) -> Any:
    """Errors in the app's words; every operation is counted and timed."""
    calls, began, failed = short.door.house.begin(ready.scope.slug), monotonic(), True
    try:
        result = await work
        failed = False
    except PyMongoError as error:
        if isinstance(error, MongoDBEngineError):
            raise
        raise translated(error, ready.words) from None
    except RefusedError as error:
        short.door.observer.refused(ready.scope.slug, ready.asked.name, error)
        raise
    finally:
        calls.going -= 1
        ready.tally.add(monotonic() - began, failed)
        for cap in ready.caps:
            short.door.observer.capped(ready.scope.slug, cap)
    return result


def _prepare_find_one(short: _Short, _key: Any) -> Prepared | None:
    fields = {"find": short.name, "filter": plain.MARK, "limit": 1, "singleBatch": True}
    made = _made(short, Ask("find", fields, short.options), lambda command: command["filter"])
    if made is None or made[1].guard is None:
        return None
    here, ready = made
    # The driver's own method is for one document, in one batch.
    ready.send = ready.target.find_one
    ready.options = {n: v for n, v in find_options(here).items() if n not in _OF_ONE}
    return ready


def _find_one(short: _Short, value: Any, session: ScopedSession | None) -> Work | None:
    ready = _ready(short, session, "find_one", _prepare_find_one)
    if ready is None:
        return None
    condition = plain.plain_filter(value, ready.scope.limits)
    if condition is None:
        return None
    short.door.observer.met(short.name, condition, {"find": short.name, "filter": condition})
    return _told(short, ready, _asked(ready, condition, session))


def _asked(ready: Prepared, condition: plain.Plain, session: ScopedSession | None) -> Work:
    work: Work = ready.send(
        ready.guarded(condition), session=driver_session(session), **ready.options
    )
    return work


def _find(short: _Short, fields: Mapping[str, Any], session: ScopedSession | None) -> Opener | None:
    rest = {name: value for name, value in fields.items() if name != "filter"}
    ready = _looked_up(short, session, rest, lambda _, __: _prepare_find(short, rest))
    if ready is None:
        return None
    condition = plain.plain_filter(fields.get("filter"), ready.scope.limits)
    if condition is None:
        return None

    def opened(whole: bool) -> Work:
        short.door.observer.met(ready.place, condition, fields)
        return _told(short, ready, _fed(ready, condition, session, whole))

    return _while_valid(short, ready, opened)


def _ready(short: _Short, session: ScopedSession | None, key: Any, make: Make) -> Prepared | None:
    """The prepared call; in a transaction there is none: those are counted."""
    given = driver_session(session)
    return short.ready(key, make) if given is None or not given.in_transaction else None


def _looked_up(
    short: _Short, session: ScopedSession | None, rest: Any, make: Make
) -> Prepared | None:
    """The prepared call for a command by the bytes of all that is not filled in."""
    if not short.plain_codec:
        return None
    try:
        key = bson.encode(rest, codec_options=short.options.codec)
    except (BSONError, TypeError, ValueError, OverflowError):
        return None  # the long way says what is wrong
    return _ready(short, session, key, make) if len(key) <= LONGEST else None


def _while_valid(short: _Short, ready: Prepared, opened: Callable[[bool], Work]) -> Opener:
    """An opener that declines when the rules have changed since it was made."""
    return lambda whole: opened(whole) if short.door.scope() is ready.scope else None


def _prepare_find(short: _Short, rest: Mapping[str, Any]) -> Prepared | None:
    ask = Ask("find", {**rest, "filter": plain.MARK}, short.options)
    made = _made(short, ask, lambda command: command["filter"])
    if made is None or made[1].guard is None:
        return None
    here, ready = made
    ready.options, ready.most = find_options(here), most(here)
    return ready


async def _fed(
    ready: Prepared, condition: plain.Plain, session: ScopedSession | None, whole: bool
) -> Any:
    ready.house.cursor(ready.scope)
    cursor = ready.send(ready.guarded(condition), session=driver_session(session), **ready.options)
    if whole:
        return await whole_of(cursor, ready.asked, ready.most)
    return feed_of(cursor, ready.asked, ready.most, ready.house)


def _prepare_count(short: _Short, _key: Any) -> Prepared | None:
    """The driver's own way to count sends this very pipeline, save the limit behind one result."""
    pipeline = [{"$match": plain.MARK}, COUNTING]
    fields = {"aggregate": short.name, "pipeline": pipeline, "cursor": {}}
    ready = _prepare_pipeline(short, fields)
    if ready is None or ready.guard is None or ready.scope.hidden:
        return None
    if [next(iter(stage)) for stage in ready.tail] != ["$group", "$limit"]:
        return None
    ready.send = ready.target.count_documents
    ready.options = {n: v for n, v in ready.options.items() if n != "batchSize"}
    return ready


def _prepare_pipeline(short: _Short, fields: Mapping[str, Any]) -> Prepared | None:
    def first(command: Mapping[str, Any]) -> Any:
        stages = command["pipeline"]
        return stages[0].get("$match") if stages and isinstance(stages[0], dict) else None

    made = _made(short, Ask("aggregate", fields, short.options), first)
    if made is None:
        return None
    here, ready = made
    stages = handed(here.parts["pipeline"])
    if stages and next(iter(stages[-1])) in WRITING:
        return None
    ready.send, ready.options = ready.target.aggregate, aggregate_options(here)
    ready.tail = stages if ready.guard is None else stages[1:]
    ready.most = here.limits.max_results
    return ready


def _count(short: _Short, value: Any, session: ScopedSession | None) -> Work | None:
    ready = _ready(short, session, "count", _prepare_count)
    if ready is None:
        return None
    condition = plain.plain_filter(value, ready.scope.limits)
    if condition is None:
        return None
    short.door.observer.met(short.name, condition, {"find": short.name, "filter": condition})
    return _told(short, ready, _asked(ready, condition, session))


def _aggregate(
    short: _Short, fields: Mapping[str, Any], session: ScopedSession | None
) -> Opener | None:
    stages = fields["pipeline"]
    condition = _leading(stages, short.door.scope())
    masked = stages if condition is None else [{"$match": plain.MARK}, *stages[1:]]
    rest = {name: value for name, value in fields.items() if value is not None}
    rest["pipeline"] = masked
    ready = _looked_up(short, session, rest, lambda _, __: _prepare_pipeline(short, rest))
    if ready is None or (condition is not None and ready.guard is None):
        return None

    def opened(whole: bool) -> Work:
        short.door.observer.met(ready.place, condition or {}, fields)
        return _told(short, ready, _piped(ready, condition, session, whole))

    return _while_valid(short, ready, opened)


def _leading(stages: Any, scope: Scope) -> plain.Plain | None:
    """A plain filter that a pipeline begins with."""
    first = stages[0] if stages else None
    if scope.hidden or type(first) is not dict or len(first) != 1 or "$match" not in first:
        return None
    return plain.plain_filter(first["$match"], scope.limits) or None


async def _piped(
    ready: Prepared, condition: plain.Plain | None, session: ScopedSession | None, whole: bool
) -> Any:
    ready.house.cursor(ready.scope)
    stages = ready.tail
    if condition is not None:
        stages = [{"$match": ready.guarded(condition)}, *stages]
    cursor = await ready.send(list(stages), session=driver_session(session), **ready.options)
    if whole:
        return await whole_of(cursor, ready.asked, ready.most)
    return feed_of(cursor, ready.asked, ready.most, ready.house)


def _prepare_insert(short: _Short, _key: Any) -> Prepared | None:
    fields = {"insert": short.name, "writeConcern": _concern(short)}
    batch = {"documents": [Document(bson.encode({"_id": 0}))]}
    made = _made(short, Ask("insert_one", fields, short.options, batch=batch), lambda _: None)
    if made is None:
        return None
    made[1].send, made[1].tag = made[1].target.insert_one, plain.tag_of(made[1].scope)
    return made[1]


def _insert_one(short: _Short, document: Any, session: ScopedSession | None) -> Work | None:
    ready = _ready(short, session, "insert_one", _prepare_insert)
    if ready is None or not ready.house.admits(ready.scope, ready.target.name):
        return None
    data = plain.flat_document(document, ready.scope) or _encoded(short, ready, document)
    return None if data is None else _told(short, ready, _within(ready, session, data))


def _encoded(short: _Short, ready: Prepared, document: Any) -> RawBSONDocument | None:
    if not plain.plain_document(document):
        return None
    encoded = bson.encode(document, codec_options=short.options.codec)
    data = plain.stored(encoded, ready.tag, ready.scope)
    return None if data is None else RawBSONDocument(data)


async def _within(ready: Prepared, session: ScopedSession | None, *given: Any) -> Any:
    with pymongo.timeout(ready.seconds):
        return await ready.send(*given, session=driver_session(session))


def _prepare_update(short: _Short, kind: str) -> Prepared | None:
    one = {"q": plain.MARK, "u": {"$set": plain.MARK}, "multi": kind == "update_many"}
    fields = {"update": short.name, "updates": [one], "writeConcern": _concern(short)}
    made = _made(
        short, Ask(kind, fields, short.options), lambda command: command["updates"][0]["q"]
    )
    if made is None or made[1].guard is None:
        return None
    made[1].send = getattr(made[1].target, kind)
    return made[1]


def _update(
    short: _Short, kind: str, values: tuple[Any, Any], session: ScopedSession | None
) -> Awaitable[UpdateResult] | None:
    ready = _ready(short, session, kind, _prepare_update)
    if ready is None or ready.scope.slug in ready.house.holdings.full:
        return None
    condition = plain.plain_filter(values[0], ready.scope.limits)
    change = None if condition is None else plain.plain_update(values[1])
    if condition is None or change is None:
        return None
    return _told(short, ready, _within(ready, session, ready.guarded(condition), change))


def _prepare_delete(short: _Short, kind: str) -> Prepared | None:
    one = {"q": plain.MARK, "limit": int(kind == "delete_one")}
    fields = {"delete": short.name, "deletes": [one], "writeConcern": _concern(short)}
    made = _made(
        short, Ask(kind, fields, short.options), lambda command: command["deletes"][0]["q"]
    )
    if made is None or made[1].guard is None:
        return None
    made[1].send = getattr(made[1].target, kind)
    return made[1]


def _delete(
    short: _Short, kind: str, value: Any, session: ScopedSession | None
) -> Awaitable[DeleteResult] | None:
    ready = _ready(short, session, kind, _prepare_delete)
    if ready is None:
        return None
    condition = plain.plain_filter(value, ready.scope.limits)
    if condition is None:
        return None
    return _told(short, ready, _within(ready, session, ready.guarded(condition)))
