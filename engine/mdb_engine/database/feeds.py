"""Documents that the cluster sends: a driver's cursor that nobody can reach."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from pymongo.asynchronous.command_cursor import AsyncCommandCursor
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.errors import PyMongoError

from mdb_engine.database.errors import in_words, translated
from mdb_engine.exceptions import MongoDBEngineError
from mdb_engine.scope.replies import Asked, too_many

DriverCursor = AsyncCursor[Any] | AsyncCommandCursor[Any]


@dataclass(slots=True)
class Feed:
    """What can be done with an open cursor; closures, so that it leads nowhere.

    Attributes:
        next: one document; StopAsyncIteration at the end.
        take: so many documents (all with None), fewer at the end.
        close: tell the cluster that no more are wanted.
        alive: whether more may come.
        most: how many documents a capped result has at most; None: it is not capped.
        taken: documents so far.
    """

    next: Callable[[], Awaitable[Any]]
    take: Callable[[int | None], Awaitable[list[Any]]]
    close: Callable[[], Awaitable[None]]
    alive: Callable[[], bool]
    most: int | None = None
    taken: int = field(default=0)

    @property
    def full(self) -> bool:
        """As many came as the app may read at once: there may be more."""
        return self.most is not None and self.taken >= self.most


def feed_of(cursor: DriverCursor, asked: Asked, most: int | None) -> Feed:
    """The feed of a driver's cursor, its errors in the app's words.

    Where the app wants to know that a result is not whole, one document too many is an error.
    """
    allowance = asked.physical.allowance

    async def counted(found: int) -> None:
        feed.taken += found
        if allowance is not None and feed.taken > allowance:
            await close()
            raise too_many(allowance)

    async def following() -> Any:
        try:
            found = await cursor.next()
        except PyMongoError as error:
            raise told(error, asked) from None
        await counted(1)
        return found

    async def take(count: int | None) -> list[Any]:
        try:
            found: list[Any] = await cursor.to_list(count)
        except PyMongoError as error:
            raise told(error, asked) from None
        if allowance is None:
            feed.taken += len(found)
        else:
            await counted(len(found))
        return found

    async def close() -> None:
        with in_words(asked.words):
            await cursor.close()

    feed = Feed(following, take, close, lambda: cursor.alive, most)
    return feed


def told(error: PyMongoError, asked: Asked) -> PyMongoError:
    """The error in the app's words."""
    return error if isinstance(error, MongoDBEngineError) else translated(error, asked.words)


def empty_feed() -> Feed:
    """A result without documents."""

    async def following() -> Any:
        raise StopAsyncIteration

    async def take(_count: int | None) -> list[Any]:
        return []

    async def close() -> None:
        return None

    return Feed(following, take, close, lambda: False)
