"""A cluster without a network: PyMongo's connections answer themselves, from a table.

Everything of the driver runs, save the socket: what is compared costs the same on both sides.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import bson
from pymongo.asynchronous import pool
from pymongo.message import _OpMsg

HEADER = 16
BODY = HEADER + 5
HELLO = {
    "ok": 1.0, "isWritablePrimary": True, "helloOk": True, "minWireVersion": 0,
    "maxWireVersion": 17, "maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000, "readOnly": False, "logicalSessionTimeoutMinutes": 30,
    "setName": "rs0", "me": "stub:1", "hosts": ["stub:1"], "primary": "stub:1",
}  # fmt: skip
FOUND = {"_id": 1, "status": "pending", "title": "Complete project", "n": 5}
INDEX = {"v": 2, "name": "by_n", "key": {"n": 1, "status": 1}}
CURSOR = {"id": 0, "ns": "mdb.shop_tasks"}
REPLIES: Mapping[str, Mapping[str, Any]] = {
    "aggregate": {"cursor": {**CURSOR, "firstBatch": [{"_id": 1, "n": 3}]}, "ok": 1.0},
    "delete": {"n": 1, "ok": 1.0},
    "endSessions": {"ok": 1.0},
    "find": {"cursor": {**CURSOR, "firstBatch": [FOUND]}, "ok": 1.0},
    "hello": HELLO,
    "ismaster": {**HELLO, "ismaster": True},
    "insert": {"n": 1, "ok": 1.0},
    "listIndexes": {"cursor": {**CURSOR, "firstBatch": [INDEX]}, "ok": 1.0},
    "update": {"n": 1, "nModified": 1, "ok": 1.0},
}
"""Command -> reply."""

URI = "mongodb://stub:1/?replicaSet=rs0&heartbeatFrequencyMS=100000"


class Interface:
    """Stands for a socket."""

    @property
    def get_conn(self) -> "Interface":
        return self

    def settimeout(self, _timeout: float | None) -> None:
        """Nothing waits."""

    async def close(self) -> None:
        """Nothing is open."""

    def is_closing(self) -> bool:
        return False


def reply_to(message: bytes) -> bytes:
    """Give the table's answer to an OP_MSG: its command is the first name of its body."""
    start = BODY + 5
    name = message[start : message.index(b"\0", start)].decode()
    return _ENCODED[name]


_ENCODED = {name: b"\0\0\0\0\0" + bson.encode(reply) for name, reply in REPLIES.items()}


@contextmanager
def stubbed() -> Iterator[str]:
    """Replace the driver's sockets; gives the URI of a cluster that is not there."""
    answers: dict[int, bytes] = {}

    async def interface(*_: Any) -> Any:
        return Interface()

    async def send(self: Any, message: bytes, _size: int) -> None:
        answers[id(self)] = reply_to(message)

    async def receive(self: Any, _request: int | None) -> Any:
        return _OpMsg.unpack(answers[id(self)])

    with (
        mock.patch.object(pool, "_configured_protocol_interface", interface),
        mock.patch.object(pool.AsyncConnection, "send_message", send),
        mock.patch.object(pool.AsyncConnection, "receive_message", receive),
    ):
        yield URI
