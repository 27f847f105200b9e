"""The connections to one member: the last one used is the next one used; their number has a top.

Last in, first out keeps few of them busy, so that the rest grows old and can be closed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mdb_engine.exceptions import UpstreamError
from mdb_proxy.upstream.connection import Connection
from mdb_proxy.upstream.turns import Turns


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Bounds per member; times in seconds.

    Attributes:
        max_size: connections for ordinary commands.
        max_awaited: connections for commands that wait for new documents.
        wait_seconds: how long a command may wait for a free connection.
        idle_seconds: an unused connection is closed after this time.
        lifetime_seconds: a connection is closed at rest after this time.
    """

    max_size: int = 100
    max_awaited: int = 500
    wait_seconds: float = 2.0
    idle_seconds: float = 300.0
    lifetime_seconds: float = 3600.0


class Pool:
    """Connections to one member for one kind of command."""

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], places: int, settings: PoolSettings
    ) -> None:
        self._connect, self._settings = connect, settings
        self._turns = Turns(places)
        self._time = asyncio.get_running_loop().time
        self._idle: list[tuple[Connection, float]] = []
        self._open: set[Connection] = set()
        self._closed = False

    @property
    def busy(self) -> int:
        """Commands that hold a connection or are about to get one."""
        return self._turns.taken

    @property
    def size(self) -> int:
        """Connections that are open."""
        return len(self._open)

    @property
    def empty(self) -> bool:
        """No socket is open and nobody is about to open one."""
        return not self._open and not self.busy

    async def take(self, app: str) -> Connection:
        """A connection that nobody else uses; hand it to `give` afterwards, whatever happened.

        Raises:
            OverloadedError: all were in use for too long.
            UpstreamError: a new one cannot be opened.
        """
        await self._turns.take(app, self._settings.wait_seconds)
        connection = None
        try:
            connection = self._reuse() or await self._add()
        finally:
            if connection is None:
                self._turns.release()
        return connection

    def give(self, connection: Connection) -> None:
        """Take a connection back; one that is not at rest, or too old, is closed."""
        self._turns.release()
        now = self._time()
        if not connection.usable or self._closed:
            connection.abort()
        elif now - connection.born > self._settings.lifetime_seconds:
            connection.close()
        else:
            self._idle.append((connection, now))

    def prune(self, everything: bool = False) -> None:
        """Close what nobody has used for a while, or all that nobody uses."""
        oldest = self._time() - self._settings.idle_seconds
        kept = []
        for connection, since in self._idle:
            if since > oldest and connection.usable and not everything:
                kept.append((connection, since))
            else:
                connection.close()
        self._idle = kept

    def cut(self) -> None:
        """Close every connection at once, also those that wait for an answer."""
        for connection in list(self._open):
            connection.abort()

    async def close(self) -> None:
        """Close everything; ends when no socket is left."""
        self._closed = True
        self._idle.clear()
        connections = list(self._open)
        for connection in connections:
            connection.abort()
        await asyncio.gather(*(connection.gone for connection in connections))

    def _reuse(self) -> Connection | None:
        """The youngest idle connection that the member has not closed in the meantime."""
        while self._idle:
            connection, _ = self._idle.pop()
            if connection.usable:
                return connection
            connection.abort()
        return None

    async def _add(self) -> Connection:
        connection = await self._connect()
        if self._closed:
            connection.abort()
            raise UpstreamError("the proxy is stopping")
        self._open.add(connection)
        connection.gone.add_done_callback(lambda _: self._open.discard(connection))
        return connection
