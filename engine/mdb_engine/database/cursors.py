"""Cursors: a command under construction, sent when the first document is wanted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Mapping
from types import TracebackType
from typing import Any, Final, Self, cast

from pymongo import CursorType
from pymongo.errors import InvalidOperation

from mdb_engine.database import forms
from mdb_engine.database.bare import Bare, Opener, Work
from mdb_engine.database.feeds import Feed, empty_feed
from mdb_engine.database.rim import Ask, Options, Rim
from mdb_engine.database.sessions import ScopedSession
from mdb_engine.scope.replies import Asked

_UNREAD: Final = empty_feed()


class _Reading:
    """What all kinds of cursor do with their documents."""

    __slots__ = ("_closed", "_feed")

    def __init__(self) -> None:
        self._feed: Feed | None = None
        self._closed = False

    async def _open(self) -> Feed:
        raise NotImplementedError

    def _at_once(self) -> Work | None:
        """How all documents come in one go; None: one after the other."""
        return None

    async def _opened(self) -> Feed:
        if self._feed is None:
            self._feed = await self._open()
        return self._feed

    @property
    def alive(self) -> bool:
        """Whether more documents may come."""
        return not self._closed and (self._feed is None or self._feed.alive())

    @property
    def retrieved(self) -> int:
        """How many documents were given out."""
        return 0 if self._feed is None else self._feed.taken

    @property
    def truncated(self) -> bool:
        """The result has as many documents as the app may read: there may be more of them."""
        return self._feed is not None and self._feed.full

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if self._closed:
            raise StopAsyncIteration
        return await (await self._opened()).next()

    async def next(self) -> Any:
        """The next document.

        Raises:
            StopAsyncIteration: there is none.
        """
        return await self.__anext__()

    async def to_list(self, length: int | None = None) -> list[Any]:
        """The next `length` documents, or all that are left."""
        if length is not None and (isinstance(length, bool) or length < 0):
            msg = "length must be a number of documents, or None"
            raise ValueError(msg)
        if self._closed or length == 0:
            return []
        if length is None and self._feed is None:
            work = self._at_once()
            if work is not None:
                self._feed = _UNREAD  # as the driver's cursor, after an error it is at its end
                found, self._feed = await work
                return cast("list[Any]", found)
        return await (await self._opened()).take(length)

    async def close(self) -> None:
        """Say that no more are wanted."""
        self._closed = True
        if self._feed is not None:
            await self._feed.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class ScopedCursor(_Reading):
    """The result of `find()`: PyMongo's cursor, documents of the app only."""

    __slots__ = ("_bare", "_fields", "_more", "_opener", "_options", "_rim", "_seen", "_session")

    def __init__(
        self,
        rim: Rim,
        bare: Bare,
        fields: Mapping[str, Any],
        options: Options,
        session: ScopedSession | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._rim, self._bare, self._options = rim, bare, options
        self._session, self._more = session, dict(more or {})
        self._opener: Opener | None = None
        self._seen: Asked | None = None
        self._take(dict(fields))

    def _take(self, fields: dict[str, Any]) -> None:
        """Look at the command as it is now; what is refused changes nothing."""
        ask = self._ask(fields)
        opener = None if self._more else self._bare.find(ask.fields, self._session)
        self._seen = self._rim.check(ask) if opener is None else None
        self._fields, self._opener = fields, opener

    def _ask(self, given: Mapping[str, Any]) -> Ask:
        fields = {name: value for name, value in given.items() if value is not None}
        limit = _whole(fields, "limit")
        if _whole(fields, "skip") < 0:
            msg = "skip must be >= 0"
            raise ValueError(msg)
        if limit < 0:
            fields |= {"limit": -limit, "singleBatch": True}
        return Ask("find", fields, self._options, self._session, more=self._more)

    def _at_once(self) -> Work | None:
        return None if self._opener is None else self._opener(True)

    async def _open(self) -> Feed:
        work = None if self._opener is None else self._opener(False)
        if work is None:
            work = self._rim.ask(self._ask(self._fields), self._seen)
        found: Feed = await work
        return found

    def _set(self, **fields: Any) -> Self:
        if self._feed is not None or self._closed:
            msg = "cannot set options after executing query"
            raise InvalidOperation(msg)
        self._take({**self._fields, **fields})
        return self

    def sort(self, key_or_list: Any, direction: Any = None) -> Self:
        """Order the documents: a name and a direction, or a list of pairs."""
        return self._set(sort=forms.order(key_or_list, direction))

    def limit(self, limit: int) -> Self:
        """At most so many; 0: as many as the app may read. Negative: one batch."""
        return self._set(limit=limit)

    def skip(self, skip: int) -> Self:
        """Leave out the first ones."""
        return self._set(skip=skip)

    def batch_size(self, batch_size: int) -> Self:
        """How many come per exchange."""
        return self._set(batchSize=batch_size)

    def max_time_ms(self, max_time_ms: int | None) -> Self:
        """The time that the cluster may spend, in milliseconds."""
        return self._set(maxTimeMS=max_time_ms)

    def max_await_time_ms(self, max_await_time_ms: int | None) -> Self:
        """How long a tailable cursor waits for more, in milliseconds."""
        self._more["max_await_time_ms"] = max_await_time_ms
        return self._set()

    def hint(self, index: Any) -> Self:
        """Use this index."""
        return self._set(hint=forms.hinted(index))

    def collation(self, collation: Any) -> Self:
        """Compare texts so."""
        return self._set(collation=forms.collated(collation))

    def comment(self, comment: Any) -> Self:
        """What the cluster's logs say of it."""
        return self._set(comment=comment)

    def allow_disk_use(self, allow_disk_use: bool) -> Self:
        """Sort on disk, where the app may."""
        return self._set(allowDiskUse=allow_disk_use)

    def min(self, spec: Any) -> Self:
        """Begin at these index keys."""
        return self._set(min=forms.keys(spec))

    def max(self, spec: Any) -> Self:
        """End before these index keys."""
        return self._set(max=forms.keys(spec))

    def where(self, code: Any) -> Self:
        """Refused, as every code of a client.

        Raises:
            QueryValidationError: always.
        """
        return self._set(filter={"$and": [self._fields["filter"], {"$where": code}]})

    async def distinct(self, key: str) -> list[Any]:
        """The values of a field in the documents that fit."""
        names = ("collation", "comment", "hint", "maxTimeMS")
        fields = {"distinct": self._fields["find"], "key": key}
        fields |= {"query": self._fields.get("filter")}
        fields |= {name: self._fields.get(name) for name in names}
        found: list[Any] = await self._rim.ask(
            Ask("distinct", fields, self._options, self._session)
        )
        return found

    async def explain(self) -> dict[str, Any]:
        """How the cluster would look for them."""
        inner = dict(self._ask(self._fields).fields)
        fields = {"explain": inner, "verbosity": "allPlansExecution"}
        fields["maxTimeMS"] = inner.pop("maxTimeMS", None)
        return await self._rim.run(Ask("run", fields, self._options, self._session))

    def clone(self) -> ScopedCursor:
        """The same question again, not asked yet."""
        return ScopedCursor(
            self._rim, self._bare, self._fields, self._options, self._session, self._more
        )

    def rewind(self) -> Self:
        """Ask again from the beginning."""
        self._feed, self._closed = None, False
        return self

    def __copy__(self) -> ScopedCursor:
        return self.clone()

    def __getitem__(self, index: int | slice) -> Any:
        """A slice sets skip and limit, as PyMongo's synchronous cursor does."""
        if not isinstance(index, slice) or index.step is not None:
            msg = "use a slice [from:to]; single documents are awaited: await cursor.next()"
            raise TypeError(msg)
        begin = index.start or 0
        if index.stop is None:
            return self._set(skip=begin)
        if begin < 0 or index.stop <= begin:
            msg = "a slice goes from a lower to a higher place"
            raise IndexError(msg)
        return self._set(skip=begin, limit=index.stop - begin)


def _whole(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool):
        msg = f"{name} must be an integer"
        raise TypeError(msg)
    return value


class ScopedCommandCursor(_Reading):
    """The result of `aggregate()` and its like; works with and without `await`."""

    __slots__ = ("_asked", "_opener", "_rim", "_seen")

    def __init__(self, rim: Rim, ask: Ask, opener: Opener | None = None) -> None:
        super().__init__()
        self._rim, self._asked, self._opener = rim, ask, opener
        self._seen = rim.check(ask) if opener is None else None

    def _at_once(self) -> Work | None:
        return None if self._opener is None else self._opener(True)

    async def _open(self) -> Feed:
        work = None if self._opener is None else self._opener(False)
        if work is None:
            work = self._rim.ask(self._asked, self._seen)
        found: Feed = await work
        return found

    def batch_size(self, batch_size: int) -> Self:
        """How many come per exchange; before the first one."""
        fields = {**self._asked.fields, "cursor": {"batchSize": batch_size}}
        ask = Ask("aggregate", fields, self._asked.options, self._asked.session)
        self._seen = self._rim.check(ask)
        self._asked, self._opener = ask, None
        return self

    async def _started(self) -> Self:
        await self._opened()
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._started().__await__()


class ListedCursor(_Reading):
    """Documents that came whole, in a cursor's clothes: indexes, collections."""

    __slots__ = ("_given",)

    def __init__(self, given: Any) -> None:
        super().__init__()
        self._given = given

    async def _open(self) -> Feed:
        return _listed(await self._given())

    async def _started(self) -> Self:
        await self._opened()
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._started().__await__()


def _listed(found: list[Any]) -> Feed:
    left = found[::-1]

    async def take(count: int | None) -> list[Any]:
        most = len(left) if count is None else min(count, len(left))
        feed.taken += most
        return [left.pop() for _ in range(most)]

    async def following() -> Any:
        if not left:
            raise StopAsyncIteration
        return (await take(1))[0]

    async def close() -> None:
        left.clear()

    feed = Feed(following, take, close, lambda: bool(left))
    return feed


def tail_fields(cursor_type: int) -> dict[str, bool]:
    """A cursor type in the words of the command."""
    if cursor_type == CursorType.NON_TAILABLE:
        return {}
    awaits = cursor_type == CursorType.TAILABLE_AWAIT
    return {"tailable": True, "awaitData": True} if awaits else {"tailable": True}
