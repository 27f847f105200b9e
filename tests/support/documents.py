"""BSON as nobody's driver writes it: repeated names, every type, names that hide the tag."""

import struct

from bson import encode
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId
from hypothesis import strategies as st


def framed(body: bytes) -> bytes:
    """Give a document's elements their length and their end."""
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def _item(kind: int, name: bytes, data: bytes) -> bytes:
    return bytes([kind]) + name + b"\0" + data


def _string(text: bytes) -> bytes:
    return struct.pack("<i", len(text) + 1) + text + b"\0"


def _binary(parts: tuple[int, bytes]) -> bytes:
    return struct.pack("<i", len(parts[1])) + bytes([parts[0]]) + parts[1]


def _scoped(parts: tuple[bytes, bytes]) -> bytes:
    inner = _string(parts[0]) + parts[1]
    return struct.pack("<i", len(inner) + 4) + inner


NAMES = st.sampled_from(
    [b"_id", b"app_id", b"a", b"b", b"", b"app_idx", b"xapp_id", b"app_id.x", b"$where", b"\xff"]
)
TEXTS = st.sampled_from([b"", b"shop", b"crm", b"app_id\0", b"\xc3\xa9", b"x" * 40])
CSTRINGS = st.sampled_from([b"", b"^a", b"i", b"app_id"])
NUMBERS = st.integers(-(2**63), 2**63 - 1)
DECIMALS = [encode({"": Decimal128(t)})[6:-1] for t in ("0", "1.5", "NaN", "-0E+3", "Infinity")]

FIXED = {
    0x01: st.floats().map(lambda x: struct.pack("<d", x)),
    0x06: st.just(b""),
    0x07: st.just(ObjectId(b"0123456789ab").binary),
    0x08: st.sampled_from([b"\0", b"\1"]),
    0x09: NUMBERS.map(lambda x: struct.pack("<q", x)),
    0x0A: st.just(b""),
    0x10: st.integers(-(2**31), 2**31 - 1).map(lambda x: struct.pack("<i", x)),
    0x11: st.just(struct.pack("<II", 1, 2)),
    0x12: NUMBERS.map(lambda x: struct.pack("<q", x)),
    0x13: st.sampled_from(DECIMALS),
    0x7F: st.just(b""),
    0xFF: st.just(b""),
}
FLEXIBLE = {
    0x02: TEXTS.map(_string),
    0x05: st.tuples(st.sampled_from([0, 5, 128]), TEXTS).map(_binary),
    0x0B: st.tuples(CSTRINGS, CSTRINGS).map(lambda parts: b"\0".join(parts) + b"\0"),
    0x0C: st.just(_string(b"c") + bytes(12)),
    0x0D: TEXTS.map(_string),
    0x0E: TEXTS.map(_string),
}


def _elements(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    deep = {
        0x03: inner,
        0x04: inner,
        0x0F: st.tuples(TEXTS, inner).map(_scoped),
    }
    kinds = FIXED | FLEXIBLE | deep
    return st.one_of(
        *[st.builds(_item, st.just(kind), NAMES, data) for kind, data in kinds.items()]
    )


def _documents(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(_elements(inner), max_size=5).map(b"".join).map(framed)


DOCUMENTS = st.recursive(st.just(framed(b"")), _documents, max_leaves=6)
"""Valid documents of every type; names come twice, and the tag anywhere."""

_LEADING = st.one_of(
    *[st.builds(_item, st.just(kind), st.just(b"_id"), data) for kind, data in FIXED.items()],
    *[st.builds(_item, st.just(kind), st.just(b"_id"), data) for kind, data in FLEXIBLE.items()],
    st.builds(_item, st.just(0x03), st.just(b"_id"), DOCUMENTS),
)
STORED = DOCUMENTS | st.builds(lambda lead, rest: framed(lead + rest[4:-1]), _LEADING, DOCUMENTS)
"""Documents to store; half of them begin with an `_id`, of any type."""
