"""One connection to one member, one request in flight; closed for good when anything goes wrong.

A reply that belongs to another request must never reach anybody: a connection whose exchange was
cut, cancelled or answered with something else is aborted and cannot be used again.
"""

import asyncio
import socket
from collections.abc import Mapping
from typing import Any, Final, cast

from mdb_engine import rawbson
from mdb_proxy.wire import (
    OP_MSG,
    Frame,
    Frames,
    Message,
    Sections,
    WireError,
    encode_message,
    parse_message,
)

_LAST_REQUEST_ID: Final = 2**31 - 1
_KEEPALIVE: Final = (
    # not every system has all of them
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 60),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 10),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 6),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 120_000),
)


class Connection(asyncio.Protocol):
    """A connection, seen from both sides: the loop's callbacks, and `exchange` for its user.

    Attributes:
        member: "host:port".
        born: loop time at which it was made.
        gone: done when the socket is closed.
    """

    def __init__(self, member: str) -> None:
        loop = asyncio.get_running_loop()
        self.member = member
        self.born = loop.time()
        self.gone: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._frames = Frames()
        self._request_id = 0
        self._transport: asyncio.Transport | None = None
        # The outcome is a result even when it is an error: an exception that nobody awaits any
        # more would be reported by the loop.
        self._waiting: asyncio.Future[Frame | OSError | WireError] | None = None

    @property
    def usable(self) -> bool:
        """It may take a request: open, nothing in flight, nothing half read."""
        return (
            self._waiting is None
            and self._transport is not None
            and not self._transport.is_closing()
            and not self._frames.pending
        )

    async def exchange(self, body: bytes, sections: Sections = ()) -> bytes:
        """Send one command, give the BSON of its reply. However it fails, the connection closes.

        Raises:
            OSError: the connection broke. WireError: what came is not the reply.
        """
        if not self.usable or self._transport is None:
            raise ConnectionResetError("the connection is closed")
        self._request_id = self._request_id % _LAST_REQUEST_ID + 1
        self._waiting = self._loop.create_future()
        try:
            self._transport.write(encode_message(Message(self._request_id, 0, 0, body, sections)))
            outcome = await self._waiting
            if not isinstance(outcome, Frame):
                raise outcome
            reply = parse_message(outcome)
            if reply.more_to_come or reply.sections:
                raise WireError("the reply has more parts than were asked for")
            self._waiting = None
        finally:
            if self._waiting is not None:
                self.abort()
        return reply.body

    async def command(self, document: Mapping[str, Any]) -> rawbson.Document:
        """`exchange` for a command of our own; `$db` must be in it."""
        return rawbson.Document(await self.exchange(rawbson.encode(document)))

    def close(self) -> None:
        """Close politely; for a connection that is at rest."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once; the server sees it and stops what it was doing for us."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop: it is open."""
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        for level, name, value in _KEEPALIVE:
            if hasattr(socket, name):
                sock.setsockopt(level, getattr(socket, name), value)

    def data_received(self, data: bytes) -> None:
        """The loop: bytes came."""
        try:
            frames = self._frames.feed(data)
        except WireError as error:
            self._fail(error)
            return
        for frame in frames:
            self._answer(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """The loop: it is closed."""
        self._fail(exc if isinstance(exc, OSError) else ConnectionResetError("closed by the peer"))
        if not self.gone.done():
            self.gone.set_result(None)

    def _answer(self, frame: Frame) -> None:
        waiting = self._waiting
        if waiting is None or waiting.done():
            self._fail(WireError("a message that nobody asked for"))
        elif frame.opcode != OP_MSG or frame.response_to != self._request_id:
            self._fail(WireError("a message that is not the reply"))
        else:
            waiting.set_result(frame)

    def _fail(self, error: OSError | WireError) -> None:
        self.abort()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(error)
