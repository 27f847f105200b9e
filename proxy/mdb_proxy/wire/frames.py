"""A stream of bytes is a sequence of frames: a 16-byte header that holds the length, and a payload.

Source: MongoDB wire protocol, "Standard Message Header". All integers are little-endian.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

HEADER: Final = struct.Struct("<iiii")
_LENGTH: Final = struct.Struct("<i")

MAX_MESSAGE: Final = 48_000_000
"""The longest message in bytes, header included; mongod hangs up on a longer one."""
MAX_BEFORE_LOGIN: Final = 65_536
"""The longest message in bytes that a client may send before it has authenticated."""

OP_REPLY: Final = 1
OP_QUERY: Final = 2004
OP_COMPRESSED: Final = 2012
OP_MSG: Final = 2013

_FOREIGN: Final[tuple[tuple[bytes, str], ...]] = (
    (b"GET ", "http"),
    (b"HEAD", "http"),
    (b"OPTI", "http"),
    (b"POST", "http"),
    (b"PUT ", "http"),
    (b"\x16\x03", "tls"),
)


class WireError(Exception):
    """These bytes are not a message. The connection is closed without an answer."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message as it came: its header's numbers and the bytes behind the header."""

    request_id: int
    response_to: int
    opcode: int
    payload: bytes


class Frames:
    """Cuts a stream of bytes into frames, whatever the chunks. Of no use after a WireError.

    Attributes:
        limit: the longest frame in bytes, header included; may be changed at any time.
        pending: bytes of an unfinished frame that are held.
    """

    __slots__ = ("_chunks", "_needed", "limit", "pending")

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self.limit = limit
        self.pending = 0
        self._chunks: list[bytes] = []
        self._needed = _LENGTH.size

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that these bytes complete, in order.

        Raises:
            WireError: a length below that of the header or above the limit.
        """
        # Chunks are joined once per frame, not once per chunk: a large message stays linear.
        self._chunks.append(data)
        self.pending += len(data)
        if self.pending < self._needed:
            return []
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        found: list[Frame] = []
        start, self._needed = 0, _LENGTH.size
        while len(data) - start >= _LENGTH.size:
            length = self._length(data, start)
            if len(data) - start < length:
                self._needed = length
                break
            _, request_id, response_to, opcode = HEADER.unpack_from(data, start)
            payload = data[start + HEADER.size : start + length]
            found.append(Frame(request_id, response_to, opcode, payload))
            start += length
        self._chunks = [data[start:]] if start < len(data) else []
        self.pending = len(data) - start
        return found

    def _length(self, data: bytes, start: int) -> int:
        (length,) = _LENGTH.unpack_from(data, start)
        if not HEADER.size <= length <= self.limit:
            raise WireError(f"message length {length} is not within 16 and {self.limit}")
        return int(length)


def frame(opcode: int, request_id: int, response_to: int, parts: Iterable[bytes]) -> bytes:
    """A whole message: the header and the parts of its payload behind it."""
    payload = b"".join(parts)
    return HEADER.pack(HEADER.size + len(payload), request_id, response_to, opcode) + payload


def foreign(data: bytes) -> str | None:
    """What speaks here, when a connection's first bytes are not this protocol: "http", "tls"."""
    return next((name for start, name in _FOREIGN if data.startswith(start)), None)
