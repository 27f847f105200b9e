"""BSON bytes: read, checked and rebuilt without loss; broken ones are refused, never misread."""

import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import bson
import pytest
from bson.binary import Binary
from bson.code import Code
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from mdb_engine import rawbson
from mdb_engine.exceptions import InvalidBSONError, QueryValidationError
from mdb_engine.rawbson import Array, Document, Raw, element, encode

EMPTY = b"\5\0\0\0\0"
ID = ObjectId(b"0123456789ab")


def document(*parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def item(kind: int, data: bytes, name: bytes = b"a") -> bytes:
    return bytes([kind]) + name + b"\0" + data


def string(text: bytes) -> bytes:
    return struct.pack("<i", len(text) + 1) + text + b"\0"


EVERY: dict[str, Any] = {
    "double": 1.5, "string": "t\u00e9xt\0", "object": {"a": {"b": 1}}, "array": [1, [2]],
    "binData": b"x", "objectId": ID, "bool": True, "date": datetime(2020, 1, 1, tzinfo=UTC),
    "null": None, "regex": Regex("^a", "i"), "javascript": Code("x"),
    "javascriptWithScope": Code("x", {"y": {"z": 1}}), "int": 1, "timestamp": Timestamp(1, 2),
    "long": Int64(1), "decimal": Decimal128("1"), "maxKey": MaxKey(), "minKey": MinKey(),
}  # fmt: skip
OLD = {
    "undefined": Raw(0x06, b""),
    "symbol": Raw(0x0E, string(b"s")),
    "dbPointer": Raw(0x0C, string(b"c") + bytes(12)),
}
WHOLE = encode({**EVERY, **OLD})


def test_every_type_is_known_and_comes_back() -> None:
    rawbson.check(WHOLE)
    read = Document(WHOLE)
    assert list(read) == [*EVERY, *OLD]
    assert encode(dict(read)) == WHOLE
    assert encode(EVERY) == bson.encode(EVERY)
    kinds = {value.kind for value in read.values() if isinstance(value, Raw)}
    opened = {0x01, 0x02, 0x03, 0x04, 0x08, 0x0A, 0x10, 0x12}
    assert kinds | opened == set(rawbson.TYPE_NAMES)
    assert all(v.type_name == k for k, v in read.items() if isinstance(v, Raw))


@pytest.mark.parametrize(
    ("name", "value"),
    [("double", 1.5), ("string", "t\u00e9xt\0"), ("bool", True), ("null", None), ("int", 1)],
)
def test_small_values_are_pythons(name: str, value: Any) -> None:
    found = Document(WHOLE)[name]
    assert (found, type(found)) == (value, type(value))


def test_longs_stay_long() -> None:
    assert type(Document(WHOLE)["long"]) is Int64
    assert Document(encode({"a": 2**40}))["a"] == 2**40


def test_trees_are_read_when_asked() -> None:
    read = Document(WHOLE)
    assert read["object"]["a"]["b"] == 1
    assert read["array"] == [1, [2]]
    assert read["array"][0:1] == [1]
    assert (len(read["array"]), len(read)) == (2, len(EVERY) + len(OLD))
    assert read.first == "double"
    assert Document(EMPTY).first is None
    assert repr(read) == f"Document({len(WHOLE)} bytes)"
    assert repr(read["array"]).startswith("Array(")
    assert Raw(99, b"").type_name == "unknown"


@pytest.mark.parametrize(
    ("other", "equal"),
    [
        (["a", "b"], True),
        (("a", "b"), True),
        (Array(rawbson.encode_array(["a", "b"])), True),
        ("ab", False),
        (["b", "a"], False),
        ({"0": "a", "1": "b"}, False),
        (None, False),
    ],
)
def test_an_array_equals_lists_only(other: Any, *, equal: bool) -> None:
    """It is no text of its letters: that would let `["s", "h"]` pass for a slug `sh`."""
    array = Document(encode({"x": ["a", "b"]}))["x"]
    assert isinstance(array, Sequence)
    assert (array == other) is equal


def test_bytes_that_are_not_utf8_come_back() -> None:
    data = document(item(2, string(b"\xff\xfe"), b"\xfd"), item(2, string(b"\xed\xa0\x80"), b"b"))
    rawbson.check(data)
    assert encode(dict(Document(data))) == data


TWICE = document(item(0x10, b"\1\0\0\0"), item(0x10, b"\2\0\0\0"))


def test_a_name_that_stands_twice_is_refused_when_read() -> None:
    rawbson.check(TWICE)
    assert rawbson.repeated(TWICE) == "a"
    assert rawbson.repeated(WHOLE) is None
    assert encode(Document(TWICE)) == TWICE
    assert encode({"x": Document(TWICE)}) == document(item(3, TWICE, b"x"))
    with pytest.raises(QueryValidationError) as caught:
        Document(TWICE)["a"]
    assert (caught.value.reason, caught.value.at) == ("duplicate field name 'a'", "a")


BROKEN = {
    "nothing": b"",
    "cut length": b"\5\0\0",
    "too short": b"\4\0\0\0\0",
    "negative length": b"\xff\xff\xff\xff\0",
    "too long": b"\6\0\0\0\0",
    "too much": EMPTY + b"\0",
    "no end": b"\5\0\0\0\1",
    "name without end": document(b"\x10abc")[:-1] + b"\0",
    "type without name": document(b"\x10"),
    "unknown type": document(item(0x14, b"")),
    "short int": document(item(0x10, b"\1\0\0")),
    "short double": document(item(0x01, bytes(7))),
    "short decimal": document(item(0x13, bytes(15))),
    "bool of 2": document(item(0x08, b"\2")),
    "string of no bytes": document(item(2, struct.pack("<i", 0))),
    "string beyond the end": document(item(2, struct.pack("<i", 99) + b"a\0")),
    "string without NUL": document(item(2, struct.pack("<i", 2) + b"ab")),
    "string with a cut length": document(item(2, b"\1\0")),
    "binary of negative length": document(item(5, struct.pack("<i", -1) + b"\0")),
    "binary beyond the end": document(item(5, struct.pack("<i", 9) + b"\0a")),
    "binary of huge length": document(item(5, struct.pack("<i", 2**31 - 1) + b"\0a")),
    "regex without options": document(item(0x0B, b"a\0i")),
    "pointer cut": document(item(0x0C, string(b"c") + bytes(11))),
    "document beyond the end": document(item(3, b"\6\0\0\0\0")),
    "document too short": document(item(3, b"\4\0\0\0")),
    "array without end": document(item(4, b"\5\0\0\0\1")),
    "broken deep inside": document(item(3, document(item(4, document(item(8, b"\7")))))),
    "code beyond the end": document(item(0x0F, struct.pack("<i", 99) + string(b"x") + EMPTY)),
    "code of too few bytes": document(item(0x0F, struct.pack("<i", 13) + bytes(9))),
    "code with a gap": document(
        item(0x0F, struct.pack("<i", 4 + 6 + 5 + 1) + string(b"x") + EMPTY + b"\0")
    ),
    "code with a broken scope": document(
        item(0x0F, struct.pack("<i", 4 + 6 + 9) + string(b"x") + document(item(8, b"\7")))
    ),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_broken_bytes(data: bytes) -> None:
    with pytest.raises(InvalidBSONError, match=r"^Invalid BSON: "):
        rawbson.check(data)


def deep(levels: int) -> bytes:
    data = EMPTY
    for level in range(levels):
        data = document(item(3 if level % 2 else 4, data))
    return data


def test_depth_is_the_servers() -> None:
    rawbson.check(deep(200))
    with pytest.raises(InvalidBSONError, match="more than 200 levels"):
        rawbson.check(deep(201))
    assert rawbson.nesting(deep(200)) == 99 + 1
    assert rawbson.nesting(EMPTY) == 0
    assert rawbson.nesting(encode({"a": [{"b": 1}, {"c": {"d": [1]}}]})) == 2


@pytest.mark.parametrize("value", [{}, [], (), MappingProxyType({"a": 1})])
def test_other_containers(value: Any) -> None:
    assert bson.decode(encode({"a": value}))["a"] == (list(value) if value == () else value)


@pytest.mark.parametrize("name", [b"a\0", b"\0", b"x\0\x10y"])
def test_a_name_cannot_smuggle_elements(name: bytes) -> None:
    with pytest.raises(InvalidBSONError, match="a name holds a NUL"):
        element(name, 1)
    with pytest.raises(InvalidBSONError):
        encode({name.decode(): {}})


def test_find() -> None:
    assert rawbson.find(TWICE, "a") == 1
    assert rawbson.find(TWICE, "b") is None


def test_replace() -> None:
    assert rawbson.replace(TWICE, "a", "x") == document(element(b"a", "x"), item(0x10, b"\2\0\0\0"))
    assert rawbson.replace(TWICE, "b", 1) is TWICE


def test_without() -> None:
    assert rawbson.without(TWICE, "a", "b") == EMPTY
    assert rawbson.without(WHOLE, "nothing") == WHOLE


def test_splice_end() -> None:
    assert rawbson.splice_end(EMPTY, element(b"a", 1) + element(b"b", "x")) == encode(
        {"a": 1, "b": "x"}
    )


TAG = element(b"t", "me")


@pytest.mark.parametrize(
    ("parts", "place"),
    [
        ([], 0),
        ([item(0x10, bytes(4))], 0),
        ([item(0x07, bytes(12), b"_id")], 1),
        ([item(0x0A, b"", b"_id"), item(0x10, bytes(4))], 1),
        ([item(0xFF, b"", b"_id"), item(0x10, bytes(4))], 1),
        ([item(0x02, string(b"x"), b"_id")], 0),
        ([item(0x03, EMPTY, b"_id")], 0),
        ([item(0x10, bytes(4)), item(0x10, bytes(4), b"_id")], 0),
        ([item(0x10, bytes(4), b"_idx")], 0),
        ([item(0x10, bytes(4), b"_id"), item(0x10, bytes(4), b"_id")], 1),
    ],
)
def test_an_element_goes_in_front_or_behind_a_plain_id(parts: list[bytes], place: int) -> None:
    data = document(*parts)
    becomes = document(*parts[:place], TAG, *parts[place:])
    assert rawbson.splice_first(data, b"t", TAG) == becomes
    assert rawbson.put_first(data, b"t", TAG) == becomes


def test_an_element_of_that_name_goes() -> None:
    old, number = item(0x10, bytes(4), b"t"), item(0x10, bytes(4), b"_id")
    for parts in ([old, number], [number, old], [old, number, old, old]):
        assert rawbson.splice_first(document(*parts), b"t", TAG) is None
        assert rawbson.put_first(document(*parts), b"t", TAG) == document(number, TAG)


@pytest.mark.parametrize("data", [b"", b"\5\0\0\0", b"\6\0\0\0\0", b"\5\0\0\0\1", EMPTY + b"\0"])
def test_nothing_is_put_into_what_is_no_document(data: bytes) -> None:
    for put in (rawbson.splice_first, rawbson.put_first):
        with pytest.raises(InvalidBSONError):
            put(data, b"t", TAG)


def test_an_id_that_is_cut_off_is_not_followed() -> None:
    data = document(item(0x07, bytes(5), b"_id"))
    assert rawbson.splice_first(data, b"t", TAG) == document(TAG, item(0x07, bytes(5), b"_id"))


def test_map_texts() -> None:
    seen = []

    def rule(around: bytes, name: str, text: str) -> str:
        seen.append((rawbson.find(around, "n"), name))
        return text.upper()

    inner = document(element(b"a", "x"), element(b"a", "y"), element(b"n", 2))
    data = document(
        element(b"n", 1), element(b"s", "t"), item(3, inner), element(b"l", ["z", 1]),
        element(b"kept", {"s": "t"}), element(b"kept", "t"), element(b"r", Regex("t")),
    )  # fmt: skip
    loud = document(element(b"a", "X"), element(b"a", "Y"), element(b"n", 2))
    assert rawbson.map_texts(data, rule, frozenset({b"kept"})) == document(
        element(b"n", 1), element(b"s", "T"), item(3, loud), element(b"l", ["Z", 1]),
        element(b"kept", {"s": "t"}), element(b"kept", "t"), element(b"r", Regex("t")),
    )  # fmt: skip
    assert seen == [(1, "s"), (2, "a"), (2, "a"), (None, "0")]


def test_regex_parts() -> None:
    assert rawbson.regex_parts(Document(WHOLE)["regex"]) == ("^a", "i")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (1, "1"),
        (Int64(2), "2"),
        (1.5, "1.5"),
        (Raw(0x07, bytes(12)), "<objectId>"),
        ([1, 2], "[...]"),
        ({"secret": 1}, "{...}"),
        (Document(WHOLE)["array"], "[...]"),
        (Document(WHOLE), "{...}"),
    ],
)
def test_render_shows_no_content(value: Any, text: str) -> None:
    assert rawbson.render(value) == text


def test_binaries_of_any_subtype() -> None:
    value = Binary(b"\x02\0\0\0ab", 9)
    assert bson.decode(encode({"a": value}))["a"] == value
