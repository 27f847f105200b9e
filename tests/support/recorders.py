"""A server that says yes to everything and remembers what reached it: the rim of the engine.

The real driver talks to it, so that what is compared are the bytes that a cluster would get.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import bson
from pymongo import AsyncMongoClient

from mdb_engine.rawbson import Document
from mdb_proxy.wire import (
    OP_MSG,
    Frames,
    Message,
    encode_message,
    encode_reply,
    parse_message,
    parse_query,
)

Json = Mapping[str, Any]
QUIET = {"endSessions", "hello", "isMaster", "ismaster", "killCursors", "ping"}

_CURSOR = {"cursor": {"id": 0, "ns": "appdata.shop_tasks", "firstBatch": []}, "ok": 1.0}
REPLIES: Json = {
    "aggregate": _CURSOR,
    "distinct": {"values": [], "ok": 1.0},
    "find": _CURSOR,
    "findAndModify": {"value": None, "lastErrorObject": {"n": 0}, "ok": 1.0},
    "listCollections": _CURSOR,
    "listIndexes": _CURSOR,
    "update": {"n": 1, "nModified": 1, "ok": 1.0},
}
"""What it answers beside `{n: 1, ok: 1}`."""


class _Peer(asyncio.Protocol):
    def __init__(self, recorder: "Recorder") -> None:
        self.recorder, self.frames = recorder, Frames()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.recorder.peers.append(self)

    def data_received(self, data: bytes) -> None:
        for frame in self.frames.feed(data):
            if frame.opcode == OP_MSG:
                message = parse_message(frame)
                body = bson.encode(self.recorder.reply(message))
                self.transport.write(encode_message(Message(7, message.request_id, 0, body)))
            else:
                query = parse_query(frame)
                reply = bson.encode(self.recorder.hello)
                self.transport.write(encode_reply(reply, query.request_id, 1))


class Recorder:
    """What reached the server.

    Attributes:
        seen: every command, its document sequences among its fields.
        replies: what is answered, by command, beside REPLIES.
    """

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.replies: dict[str, Any] = {}
        self.peers: list[_Peer] = []
        self.hello: dict[str, Any] = {}

    def listen(self, port: int) -> None:
        me = f"127.0.0.1:{port}"
        self.hello = {
            "ok": 1, "helloOk": True, "isWritablePrimary": True, "setName": "rs0", "me": me,
            "hosts": [me], "primary": me, "minWireVersion": 0, "maxWireVersion": 17,
            "maxBsonObjectSize": 16777216, "maxMessageSizeBytes": 48000000,
            "maxWriteBatchSize": 100000, "logicalSessionTimeoutMinutes": 30,
        }  # fmt: skip

    def reply(self, message: Message) -> Json:
        command = dict(Document(message.body))
        name = next(iter(command))
        for section, documents in message.sections:
            command[section] = [Document(each) for each in documents]
        if name not in QUIET:
            self.seen.append(command)
        if name.lower() in ("hello", "ismaster"):
            return self.hello
        found: Json = {**REPLIES, **self.replies}.get(name, {"n": 1, "ok": 1.0})
        return found


@asynccontextmanager
async def recording() -> AsyncIterator[tuple[Recorder, AsyncMongoClient[dict[str, Any]]]]:
    """Give a recorder and the real driver's client of it."""
    recorder = Recorder()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: _Peer(recorder), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    recorder.listen(port)
    uri = f"mongodb://127.0.0.1:{port}/?directConnection=true&serverSelectionTimeoutMS=20000"
    try:
        async with AsyncMongoClient[dict[str, Any]](uri) as client:
            yield recorder, client
    finally:
        listener.close()
        for peer in recorder.peers:
            peer.transport.abort()
        await listener.wait_closed()
