"""One connection that speaks OP_MSG as it is told: nothing is added, nothing is hidden."""

import itertools
import socket
import struct
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import bson
from pymongo.uri_parser import parse_uri
from scramp import ScramClient

OP_MSG: Final = 2013
HEADER: Final = 16
SECONDS: Final = 60
MECHANISMS: Final = ["SCRAM-SHA-256"]


class Line:
    """A client without a driver. What was sent first is answered first."""

    def __init__(self, uri: str, address: tuple[str, int] | None = None, source: str = "") -> None:
        """Connect, from a certain address of ours, and log in when the URI says as whom."""
        found = parse_uri(uri)
        where = address or found["nodelist"][0]
        self._socket = socket.create_connection(where, SECONDS, (source, 0) if source else None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._numbers = itertools.count(1)
        if found["username"]:
            source = found["options"].get("authsource") or found["database"] or "admin"
            self._log_in(found["username"], found["password"], source)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _log_in(self, user: str, password: str, source: str) -> None:
        scram = ScramClient(MECHANISMS, user, password)
        first = {"saslStart": 1, "mechanism": MECHANISMS[0], "payload": scram.get_client_first()}
        first["payload"] = first["payload"].encode()
        options = {"skipEmptyExchange": True}
        reply = bson.decode(self.ask(source, {**first, "options": options}))
        assert reply["ok"], reply
        scram.set_server_first(reply["payload"].decode())
        final = {"saslContinue": 1, "conversationId": reply["conversationId"]}
        reply = bson.decode(
            self.ask(source, {**final, "payload": scram.get_client_final().encode()})
        )
        assert reply["ok"], reply
        scram.set_server_final(reply["payload"].decode())

    def send(self, db: str, command: Mapping[str, Any]) -> None:
        """Send a command; its answer must be received before long."""
        body = bson.encode({**command, "$db": db})
        size = HEADER + 5 + len(body)
        header = struct.pack("<iiiiIB", size, next(self._numbers), 0, OP_MSG, 0, 0)
        self._socket.sendall(header + body)

    def receive(self) -> bytes:
        """Give the body of the next reply."""
        (size,) = struct.unpack("<i", self._exactly(4))
        rest = self._exactly(size - 4)
        assert rest[HEADER - 4 : HEADER + 1] == bytes(5), "flags, or a section beside the body"
        return rest[HEADER + 1 :]

    def ask(self, db: str, command: Mapping[str, Any]) -> bytes:
        """Send a command and give the body of its reply."""
        self.send(db, command)
        return self.receive()

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self._socket.recv(min(size - len(data), 1 << 20))
            if not part:
                raise ConnectionError("the other side closed the connection")
            data += part
        return bytes(data)
