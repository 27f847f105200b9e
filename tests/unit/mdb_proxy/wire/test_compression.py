import struct
import zlib

import pytest
import zstandard

from mdb_proxy.wire.compression import COMPRESSORS, available, unwrap, wrap
from mdb_proxy.wire.frames import OP_COMPRESSED, OP_MSG, Frame, Frames, WireError, frame

PAYLOAD = b"abc" * 1000
MESSAGE = frame(OP_MSG, 5, 4, [PAYLOAD])
NUMBERS = {"snappy": 1, "zlib": 2, "zstd": 3}


def compressed(data: bytes, size: int, number: int, opcode: int = OP_MSG) -> Frame:
    return Frame(5, 4, OP_COMPRESSED, struct.pack("<iiB", opcode, size, number) + data)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("payload", [PAYLOAD, b"", b"x"])
def test_a_message_comes_back(name: str, payload: bytes) -> None:
    message = frame(OP_MSG, 5, 4, [payload])
    (outer,) = Frames().feed(wrap(message, name))
    assert (outer.opcode, outer.payload[8]) == (OP_COMPRESSED, NUMBERS[name])
    assert unwrap(outer) == Frame(5, 4, OP_MSG, payload)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("size", [0, len(PAYLOAD) - 1, len(PAYLOAD) + 1])
def test_another_size_than_announced_is_refused(name: str, size: int) -> None:
    data = COMPRESSORS[name].compress(PAYLOAD)
    with pytest.raises(WireError):
        unwrap(compressed(data, size, NUMBERS[name]))


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-2],
        lambda data: data[:2] + b"\xff" * (len(data) - 2),
        lambda _: b"",
        lambda _: b"\xff" * 20,
    ],
)
def test_damaged_data_is_refused(name: str, damage: object) -> None:
    assert callable(damage)
    data = damage(COMPRESSORS[name].compress(PAYLOAD))
    with pytest.raises(WireError):
        unwrap(compressed(data, len(PAYLOAD), NUMBERS[name]))


def test_bytes_behind_the_compressed_data_are_refused() -> None:
    for name in ("zlib", "zstd"):
        data = COMPRESSORS[name].compress(PAYLOAD) + b"more"
        with pytest.raises(WireError):
            unwrap(compressed(data, len(PAYLOAD), NUMBERS[name]))


@pytest.mark.parametrize(("size", "good"), [(3000, True), (2999, False), (3001, False)])
def test_zstd_data_need_not_state_its_size(size: int, good: bool) -> None:
    data = zstandard.ZstdCompressor(write_content_size=False).compress(PAYLOAD)
    if good:
        assert unwrap(compressed(data, size, 3)).payload == PAYLOAD
    else:
        with pytest.raises(WireError):
            unwrap(compressed(data, size, 3))


@pytest.mark.parametrize(
    "outer",
    [
        Frame(5, 4, OP_COMPRESSED, b"\0" * 8),
        compressed(zlib.compress(b""), 0, 2, opcode=OP_COMPRESSED),
        compressed(zlib.compress(PAYLOAD), -1, 2),
        compressed(zlib.compress(PAYLOAD), 48_000_000, 2),
        compressed(PAYLOAD, len(PAYLOAD), 0),
        compressed(PAYLOAD, len(PAYLOAD), 4),
    ],
)
def test_what_is_no_compressed_message_is_refused(outer: Frame) -> None:
    with pytest.raises(WireError):
        unwrap(outer)


def test_the_limit_counts_the_header() -> None:
    (outer,) = Frames().feed(wrap(MESSAGE, "zlib"))
    assert unwrap(outer, limit=len(MESSAGE)).payload == PAYLOAD
    with pytest.raises(WireError):
        unwrap(outer, limit=len(MESSAGE) - 1)


def test_only_installed_compressors_are_offered() -> None:
    made = COMPRESSORS["zlib"]
    makers = {"zlib": ("zlib", lambda _: made), "lost": ("no_such_module", lambda _: made)}
    assert available(makers) == {"zlib": made}
