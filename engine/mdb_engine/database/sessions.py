"""Sessions and transactions: PyMongo's, without the way from them to the client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from types import TracebackType
from typing import Any, Final

from bson.timestamp import Timestamp
from pymongo.asynchronous.client_session import AsyncClientSession

from mdb_engine.database.errors import in_words
from mdb_engine.scope.model import Scope
from mdb_engine.scope.texts import Words

_KEY: Final = object()
_WORDS: Final = Words(Scope("", "", ("",)), "")
"""Commits and aborts name no collection."""


def driver_session(session: ScopedSession | None) -> AsyncClientSession | None:
    """What PyMongo wants as `session=`; for this room only.

    Raises:
        TypeError: not a session of the engine.
    """
    if session is None:
        return None
    if not isinstance(session, ScopedSession):
        msg = f"session must come from engine.start_session(), not {type(session).__name__}"
        raise TypeError(msg)
    return session._reveal(_KEY)  # noqa: SLF001 - opened with this module's key only


class _Transaction:
    """What `start_transaction()` gives: begun when it is awaited or entered, whichever is first."""

    __slots__ = ("_begin", "_begun", "_session")

    def __init__(self, session: ScopedSession, begin: Callable[[], Awaitable[Any]]) -> None:
        self._session, self._begin, self._begun = session, begin, False

    async def _start(self) -> _Transaction:
        if not self._begun:
            self._begun = True
            with in_words(_WORDS):
                await self._begin()
        return self

    def __await__(self) -> Generator[Any, None, _Transaction]:
        return self._start().__await__()

    async def __aenter__(self) -> _Transaction:
        return await self._start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._session.in_transaction:
            return
        if kind is None:
            await self._session.commit_transaction()
        else:
            await self._session.abort_transaction()


class ScopedSession:
    """A session that every handle of one engine accepts as `session=`.

    Made by `engine.start_session()`; works with and without `await`, as PyMongo's and Motor's do.
    """

    __slots__ = ("__weakref__", "_reveal")

    def __init__(self, session: AsyncClientSession) -> None:
        def reveal(key: object) -> AsyncClientSession:
            if key is not _KEY:
                msg = "the driver's session is not given away"
                raise AttributeError(msg)
            return session

        self._reveal = reveal

    def __await__(self) -> Generator[Any, None, ScopedSession]:
        yield from ()
        return self

    async def __aenter__(self) -> ScopedSession:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.end_session()

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._reveal(_KEY).in_transaction

    @property
    def held(self) -> bool:
        """Whether a transaction is open."""
        return self.in_transaction

    @property
    def has_ended(self) -> bool:
        """Whether the session is over."""
        return self._reveal(_KEY).has_ended

    @property
    def session_id(self) -> Mapping[str, Any]:
        """The id that the cluster knows it by."""
        return dict(self._reveal(_KEY).session_id)

    @property
    def cluster_time(self) -> Mapping[str, Any] | None:
        """The newest cluster time that it has seen."""
        return self._reveal(_KEY).cluster_time

    @property
    def operation_time(self) -> Timestamp | None:
        """The time of its last operation."""
        return self._reveal(_KEY).operation_time

    def advance_cluster_time(self, cluster_time: Mapping[str, Any]) -> None:
        """Learn a cluster time from another session."""
        self._reveal(_KEY).advance_cluster_time(cluster_time)

    def advance_operation_time(self, operation_time: Timestamp) -> None:
        """Learn an operation time from another session."""
        self._reveal(_KEY).advance_operation_time(operation_time)

    def start_transaction(self, *args: Any, **kwargs: Any) -> _Transaction:
        """Begin a transaction; PyMongo's options. Entered as a context it commits or aborts."""

        async def begin() -> None:
            await self._reveal(_KEY).start_transaction(*args, **kwargs)

        return _Transaction(self, begin)

    async def commit_transaction(self) -> None:
        """Make what was written visible."""
        with in_words(_WORDS):
            await self._reveal(_KEY).commit_transaction()

    async def abort_transaction(self) -> None:
        """Forget what was written."""
        with in_words(_WORDS):
            await self._reveal(_KEY).abort_transaction()

    async def with_transaction(
        self, callback: Callable[[ScopedSession], Awaitable[Any]], *args: Any, **kwargs: Any
    ) -> Any:
        """Run `callback(session)` in a transaction, again where the cluster asks for it."""
        with in_words(_WORDS):
            return await self._reveal(_KEY).with_transaction(
                lambda _: callback(self), *args, **kwargs
            )

    async def end_session(self) -> None:
        """End it; an open transaction is aborted."""
        await self._reveal(_KEY).end_session()
