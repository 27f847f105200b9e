"""OP_MSG: flags, one body document, and named sequences of documents.

Source: OP_MSG specification, "Sections" and "Flag Bits".
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import google_crc32c

from mdb_proxy.wire.fields import INT32, cut_document, cut_text
from mdb_proxy.wire.frames import OP_MSG, Frame, WireError, frame

CHECKSUM_PRESENT: Final = 1 << 0
MORE_TO_COME: Final = 1 << 1
EXHAUST_ALLOWED: Final = 1 << 16

_UINT32: Final = struct.Struct("<I")
_REQUIRED_BITS: Final = 0xFFFF
_KNOWN_REQUIRED: Final = CHECKSUM_PRESENT | MORE_TO_COME
_BODY: Final = 0
_SEQUENCE: Final = 1

Sections = tuple[tuple[str, tuple[bytes, ...]], ...]


@dataclass(frozen=True, slots=True)
class Message:
    """One OP_MSG.

    Attributes:
        flags: never the checksum's bit; it is a matter of the bytes alone.
        body: BSON of the kind-0 section.
        sections: kind-1 sections in order, `(name, documents)`; a name may come twice.
    """

    request_id: int
    response_to: int
    flags: int
    body: bytes
    sections: Sections = ()

    @property
    def more_to_come(self) -> bool:
        """The sender wants no reply (a client), or sends another message after this one."""
        return bool(self.flags & MORE_TO_COME)

    @property
    def exhaust_allowed(self) -> bool:
        """The client would take several replies to this one request."""
        return bool(self.flags & EXHAUST_ALLOWED)


def parse_message(frame: Frame) -> Message:
    """The message in a frame of opcode OP_MSG.

    Raises:
        WireError: unknown required flag, wrong checksum, not exactly one body, a section of
            unknown kind, a size that does not fit.
    """
    payload = frame.payload
    if len(payload) < _UINT32.size:
        raise WireError("the flags are cut off")
    (flags,) = _UINT32.unpack_from(payload)
    if flags & _REQUIRED_BITS & ~_KNOWN_REQUIRED:
        raise WireError(f"unknown required flags {flags:#x}")
    end = len(payload)
    if flags & CHECKSUM_PRESENT:
        end -= _UINT32.size
        _verify(frame, end)
    bodies: list[bytes] = []
    sections: list[tuple[str, tuple[bytes, ...]]] = []
    for name, documents in _sections(payload, _UINT32.size, end):
        if name is None:
            bodies.extend(documents)
        else:
            sections.append((name, documents))
    if len(bodies) != 1:
        raise WireError(f"{len(bodies)} body sections")
    return Message(
        frame.request_id, frame.response_to, flags & ~CHECKSUM_PRESENT, bodies[0], tuple(sections)
    )


def encode_message(message: Message) -> bytes:
    """A whole OP_MSG, header included; never with a checksum."""
    parts = [_UINT32.pack(message.flags & ~CHECKSUM_PRESENT), b"\0", message.body]
    for name, documents in message.sections:
        title = name.encode() + b"\0"
        size = INT32.size + len(title) + sum(map(len, documents))
        parts += (b"\1", INT32.pack(size), title, *documents)
    return frame(OP_MSG, message.request_id, message.response_to, parts)


def _verify(message: Frame, end: int) -> None:
    """Compare the CRC-32C behind the sections with that of all bytes before it, header included."""
    if end < _UINT32.size:
        raise WireError("the checksum is cut off")
    (expected,) = _UINT32.unpack_from(message.payload, end)
    whole = frame(message.opcode, message.request_id, message.response_to, (message.payload,))
    if google_crc32c.value(whole[: -_UINT32.size]) != expected:
        raise WireError("the checksum does not match")


def _sections(
    payload: bytes, start: int, end: int
) -> Iterator[tuple[str | None, tuple[bytes, ...]]]:
    """Each section between two positions; the body's name is None."""
    while start < end:
        kind = payload[start]
        if kind == _BODY:
            body, start = cut_document(payload, start + 1, end)
            yield None, (body,)
        elif kind == _SEQUENCE:
            name, documents, start = _sequence(payload, start + 1, end)
            yield name, documents
        else:
            raise WireError(f"unknown section kind {kind}")


def _sequence(payload: bytes, start: int, end: int) -> tuple[str, tuple[bytes, ...], int]:
    """Name and documents of the kind-1 section at `start`, and the position behind it."""
    if end - start < INT32.size:
        raise WireError("a section is cut off")
    (size,) = INT32.unpack_from(payload, start)
    if not INT32.size <= size <= end - start:
        raise WireError(f"section size {size} does not fit in {end - start} bytes")
    stop = start + size
    name, start = cut_text(payload, start + INT32.size, stop)
    documents: list[bytes] = []
    while start < stop:
        document, start = cut_document(payload, start, stop)
        documents.append(document)
    return name, tuple(documents), stop
