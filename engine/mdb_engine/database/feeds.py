"""Documents that the cluster sends: a driver's cursor that nobody can reach."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from pymongo.asynchronous.command_cursor import AsyncCommandCursor
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.errors import PyMongoError

from mdb_engine.database.errors import in_words, translated
from mdb_engine.database.house import House, note
from mdb_engine.exceptions import CursorNotFoundError, MongoDBEngineError, RefusedError
from mdb_engine.scope.replies import Asked, too_many

DriverCursor = AsyncCursor[Any] | AsyncCommandCursor[Any]


@dataclass(slots=True, weakref_slot=True, eq=False)
class Feed:
    """What can be done with an open cursor; closures, so that it leads nowhere.

    Attributes:
        next: one document; StopAsyncIteration at the end.
        take: so many documents (all with None), fewer at the end.
        close: tell the cluster that no more are wanted.
        alive: whether more may come.
        most: how many documents a capped result has at most; None: it is not capped.
        taken: documents so far.
        physical: the collection that is read. readable: the read scopes.
        open: whether the cluster holds a cursor for it.
        ended: why it was ended before its end; said to who reads on.
    """

    next: Callable[[], Awaitable[Any]]
    take: Callable[[int | None], Awaitable[list[Any]]]
    close: Callable[[], Awaitable[None]]
    alive: Callable[[], bool]
    most: int | None = None
    taken: int = field(default=0)
    physical: str = ""
    readable: tuple[str, ...] = ()
    open: Callable[[], bool] = bool
    ended: RefusedError | None = None

    @property
    def full(self) -> bool:
        """As many came as the app may read at once: there may be more."""
        return self.most is not None and self.taken >= self.most

    @property
    def held(self) -> bool:
        """Whether the cluster holds a cursor for it."""
        return self.open()

    async def end(self) -> None:
        """End it in the cluster: its reader may not see any more of it."""
        self.ended = CursorNotFoundError(
            "the cursor was ended: its names or documents are another's"
        )
        await self.close()


def feed_of(cursor: DriverCursor, asked: Asked, most: int | None, house: House) -> Feed:
    """The feed of a driver's cursor, its errors in the app's words; the house knows what is open.

    Where the app wants to know that a result is not whole, one document too many is an error.
    """

    async def close() -> None:
        with in_words(asked.words):
            await cursor.close()

    following, take = _nothing, _nothing
    feed = Feed(following, take, close, lambda: cursor.alive, most)
    fetched = _fetched(feed, cursor, asked, house)
    feed.next, feed.take = _next(feed, cursor, asked, fetched), _take(feed, cursor, asked, fetched)
    target = asked.physical.command[next(iter(asked.physical.command))]
    feed.physical = target if isinstance(target, str) else ""
    feed.readable = asked.scope.readable
    feed.open = lambda: bool(cursor.cursor_id)
    return feed


async def _nothing(*_: Any) -> Any:
    raise StopAsyncIteration


Fetched = Callable[[int], None]


def _fetched(feed: Feed, cursor: DriverCursor, asked: Asked, house: House) -> Fetched:
    """What is done when so many documents have come."""
    slug = asked.scope.slug

    def fetched(found: int) -> None:
        feed.taken += found
        if cursor.cursor_id:
            note(house.cursors, slug, feed)
        if feed.ended is not None:
            raise feed.ended

    return fetched


def _next(
    feed: Feed, cursor: DriverCursor, asked: Asked, fetched: Fetched
) -> Callable[[], Awaitable[Any]]:
    async def following() -> Any:
        if feed.ended is not None:
            raise feed.ended
        try:
            found = await cursor.next()
        except PyMongoError as error:
            raise told(error, asked) from None
        fetched(1)
        await _allowed(feed, asked)
        return found

    return following


def _take(
    feed: Feed, cursor: DriverCursor, asked: Asked, fetched: Fetched
) -> Callable[[int | None], Awaitable[list[Any]]]:
    async def take(count: int | None) -> list[Any]:
        if feed.ended is not None:
            raise feed.ended
        try:
            found: list[Any] = await cursor.to_list(count)
        except PyMongoError as error:
            raise told(error, asked) from None
        fetched(len(found))
        await _allowed(feed, asked)
        return found

    return take


async def _allowed(feed: Feed, asked: Asked) -> None:
    allowance = asked.physical.allowance
    if allowance is not None and feed.taken > allowance:
        await feed.close()
        raise too_many(allowance)


async def whole_of(cursor: DriverCursor, asked: Asked, most: int | None) -> tuple[list[Any], Feed]:
    """All documents of a cursor at once, and what is left of it: nothing.

    Raises:
        ResourceLimitExceeded: one too many, for who wants to know.
    """
    found: list[Any] = await cursor.to_list(None)
    allowance = asked.physical.allowance
    if allowance is not None and len(found) > allowance:
        raise too_many(allowance)
    return found, Feed(_nothing, _none, _settled, _never, most, len(found))


async def _none(_count: int | None) -> list[Any]:
    return []


async def _settled() -> None:
    """Nothing is left to close."""


def _never() -> bool:
    return False


def told(error: PyMongoError, asked: Asked) -> PyMongoError:
    """The error in the app's words."""
    return error if isinstance(error, MongoDBEngineError) else translated(error, asked.words)


def empty_feed() -> Feed:
    """A result without documents."""
    return Feed(_nothing, _none, _settled, _never)
