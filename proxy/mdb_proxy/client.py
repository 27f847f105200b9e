"""One client's socket: frames come out of it, messages go in, and its end is noticed at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, cast

from mdb_proxy.wire.frames import MAX_BEFORE_LOGIN, MAX_MESSAGE, Frame, Frames, WireError, foreign

_MAX_WAITING: Final = 16
"""Frames that may wait for their turn before we stop reading."""

HINT: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"This port speaks the MongoDB wire protocol.\r\n"
)


class Client(asyncio.Protocol):
    """The bytes of one connection.

    Attributes:
        peer: the client's `host:port`.
        broken: what it sent that is not the protocol; None while all is well.
    """

    def __init__(self, began: Callable[[Client], None], ended: Callable[[Client], None]) -> None:
        self._began, self._ended = began, ended
        self._frames = Frames(MAX_BEFORE_LOGIN)
        self._waiting: deque[Frame] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._transport: asyncio.Transport | None = None
        self._first = True
        self._closed = False
        self.broken: WireError | None = None
        self.peer = "unknown"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        # A stream transport by contract; uvloop's is no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        name = transport.get_extra_info("peername")
        self.peer = f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "local"
        self._began(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came; a broken frame ends the conversation after what came before it."""
        if self._first:
            self._first = False
            self._greet(data)
        if self.broken is not None:
            return
        try:
            self._waiting.extend(self._frames.feed(data))
        except WireError as error:
            self.broken = error
        if len(self._waiting) > _MAX_WAITING and self._transport is not None:
            self._transport.pause_reading()
        self._news.set()

    def _greet(self, data: bytes) -> None:
        """Say one line to who speaks HTTP; a TLS client would only wait for an answer."""
        language = foreign(data)
        if language is None:
            return
        if language == "http":
            self.write(HINT)
        self.broken = WireError(f"the client speaks {language}")
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client left."""
        self._closed = True
        self._news.set()
        self._room.set()
        self._ended(self)

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._room.clear()

    def resume_writing(self) -> None:
        """The client caught up."""
        self._room.set()

    def logged_in(self) -> None:
        """Whoever is known may send large messages."""
        self._frames.limit = MAX_MESSAGE

    async def frames(self) -> AsyncIterator[Frame]:
        """Every frame in turn, until the client leaves or breaks the protocol."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._closed or self.broken is not None:
                return
            if self._transport is not None and not self._transport.is_reading():
                self._transport.resume_reading()
            self._news.clear()
            await self._news.wait()

    def write(self, data: bytes) -> None:
        """Hand bytes to the transport, without waiting."""
        if data and self._transport is not None and not self._closed:
            self._transport.write(data)

    async def send(self, data: bytes) -> None:
        """Send a whole message; waits while the client is behind."""
        self.write(data)
        await self._room.wait()

    def close(self) -> None:
        """Close when what was written has gone out."""
        if self._transport is not None:
            self._transport.close()
