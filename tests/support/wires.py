"""One raw connection to a proxy: every byte that goes and every byte that comes is kept."""

import contextlib
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import bson
from scramp import ScramClient

from mdb_engine.rawbson import Document, element, encode, splice_end

OP_REPLY: Final = 1
OP_QUERY: Final = 2004
OP_MSG: Final = 2013
HEADER: Final = struct.Struct("<iiii")
ANSWER_SECONDS: Final = 40.0
SILENCE_SECONDS: Final = 0.15
MECHANISM: Final = "SCRAM-SHA-256"
OPTIONS: Any = bson.CodecOptions(uuid_representation=4, unicode_decode_error_handler="replace")

Section = tuple[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Said:
    """One message of the proxy: its opcode, its flags, the raw document in it."""

    opcode: int
    flags: int
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        """Give the document as plain values."""
        return bson.decode(self.raw, OPTIONS)


class ClosedError(Exception):
    """The proxy closed the connection."""


@dataclass(slots=True)
class Line:
    """A connection. `sent` and `got` grow until they are forgotten."""

    stream: socket.socket
    sent: bytearray = field(default_factory=bytearray)
    got: bytearray = field(default_factory=bytearray)
    numbers: Any = field(default_factory=lambda: count(1))

    @classmethod
    def to(cls, host: str, port: int) -> "Line":
        """Connect."""
        return cls(socket.create_connection((host, port), timeout=ANSWER_SECONDS))

    def close(self) -> None:
        self.stream.close()

    def forget(self) -> None:
        """Begin a new conversation."""
        self.sent.clear()
        self.got.clear()

    def log_in(self, user: str, password: str) -> None:
        """Prove who we are; not part of the conversation."""
        scram = ScramClient([MECHANISM], user, password)
        first = {"saslStart": 1, "mechanism": MECHANISM, "payload": scram.get_client_first()}
        reply = self.ask({**first, "options": {"skipEmptyExchange": True}, "$db": "admin"})
        if not reply["ok"]:
            raise PermissionError(reply["errmsg"])
        scram.set_server_first(bytes(reply["payload"]).decode())
        final = {"saslContinue": 1, "conversationId": reply["conversationId"], "$db": "admin"}
        reply = self.ask({**final, "payload": scram.get_client_final()})
        scram.set_server_final(bytes(reply["payload"]).decode())
        self.forget()

    def ask(self, command: Any, **more: Any) -> dict[str, Any]:
        """Give the answer to a command."""
        self.send(message(command, **more))
        return self.hear().body

    def send(self, payload: tuple[int, bytes]) -> None:
        """Send a message: its opcode, and what stands behind the header."""
        opcode, rest = payload
        data = HEADER.pack(HEADER.size + len(rest), next(self.numbers), 0, opcode) + rest
        self.sent += data
        with contextlib.suppress(OSError):  # what was said before the end is still to be read
            self.stream.sendall(data)

    def hear(self) -> Said:
        """Give the next message.

        Raises:
            ClosedError: there will be none.
        """
        length, _, _, opcode = HEADER.unpack(self._read(HEADER.size))
        rest = self._read(length - HEADER.size)
        if opcode == OP_REPLY:
            return Said(opcode, int.from_bytes(rest[:4], "little"), rest[20:])
        assert opcode == OP_MSG, opcode
        assert rest[4] == 0, "one section of kind 0"
        return Said(opcode, int.from_bytes(rest[:4], "little"), rest[5:])

    def is_silent(self) -> bool:
        """Whether nothing comes, and the connection stays."""
        self.stream.settimeout(SILENCE_SECONDS)
        try:
            self.got += self.stream.recv(1)
        except TimeoutError:
            return True
        finally:
            self.stream.settimeout(ANSWER_SECONDS)
        return False

    def is_closed(self) -> bool:
        """Whether the proxy closes without another word."""
        try:
            rest = self.stream.recv(4096)
        except ConnectionResetError:
            return True
        self.got += rest
        return not rest

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                part = self.stream.recv(size - len(data))
            except ConnectionResetError:
                part = b""
            if not part:
                raise ClosedError
            data += part
        self.got += data
        return bytes(data)


def body_of(command: Any, db: str | None) -> bytes:
    """Give the bytes of a command with its database; None: it names none."""
    if isinstance(command, Document):
        return command.data if db is None else splice_end(command.data, element(b"$db", db))
    more = {} if db is None or "$db" in command else {"$db": db}
    return encode({**command, **more})


def message(
    command: Any, db: str | None = None, *, flags: int = 0, sections: Iterable[Section] = ()
) -> tuple[int, bytes]:
    """Give an OP_MSG."""
    parts = [struct.pack("<I", flags), b"\0", body_of(command, db)]
    for name, documents in sections:
        inside = name.encode() + b"\0" + b"".join(map(encode, documents))
        parts.append(b"\1" + struct.pack("<i", len(inside) + 4) + inside)
    return OP_MSG, b"".join(parts)


def raw(opcode: int, parts: Iterable[tuple[str, Any]]) -> tuple[int, bytes]:
    """Give a message of any opcode, piece by piece: `[("int32", 0), ("cstring", "app.tasks")]`."""
    return opcode, b"".join(PIECES[kind](value) for kind, value in parts)


def _compressed(value: Any) -> bytes:
    """`[inner opcode, pieces]`, under the compressor that changes nothing."""
    opcode, inner = raw(*value)
    return struct.pack("<iib", opcode, len(inner), 0) + inner


PIECES: Final = {
    "byte": lambda v: struct.pack("<B", v),
    "compressed": _compressed,
    "cstring": lambda v: v.encode() + b"\0",
    "document": encode,
    "int32": lambda v: struct.pack("<i", v),
    "int64": lambda v: struct.pack("<q", v),
}
