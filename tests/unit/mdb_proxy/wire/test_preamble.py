"""PROXY headers of version 2, as load balancers send them, and what is none."""

import struct

import pytest

from mdb_proxy.wire.frames import WireError
from mdb_proxy.wire.preamble import FIXED, MAX_REST, SIGNATURE, Origin, origin_of, rest_of

V4 = bytes([10, 0, 0, 1, 10, 0, 0, 2]) + struct.pack(">HH", 5000, 27017)
V6 = bytes(15) + b"\1" + bytes(15) + b"\2" + struct.pack(">HH", 5000, 27017)


def header(command: int, family: int, rest: bytes, size: int | None = None) -> tuple[bytes, bytes]:
    fixed = SIGNATURE + bytes([command, family])
    return fixed + struct.pack(">H", len(rest) if size is None else size), rest


@pytest.mark.parametrize(
    ("command", "family", "rest", "origin"),
    [
        (0x21, 0x11, V4, Origin(("10.0.0.1", 5000), ("10.0.0.2", 27017))),
        (0x21, 0x11, V4 + b"\x03\0\4abcd", Origin(("10.0.0.1", 5000), ("10.0.0.2", 27017))),
        (0x21, 0x21, V6, Origin(("::1", 5000), ("::2", 27017))),
        (0x20, 0x11, V4, None),
        (0x20, 0x00, b"", None),
        (0x21, 0x00, b"", None),
        (0x21, 0x31, bytes(216), None),
        (0x21, 0x12, V4, None),
    ],
)
def test_headers(command: int, family: int, rest: bytes, origin: Origin | None) -> None:
    fixed, rest = header(command, family, rest)
    assert rest_of(fixed) == len(rest)
    assert origin_of(fixed, rest) == origin


@pytest.mark.parametrize(
    "fixed",
    [
        b"PROXY TCP4 10.0.",
        header(0x11, 0x11, V4)[0],
        header(0x22, 0x11, V4)[0],
        header(0x21, 0x11, b"", MAX_REST + 1)[0],
        bytes(FIXED.size),
    ],
)
def test_no_headers(fixed: bytes) -> None:
    with pytest.raises(WireError):
        rest_of(fixed)


@pytest.mark.parametrize(("family", "rest"), [(0x11, V4), (0x21, V6)])
def test_addresses_that_are_cut_off(family: int, rest: bytes) -> None:
    for size in range(len(rest)):
        with pytest.raises(WireError, match="cut off"):
            origin_of(*header(0x21, family, rest[:size]))
