"""One client's socket: frames come out of it, messages go in, and its end is noticed at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from mdb_proxy.bounds import Bounds
from mdb_proxy.channel import Channel
from mdb_proxy.wire.frames import MAX_BEFORE_LOGIN, MAX_MESSAGE, Frame, Frames, WireError, foreign

_MAX_WAITING: Final = 16
_MAX_WAITING_BYTES: Final = 1_000_000
"""So much may wait for its turn before we stop reading."""

CHUNK: Final = 262_144
"""Bytes of a long answer that are handed to the transport at a time."""

SPEECHLESS: Final = "it says nothing"
ENDLESS: Final = "its message does not end"
DEAF: Final = "the client does not read what it asked for"

HINT: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"This port speaks the MongoDB wire protocol.\r\n"
)

Arrived = Callable[[asyncio.BaseTransport], Channel]


def plain(transport: asyncio.BaseTransport) -> Channel:
    """What a transport itself tells of a connection."""
    name = transport.get_extra_info("peername")
    return Channel(f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "local")


def _nothing() -> None:
    """Nobody has to know that it left."""


class Client(asyncio.Protocol):
    """The bytes of one connection.

    Attributes:
        channel: how it came. came: when, in seconds; left: is called when it has gone.
        met: it has begun to be a client: what it needs was made, TLS included.
        bounds: how long it may take.
        dropped: we have closed it, it took too long.
        broken: what it sent that is not the protocol; None while all is well.
        gone: it has left, or we have.
    """

    def __init__(
        self,
        began: Callable[[Client], None],
        ended: Callable[[Client], None],
        arrived: Arrived = plain,
    ) -> None:
        self._began, self._ended, self._arrived = began, ended, arrived
        self._frames = Frames(MAX_BEFORE_LOGIN)
        self._waiting: deque[Frame] = deque()
        self._waiting_bytes = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._transport: asyncio.Transport
        self._first = True
        self.broken: WireError | None = None
        self.gone = self.met = self.dropped = False
        self.channel = Channel("unknown")
        self.came: float | None = None
        self.left: Callable[[], None] = _nothing
        self.bounds = Bounds()
        self._cut, self._seen, self._since = 0, -1, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        # A stream transport by contract; uvloop's is no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self.met = True
        self.channel = self._arrived(transport)
        self._began(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came; what is no frame ends the conversation after the frames before it."""
        if self._first:
            self._first = False
            self._greet(data)
        if self.broken is not None:
            return
        try:
            frames = self._frames.feed(data)
        except WireError as error:
            self.broken = error
        else:
            self._cut += len(frames)
            self._waiting.extend(frames)
            self._waiting_bytes += sum(len(frame.payload) for frame in frames)
            if len(self._waiting) > _MAX_WAITING or self._waiting_bytes > _MAX_WAITING_BYTES:
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
        self.gone = True
        self._news.set()
        self._room.set()
        self.left()
        self._ended(self)

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._room.clear()

    def resume_writing(self) -> None:
        """The client caught up."""
        self._room.set()

    def trust(self, known: bool) -> None:
        """Only whoever is logged in may send large messages."""
        self._frames.limit = MAX_MESSAGE if known else MAX_BEFORE_LOGIN

    async def frame(self) -> Frame | None:
        """The next frame; None when the client has left or broken the protocol."""
        while not self._waiting:
            if self.gone or self.broken is not None:
                return None
            if not (self._transport.is_reading() or self._transport.is_closing()):
                self._transport.resume_reading()
            self._news.clear()
            await self._news.wait()
        frame = self._waiting.popleft()
        self._waiting_bytes -= len(frame.payload)
        return frame

    def write(self, data: bytes | memoryview) -> None:
        """Hand bytes to the transport, without waiting."""
        if data and not self.gone:
            self._transport.write(data)

    def late(self, now: float) -> str:
        """Why it may not stay, by what it has sent; "" while all is well. Asked every second."""
        if self._first:
            silent = self.came is not None and now - self.came > self.bounds.first_byte_seconds
            return SPEECHLESS if silent else ""
        if not self._frames.pending or not self._transport.is_reading():
            self._seen = -1
        elif self._seen != self._cut:
            self._seen, self._since = self._cut, now
        elif now - self._since > self.bounds.frame_seconds:
            return ENDLESS
        return ""

    async def send(self, data: bytes) -> None:
        """Send a whole message; waits while the client is behind, but not for ever.

        A long one is handed over in pieces, so that it is not copied as a whole.
        """
        if len(data) <= CHUNK:
            self.write(data)
            await self._until_room()
            return
        view = memoryview(data)
        for start in range(0, len(data), CHUNK):
            self.write(view[start : start + CHUNK])
            await self._until_room()

    async def _until_room(self) -> None:
        if self._room.is_set():
            return
        try:
            async with asyncio.timeout(self.bounds.send_seconds):
                await self._room.wait()
        except TimeoutError:
            self.drop(DEAF)

    def drop(self, reason: str) -> None:
        """Close at once what broke our rules."""
        self.gone, self.dropped, self.broken = True, True, WireError(reason)
        self._room.set()
        self._news.set()
        self.abort()

    def close(self) -> None:
        """Close when what was written has gone out."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()
