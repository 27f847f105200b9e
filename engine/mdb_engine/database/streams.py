"""Change streams: events of the app's own collections, in the app's words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Mapping
from types import TracebackType
from typing import Any, Final, Self

from mdb_engine.database import forms
from mdb_engine.database.errors import in_words
from mdb_engine.database.rim import Ask, Options, Rim
from mdb_engine.scope.texts import Words

_OPTIONS: Final[Mapping[str, str]] = {
    "full_document": "fullDocument",
    "full_document_before_change": "fullDocumentBeforeChange",
    "resume_after": "resumeAfter",
    "show_expanded_events": "showExpandedEvents",
    "start_after": "startAfter",
    "start_at_operation_time": "startAtOperationTime",
}
"""Arguments of `watch()` -> options of `$changeStream`."""

_BESIDE: Final = frozenset({"batch_size", "collation", "comment", "max_await_time_ms", "session"})


class ScopedChangeStream:
    """What `watch()` gives. It opens when it is awaited, entered or read, whichever is first."""

    __slots__ = ("_ask", "_closed", "_opened", "_rim")

    def __init__(self, rim: Rim, ask: Ask) -> None:
        self._rim, self._ask = rim, ask
        self._opened: _Open | None = None
        self._closed = False
        rim.check(ask)

    async def _stream(self) -> _Open:
        if self._opened is None:
            scope = self._rim.scope()
            words = Words(scope, scope.home[0])
            self._opened = _Open(await self._rim.ask(self._ask), words)
        return self._opened

    async def _started(self) -> Self:
        await self._stream()
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._started().__await__()

    async def __aenter__(self) -> Self:
        return await self._started()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return await self.next()

    async def next(self) -> Any:
        """The next event; waits for it.

        Raises:
            StopAsyncIteration: the stream is closed.
        """
        if self._closed:
            raise StopAsyncIteration
        return await (await self._stream()).next()

    async def try_next(self) -> Any:
        """The next event, or None when none came within the time that the stream waits."""
        return None if self._closed else await (await self._stream()).try_next()

    @property
    def alive(self) -> bool:
        """Whether more events may come."""
        return not self._closed and (self._opened is None or self._opened.alive())

    @property
    def resume_token(self) -> Mapping[str, Any] | None:
        """Where to go on: `watch(resume_after=...)`."""
        return None if self._opened is None else self._opened.resume_token()

    async def close(self) -> None:
        """End it."""
        self._closed = True
        if self._opened is not None:
            await self._opened.close()


class _Open:
    """An open stream of the driver; closures, so that it leads nowhere."""

    __slots__ = ("alive", "close", "next", "resume_token", "try_next")

    def __init__(self, stream: Any, words: Words) -> None:
        async def following() -> Any:
            with in_words(words):
                return await stream.next()

        async def try_next() -> Any:
            with in_words(words):
                return await stream.try_next()

        async def close() -> None:
            await stream.close()

        self.next, self.try_next, self.close = following, try_next, close

        def alive() -> bool:
            return bool(stream.alive)

        def resume_token() -> Any:
            return stream.resume_token

        self.alive, self.resume_token = alive, resume_token


def watching(
    rim: Rim, options: Options, source: str | int, pipeline: Any, given: Mapping[str, Any]
) -> ScopedChangeStream:
    """The stream of a collection, or of the database with 1.

    Raises:
        TypeError: an option that `watch()` does not have.
    """
    first: dict[str, Any] = {"fullDocument": None}
    for name, value in given.items():
        if name in _OPTIONS:
            first[_OPTIONS[name]] = value
        elif name not in _BESIDE:
            msg = f"watch() got an unexpected keyword argument {name!r}"
            raise TypeError(msg)
    first = {name: value for name, value in first.items() if value is not None}
    size = given.get("batch_size")
    fields = {
        "aggregate": source,
        "pipeline": [{"$changeStream": first}, *forms.stages(pipeline or [])],
        "cursor": {} if size is None else {"batchSize": size},
        "collation": forms.collated(given.get("collation")),
        "comment": given.get("comment"),
    }
    more = {"max_await_time_ms": given.get("max_await_time_ms")}
    return ScopedChangeStream(rim, Ask("watch", fields, options, given.get("session"), more=more))
