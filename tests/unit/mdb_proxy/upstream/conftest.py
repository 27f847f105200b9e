"""A server that speaks the protocol and misbehaves on request: the only stand-in, at the rim."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import bson
import pytest

from mdb_proxy.upstream.connection import Connection
from mdb_proxy.wire import (
    OP_MSG,
    Frames,
    Message,
    encode_message,
    encode_reply,
    parse_message,
    parse_query,
)

Handler = Callable[["Peer", Message], None]
HELLO = {
    "ok": 1,
    "helloOk": True,
    "isWritablePrimary": True,
    "minWireVersion": 0,
    "maxWireVersion": 17,
    "maxBsonObjectSize": 16777216,
    "maxMessageSizeBytes": 48000000,
    "maxWriteBatchSize": 100000,
    "readOnly": False,
}


class Peer(asyncio.Protocol):
    """The server's end of one connection."""

    def __init__(self, server: "FakeServer") -> None:
        self.server = server
        self.frames = Frames()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.server.peers.append(self)
        self.number = len(self.server.peers)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.lost.append(self.number)

    def data_received(self, data: bytes) -> None:
        if self.server.hung:
            return
        for frame in self.frames.feed(data):
            if frame.opcode == OP_MSG:
                self.server.receive(self, parse_message(frame))
            else:
                query = parse_query(frame)
                reply = bson.encode(self.server.hello)
                self.transport.write(encode_reply(reply, query.request_id, 1))

    def reply(self, message: Message, document: Mapping[str, Any], **changes: Any) -> None:
        self.transport.write(self.encoded(message, document, **changes))

    @staticmethod
    def encoded(
        message: Message, document: Mapping[str, Any], response_to: int = 0, flags: int = 0
    ) -> bytes:
        body = bson.encode(document)
        return encode_message(Message(7, response_to or message.request_id, flags, body))


class FakeServer:
    """Answers `hello` and says `{ok: 1, from: number of the connection}` to everything else.

    Attributes:
        script: command name -> what happens instead.
        seen: every command but hello, decoded, with the documents of its sections.
        lost: numbers of connections that are closed.
        hung: it takes bytes and does nothing.
    """

    def __init__(self, script: Mapping[str, Handler]) -> None:
        self.script = script
        self.hello: dict[str, Any] = dict(HELLO)
        self.peers: list[Peer] = []
        self.lost: list[int] = []
        self.hung = False
        self.seen: list[dict[str, Any]] = []

    def receive(self, peer: Peer, message: Message) -> None:
        command = bson.decode(message.body)
        name = next(iter(command))
        for section, documents in message.sections:
            command[section] = [bson.decode(each) for each in documents]
        handler = self.script.get(name)
        if handler is not None:
            self.seen.append(command)
            handler(peer, message)
        elif name in {"hello", "ismaster", "isMaster"}:
            peer.reply(message, self.hello)
        elif name != "endSessions":
            self.seen.append(command)
            peer.reply(message, {"ok": 1, "from": peer.number})

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - nothing tells us but the sockets
                await asyncio.sleep(0.001)


@asynccontextmanager
async def serving(port: int = 0, **script: Handler) -> AsyncIterator[FakeServer]:
    server = FakeServer(script)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Peer(server), "127.0.0.1", port)
    server.port = listener.sockets[0].getsockname()[1]
    server.member = f"127.0.0.1:{server.port}"
    try:
        yield server
    finally:
        listener.close()
        for peer in server.peers:
            peer.transport.abort()
        await server.until(lambda: len(server.lost) == len(server.peers))
        await listener.wait_closed()


async def dial(server: FakeServer) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection(server.member), "127.0.0.1", server.port
    )
    return connection


@pytest.fixture(name="serving")
def _serving() -> Callable[..., Any]:
    return serving


@pytest.fixture(name="dial")
def _dial() -> Callable[[FakeServer], Awaitable[Connection]]:
    return dial
