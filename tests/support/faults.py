"""A TCP link that breaks on request: forwards bytes until it meets a message that it waits for."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

HOST = "127.0.0.1"
CHUNK = 65_536
Side = Literal["request", "reply"]


@dataclass(slots=True)
class Fault:
    """What happens to the first messages that hold the marker, or to their replies.

    Attributes:
        marker: bytes of the request. side: which of the two is hurt.
        at: so many bytes of it come through.
        how: "cut" closes both ends, "reset" the same by RST, "stall" lets nothing more through,
            "half" closes the server's end and tells the client nothing.
        times: how many messages. met: how many there were.
        whole: a message was just as long as that: it came through, then the fault.
        beyond: a message was shorter than that, and there was no fault.
    """

    marker: bytes
    side: Side
    at: int
    how: Literal["cut", "reset", "stall", "half"] = "cut"
    times: int = 1
    met: int = 0
    whole: bool = False
    beyond: bool = False


class Connection:
    """The two ends of one connection, and what will happen to it."""

    def __init__(
        self, link: "Link", client: asyncio.StreamWriter, server: asyncio.StreamWriter
    ) -> None:
        self.link, self.client, self.server = link, client, server
        self.fault: Fault | None = None
        self.left = 0

    async def pump(self, reader: asyncio.StreamReader, side: Side) -> None:
        """Carry bytes one way until the end, or the fault."""
        writer = self.server if side == "request" else self.client
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                if side == "request" and self.fault is None:
                    self._meet(data)
                if self.fault is None or self.fault.side != side or self._beyond(data):
                    await self._carry(writer, data)
                    continue
                await self._carry(writer, data[: self.left])
                self.left -= min(self.left, len(data))
                if not self.left:
                    self._strike(self.fault.how)
        if self.fault is None or self.fault.how != "half" or side == "request":
            writer.close()

    def _meet(self, data: bytes) -> None:
        fault = self.link.fault
        if fault is not None and fault.met < fault.times and fault.marker in data:
            fault.met += 1
            self.fault, self.left = fault, fault.at

    def _beyond(self, data: bytes) -> bool:
        """Whether the message that begins here is shorter than what is let through."""
        fault = self.fault
        if fault is None or self.left != fault.at:
            return False
        length = int.from_bytes(data[:4], "little")
        fault.whole = fault.whole or fault.at == length
        if fault.at <= length:
            return False
        fault.beyond, self.fault = True, None
        return True

    async def _carry(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        step = self.link.step or len(data) or 1
        for start in range(0, len(data), step):
            writer.write(data[start : start + step])
            await writer.drain()

    def _strike(self, how: str) -> None:
        if how == "half":
            self.server.close()
        elif how == "cut":
            self.server.close()
            self.client.close()
        elif how == "reset":
            for writer in (self.server, self.client):
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()


@dataclass(slots=True)
class Link:
    """Stands before a port. Set `fault` and `step` at any time, from any thread.

    Attributes:
        step: bytes are carried in pieces of this size; 0 for as they come.
        open: connections that are open at either end.
    """

    target: int
    port: int = 0
    fault: Fault | None = None
    step: int = 0
    open: set[Connection] = field(default_factory=set)

    async def serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        try:
            server, requests = await asyncio.open_connection(HOST, self.target)
        except OSError:
            answers.close()
            return
        connection = Connection(self, answers, requests)
        self.open.add(connection)
        try:
            await asyncio.gather(
                connection.pump(client, "request"), connection.pump(server, "reply")
            )
        finally:
            self.open.discard(connection)
            for writer in (answers, requests):
                writer.close()


@contextmanager
def link(target: int) -> Iterator[Link]:
    """Stand before a port of this machine, in a thread of our own."""
    made = Link(target)
    ready, loops = threading.Event(), []

    async def run() -> None:
        stop = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stop))
        server = await asyncio.start_server(made.serve, HOST, 0)
        made.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        for connection in set(made.open):
            connection.client.transport.abort()
            connection.server.transport.abort()
        while made.open:  # noqa: ASYNC110 - nothing tells us but the sockets
            await asyncio.sleep(0.01)

    thread = _thread(run)
    ready.wait()
    try:
        yield made
    finally:
        loop, stop = loops[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def _thread(run: Callable[[], Coroutine[Any, Any, None]]) -> threading.Thread:
    thread = threading.Thread(target=lambda: asyncio.run(run()), name="link")
    thread.start()
    return thread
