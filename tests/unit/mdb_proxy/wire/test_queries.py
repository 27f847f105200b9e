import struct

import bson
import pytest

from mdb_proxy.wire.frames import OP_QUERY, OP_REPLY, Frame, Frames, WireError
from mdb_proxy.wire.queries import QUERY_FAILURE, Query, encode_reply, parse_query

HELLO = bson.encode({"ismaster": 1, "helloOk": True})
FIELDS = bson.encode({"_id": 1})
START = struct.pack("<i", 4) + b"admin.$cmd\0"
RANGE = struct.pack("<ii", 0, -1)


def parse(payload: bytes) -> Query:
    return parse_query(Frame(9, 0, OP_QUERY, payload))


@pytest.mark.parametrize("payload", [START + RANGE + HELLO, START + RANGE + HELLO + FIELDS])
def test_parse(payload: bytes) -> None:
    assert parse(payload) == Query(9, 4, "admin.$cmd", HELLO)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        START[:3],
        START[:-1],
        START,
        START + RANGE[:-1],
        START + RANGE,
        START + RANGE + HELLO[:-1],
        START + RANGE + HELLO + b"\0",
        START + RANGE + HELLO + FIELDS + b"\0",
        struct.pack("<i", 4) + b"\xff\0" + RANGE + HELLO,
    ],
)
def test_what_is_no_query_is_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        parse(payload)


@pytest.mark.parametrize("flags", [0, QUERY_FAILURE])
def test_a_reply_holds_one_document(flags: int) -> None:
    (reply,) = Frames().feed(encode_reply(HELLO, response_to=9, request_id=2, flags=flags))
    assert (reply.request_id, reply.response_to, reply.opcode) == (2, 9, OP_REPLY)
    assert reply.payload == struct.pack("<iqii", flags, 0, 0, 1) + HELLO
