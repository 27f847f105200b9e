import struct

import pytest

from mdb_proxy.wire.frames import MAX_MESSAGE, OP_MSG, Frame, Frames, WireError, foreign, frame

ONE = frame(OP_MSG, 1, 0, [b"abc", b"", b"def"])
TWO = frame(OP_MSG, 2, 1, [])


def test_frame_writes_the_header() -> None:
    assert struct.pack("<iiii", 22, 1, 0, 2013) + b"abcdef" == ONE


@pytest.mark.parametrize(
    ("chunks", "found"),
    [
        ([ONE], [[1]]),
        ([ONE + TWO], [[1, 2]]),
        ([ONE + TWO + ONE[:3], ONE[3:]], [[1, 2], [1]]),
        ([ONE[:2], ONE[2:4], ONE[4:16], ONE[16:] + TWO[:1], TWO[1:]], [[], [], [], [1], [2]]),
        ([b"", ONE], [[], [1]]),
    ],
)
def test_feed_gives_frames_as_they_complete(chunks: list[bytes], found: list[list[int]]) -> None:
    frames = Frames()
    assert [[each.request_id for each in frames.feed(chunk)] for chunk in chunks] == found
    assert frames.pending == 0


def test_a_frame_has_the_header_and_the_payload() -> None:
    assert Frames().feed(ONE) == [Frame(1, 0, OP_MSG, b"abcdef")]


def test_pending_counts_held_bytes() -> None:
    frames = Frames()
    frames.feed(ONE[:3])
    assert frames.pending == 3
    frames.feed(ONE[3:10])
    assert frames.pending == 10
    frames.feed(ONE[10:] + TWO[:5])
    assert frames.pending == 5


@pytest.mark.parametrize("length", [-1, 0, 15, MAX_MESSAGE + 1, 2**31 - 1])
def test_a_bad_length_is_refused_before_the_payload_arrives(length: int) -> None:
    with pytest.raises(WireError):
        Frames().feed(struct.pack("<i", length))


@pytest.mark.parametrize("length", [16, MAX_MESSAGE])
def test_lengths_at_the_limits_are_good(length: int) -> None:
    assert Frames().feed(struct.pack("<i", length)) == []


def test_the_limit_may_change() -> None:
    frames = Frames(limit=16)
    with pytest.raises(WireError):
        frames.feed(ONE)
    frames = Frames(limit=16)
    frames.limit = 22
    assert len(frames.feed(ONE)) == 1


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"GET / HTTP/1.1\r\n", "http"),
        (b"POST /x", "http"),
        (b"HEAD /", "http"),
        (b"PUT /x", "http"),
        (b"OPTIONS *", "http"),
        (b"\x16\x03\x01\x02\x00", "tls"),
        (b"\x16\x02\x01", None),
        (b"GE", None),
        (b"", None),
        (ONE, None),
    ],
)
def test_foreign_protocols_are_recognised(data: bytes, what: str | None) -> None:
    assert foreign(data) == what
