"""Change streams: events of the app's own collections, in the app's words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self

from mdb_engine.database import forms
from mdb_engine.database.errors import in_words
from mdb_engine.database.rim import Ask, Options, Rim
from mdb_engine.exceptions import MongoDBEngineError, RefusedError
from mdb_engine.rawbson import encode_array
from mdb_engine.scope.replies import Asked
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
    """What `watch()` gives. It opens when it is awaited, entered or read, whichever is first.

    Where the rules change (a newer slug owns names, a read scope is withdrawn) it goes on behind
    the last event by the new ones: what was read by the old ones after that is not shown.
    """

    __slots__ = ("__weakref__", "_ask", "_closed", "_opened", "_resume", "_rim", "_seen")

    def __init__(self, rim: Rim, ask: Ask) -> None:
        self._rim, self._ask = rim, ask
        self._opened: _Open | None = None
        self._resume: Any = None
        self._closed = False
        self._seen: Asked | None = rim.check(ask)

    async def _stream(self) -> _Open:
        if self._opened is None:
            ask = self._ask if self._resume is None else _resumed(self._ask, self._resume)
            rules = self._checked()
            words = Words(rules.scope, rules.scope.home[0])
            stream = await self._rim.ask(ask, self._seen if ask is self._ask else None)
            self._opened, self._seen = _Open(stream, words, rules), None
            self._rim.streaming(self)
        return self._opened

    def _checked(self) -> Asked:
        """The command by the rules of now; where they refuse it, that is the stream's end."""
        try:
            return self._rim.check(self._ask)
        except RefusedError:
            self._closed = True
            raise

    def _outdated(self, opened: _Open) -> bool:
        """Whether other conditions hold now than those it was opened with.

        Raises:
            RefusedError: by these there would be no such stream.
        """
        if self._rim.scope() is opened.rules.scope:
            return False
        rules = self._rim.check(self._ask)
        if _stages(rules) != _stages(opened.rules):
            return True
        opened.rules = rules
        return False

    async def _refused_or_outdated(self, opened: _Open) -> bool:
        try:
            return self._outdated(opened)
        except RefusedError:
            await self.close()
            raise

    async def refresh(self) -> None:
        """End it in the cluster if other conditions hold now; who reads on opens it anew."""
        opened = self._opened
        if opened is None or self._closed:
            return
        try:
            outdated = self._outdated(opened)
        except RefusedError:
            outdated = True
        if outdated:
            await self._left(opened, opened.resume_token())

    async def _left(self, opened: _Open, token: Any) -> None:
        if self._opened is opened:
            self._opened, self._resume = None, token
        await opened.close()

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
        while self.alive:
            event = await self.try_next()
            if event is not None:
                return event
        raise StopAsyncIteration

    async def try_next(self) -> Any:
        """The next event, or None when none came within the time that the stream waits."""
        if self._closed:
            return None
        opened = await self._stream()
        if await self._refused_or_outdated(opened):
            await self._left(opened, opened.resume_token())
            opened = await self._stream()
        token = opened.resume_token()
        try:
            event = await opened.try_next()
        except MongoDBEngineError:
            if self._opened is opened:
                raise
            return None  # it was ended meanwhile, to be opened anew
        if self._opened is not opened or await self._refused_or_outdated(opened):
            # The driver may have opened it again, by the old conditions.
            await self._left(opened, token)
            return None
        return event

    @property
    def alive(self) -> bool:
        """Whether more events may come."""
        return not self._closed and (self._opened is None or self._opened.alive())

    @property
    def held(self) -> bool:
        """Whether the cluster holds a cursor for it."""
        return not self._closed and self._opened is not None and self._opened.alive()

    @property
    def resume_token(self) -> Mapping[str, Any] | None:
        """Where to go on: `watch(resume_after=...)`."""
        token: Any = self._resume if self._opened is None else self._opened.resume_token()
        return None if token is None else dict(token)

    async def close(self) -> None:
        """End it."""
        self._closed = True
        if self._opened is not None:
            await self._opened.close()


class _Open:
    """An open stream of the driver; closures, so that it leads nowhere.

    Attributes:
        rules: the command by which it was opened, without where it began.
    """

    __slots__ = ("alive", "close", "resume_token", "rules", "try_next")

    def __init__(self, stream: Any, words: Words, rules: Asked) -> None:
        async def try_next() -> Any:
            with in_words(words):
                return await stream.try_next()

        async def close() -> None:
            with in_words(words):
                await stream.close()

        self.try_next, self.close, self.rules = try_next, close, rules

        def alive() -> bool:
            return bool(stream.alive)

        def resume_token() -> Any:
            return stream.resume_token

        self.alive, self.resume_token = alive, resume_token


_BEGINNINGS: Final = ("resumeAfter", "startAfter", "startAtOperationTime")


def _resumed(ask: Ask, token: Any) -> Ask:
    """The same stream from an event on."""
    first, *rest = ask.fields["pipeline"]
    options = {n: v for n, v in first["$changeStream"].items() if n not in _BEGINNINGS}
    stages = [{"$changeStream": {**options, "resumeAfter": token}}, *rest]
    return replace(ask, fields={**ask.fields, "pipeline": stages})


def _stages(rules: Asked) -> bytes:
    return encode_array(list(rules.physical.command["pipeline"]))


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
