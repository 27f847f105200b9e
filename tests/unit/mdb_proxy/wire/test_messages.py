import struct

import bson
import google_crc32c
import pytest

from mdb_proxy.wire.frames import OP_MSG, Frame, Frames, WireError, frame
from mdb_proxy.wire.messages import (
    EXHAUST_ALLOWED,
    MORE_TO_COME,
    Message,
    encode_message,
    parse_message,
)

BODY = bson.encode({"insert": "tasks", "$db": "shop"})
ONE = bson.encode({"_id": 1})
TWO = bson.encode({"_id": 2})


def flags(value: int) -> bytes:
    return struct.pack("<I", value)


def section(name: bytes, *documents: bytes) -> bytes:
    inside = name + b"\0" + b"".join(documents)
    return b"\1" + struct.pack("<i", 4 + len(inside)) + inside


def parse(payload: bytes) -> Message:
    return parse_message(Frame(7, 3, OP_MSG, payload))


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (flags(0) + b"\0" + BODY, Message(7, 3, 0, BODY)),
        (
            flags(MORE_TO_COME) + b"\0" + BODY + section(b"documents", ONE, TWO),
            Message(7, 3, MORE_TO_COME, BODY, (("documents", (ONE, TWO)),)),
        ),
        (
            flags(EXHAUST_ALLOWED) + section(b"a", ONE) + b"\0" + BODY + section(b"a"),
            Message(7, 3, EXHAUST_ALLOWED, BODY, (("a", (ONE,)), ("a", ()))),
        ),
        (flags(1 << 31) + b"\0" + BODY, Message(7, 3, 1 << 31, BODY)),
    ],
)
def test_parse(payload: bytes, message: Message) -> None:
    assert parse(payload) == message


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0\0\0",
        flags(0),
        flags(0) + b"\0" + BODY + b"\0" + BODY,
        flags(0) + section(b"documents", ONE),
        flags(0) + b"\2" + BODY,
        flags(0) + b"\0",
        flags(0) + b"\0" + BODY[:-1],
        flags(0) + b"\0" + b"\4\0\0\0\0",
        flags(0) + b"\0" + BODY + b"\1\0\0",
        flags(0) + b"\0" + BODY + b"\1" + struct.pack("<i", 3) + b"a\0",
        flags(0) + b"\0" + BODY + b"\1" + struct.pack("<i", 99) + b"a\0",
        flags(0) + b"\0" + BODY + b"\1" + struct.pack("<i", 6) + b"ab" + b"\0",
        flags(0) + b"\0" + BODY + b"\1" + struct.pack("<i", 6) + b"\xff\0",
        flags(0) + b"\0" + BODY + section(b"a", ONE[:-1]),
        flags(0) + b"\0" + BODY + section(b"a", ONE, b"\0"),
        flags(1),
        flags(1) + b"\0\0",
        *(flags(1 << bit) + b"\0" + BODY for bit in range(2, 16)),
    ],
)
def test_what_is_no_message_is_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        parse(payload)


def with_checksum(wrong: int) -> Frame:
    payload = flags(1) + b"\0" + BODY
    header = struct.pack("<iiii", 16 + len(payload) + 4, 7, 3, OP_MSG)
    checksum = google_crc32c.value(header + payload) ^ wrong
    return Frame(7, 3, OP_MSG, payload + flags(checksum))


def test_a_checksum_is_verified_and_taken_off() -> None:
    assert parse_message(with_checksum(wrong=0)) == Message(7, 3, 0, BODY)
    with pytest.raises(WireError):
        parse_message(with_checksum(wrong=1))


def test_encode() -> None:
    message = Message(7, 3, MORE_TO_COME, BODY, (("documents", (ONE, TWO)), ("x", ())))
    parts = [flags(2), b"\0", BODY, section(b"documents", ONE, TWO), section(b"x")]
    assert encode_message(message) == frame(OP_MSG, 7, 3, parts)


def test_encode_never_announces_a_checksum() -> None:
    (found,) = Frames().feed(encode_message(Message(1, 0, 1, BODY)))
    assert parse_message(found).flags == 0


def test_flags_have_names() -> None:
    assert Message(1, 0, MORE_TO_COME, BODY).more_to_come
    assert not Message(1, 0, EXHAUST_ALLOWED, BODY).more_to_come
    assert Message(1, 0, EXHAUST_ALLOWED, BODY).exhaust_allowed
    assert not Message(1, 0, 0, BODY).exhaust_allowed
