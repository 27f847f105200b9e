"""Whatever the chunks, the same frames; whatever the bytes, messages or WireError."""

import struct
from contextlib import suppress

import bson
from hypothesis import given
from hypothesis import strategies as st

from mdb_proxy.wire import (
    COMPRESSORS,
    OP_COMPRESSED,
    OP_MSG,
    OP_QUERY,
    Frame,
    Frames,
    Message,
    WireError,
    encode_message,
    foreign,
    frame,
    parse_message,
    parse_query,
    unwrap,
    wrap,
)

INT32 = st.integers(-(2**31), 2**31 - 1)
OPCODES = st.sampled_from([OP_MSG, OP_QUERY, OP_COMPRESSED, 1, 0])
FRAMES = st.builds(Frame, INT32, INT32, OPCODES, st.binary(max_size=300))
DOCUMENTS = st.dictionaries(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5),
    st.none() | st.booleans() | INT32 | st.binary(max_size=20),
    max_size=4,
).map(bson.encode)
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
SECTIONS = st.lists(st.tuples(NAMES, st.lists(DOCUMENTS, max_size=3).map(tuple)), max_size=3).map(
    tuple
)
FLAGS = st.sampled_from([0, 2, 1 << 16, 1 << 16 | 2, 1 << 20])
MESSAGES = st.builds(Message, INT32, INT32, FLAGS, DOCUMENTS, SECTIONS)


def encode(each: Frame) -> bytes:
    return frame(each.opcode, each.request_id, each.response_to, (each.payload,))


def parse(each: Frame) -> None:
    """What the proxy does with a frame; nothing but WireError may come out."""
    with suppress(WireError):
        parse_message(each)
    with suppress(WireError):
        parse_query(each)
    with suppress(WireError):
        parse_message(unwrap(each, limit=10_000))


@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(0, 400), max_size=30))
def test_any_chunking_gives_the_same_frames(frames: list[Frame], sizes: list[int]) -> None:
    data = b"".join(map(encode, frames))
    splitter, found = Frames(), []
    for size in [*sizes, len(data)]:
        found += splitter.feed(data[:size])
        data = data[size:]
        assert splitter.pending <= 16 + 300
    assert found == frames
    assert splitter.pending == 0


@given(st.lists(FRAMES, max_size=4))
def test_byte_by_byte_gives_the_same_frames(frames: list[Frame]) -> None:
    splitter, found = Frames(), []
    for byte in b"".join(map(encode, frames)):
        found += splitter.feed(bytes([byte]))
    assert found == frames


@given(st.lists(st.binary(max_size=200), max_size=5), st.integers(16, 300))
def test_junk_gives_frames_or_wire_error(chunks: list[bytes], limit: int) -> None:
    splitter = Frames(limit)
    with suppress(WireError):
        for chunk in chunks:
            foreign(chunk)
            for found in splitter.feed(chunk):
                assert 16 + len(found.payload) <= limit
                parse(found)


@given(FRAMES)
def test_junk_payloads_give_messages_or_wire_error(each: Frame) -> None:
    parse(each)


@given(MESSAGES, st.data())
def test_a_damaged_message_gives_a_message_or_wire_error(message: Message, data: st.DataObject):
    (found,) = Frames().feed(encode_message(message))
    at = data.draw(st.integers(0, len(found.payload) - 1))
    byte = data.draw(st.integers(0, 255))
    payload = found.payload[:at] + bytes([byte]) + found.payload[at + 1 :]
    parse(Frame(found.request_id, found.response_to, found.opcode, payload))
    parse(Frame(found.request_id, found.response_to, found.opcode, found.payload[:at]))


@given(MESSAGES)
def test_a_message_comes_back(message: Message) -> None:
    (found,) = Frames().feed(encode_message(message))
    assert parse_message(found) == message


@given(FRAMES.filter(lambda each: each.opcode != OP_COMPRESSED), st.sampled_from([*COMPRESSORS]))
def test_compression_comes_back(each: Frame, name: str) -> None:
    (outer,) = Frames().feed(wrap(encode(each), name))
    assert outer.opcode == OP_COMPRESSED
    assert unwrap(outer) == each


@given(st.binary(max_size=100), st.integers(0, 5000), st.integers(0, 4), st.data())
def test_junk_in_compression_gives_a_frame_or_wire_error(
    junk: bytes, size: int, number: int, data: st.DataObject
) -> None:
    for compressor in COMPRESSORS.values():
        good = bytearray(compressor.compress(junk))
        good[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(0, 255))
        for inside in (junk, bytes(good)):
            prefix = struct.pack("<iiB", OP_MSG, size, number)
            for announced in (prefix, struct.pack("<iiB", OP_MSG, len(junk), compressor.id)):
                parse(Frame(1, 0, OP_COMPRESSED, announced + inside))
