"""Whatever the bytes: refused, or read by everybody alike, and never changed on the way."""

from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from hypothesis import given
from hypothesis import strategies as st

from mdb_engine import rawbson
from mdb_engine.exceptions import InvalidBSONError, QueryValidationError
from mdb_engine.rawbson import Array, Document, encode
from tests.support.documents import DOCUMENTS, framed

READER: CodecOptions[dict[str, Any]] = CodecOptions(
    unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_MS
)
EMPTY = framed(b"")


def accepted(data: bytes) -> bool:
    """Whether `check` lets it pass; nothing but one kind of error may come out."""
    try:
        rawbson.check(data)
    except InvalidBSONError:
        return False
    return True


def visit(data: bytes) -> None:
    """Read everything there is, as the rules would."""
    rawbson.nesting(data)
    rawbson.repeated(data)
    for item in rawbson.walk(data):
        value = rawbson.find(data, item.name.decode("utf-8", "surrogateescape"))
        rawbson.render(value)
        if isinstance(value, Document | Array):
            visit(value.data)
    try:
        assert len(Document(data)) == len({item.name for item in rawbson.walk(data)})
    except QueryValidationError:
        assert rawbson.repeated(data) is not None


def spoiled(data: bytes, places: list[tuple[int, int]]) -> bytes:
    copy = bytearray(data)
    for place, byte in places:
        copy[place % len(copy)] = byte
    return bytes(copy)


PLACES = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), min_size=1, max_size=3)


@given(DOCUMENTS)
def test_valid_documents_pass(data: bytes) -> None:
    assert accepted(data)
    visit(data)


@given(st.binary(max_size=60))
def test_junk_is_refused_or_readable(data: bytes) -> None:
    for guess in (data, framed(data)):
        if accepted(guess):
            visit(guess)
            bson.decode(guess, READER)


@given(DOCUMENTS, PLACES)
def test_spoiled_documents_are_refused_or_readable(data: bytes, places: list[Any]) -> None:
    bad = spoiled(data, places)
    if accepted(bad):
        visit(bad)
        bson.decode(bad, READER)


@given(DOCUMENTS, st.integers(0, 100))
def test_cut_documents_are_refused(data: bytes, size: int) -> None:
    if size % len(data):
        assert not accepted(data[: size % len(data)])
        assert not accepted(data[size % len(data) :]) or data[size % len(data) :] == EMPTY


def rebuilt(data: bytes, kind: type[Document | Array]) -> bytes:
    """Take a document apart and put it together again, level by level."""
    if kind is Document and rawbson.repeated(data) is not None:
        return data
    values: Any = Document(data) if kind is Document else Array(data)
    pairs = values.items() if kind is Document else enumerate(values)
    made = {
        name: type(v)(rebuilt(v.data, type(v))) if isinstance(v, Document | Array) else v
        for name, v in pairs
    }
    return encode(made) if kind is Document else rawbson.encode_array(list(made.values()))


def renumbered(data: bytes) -> bytes:
    """The same document, its arrays numbered as every driver numbers them."""
    parts = []
    for item in rawbson.walk(data):
        inner = data[item.start : item.stop]
        if item.kind == 0x04:
            inner = numbered(inner)
        elif item.kind == 0x03:
            inner = renumbered(inner)
        parts.append(bytes([item.kind]) + item.name + b"\0" + inner)
    return framed(b"".join(parts))


def numbered(data: bytes) -> bytes:
    whole = renumbered(data)
    parts = [
        bytes([item.kind]) + b"%d\0" % index + whole[item.start : item.stop]
        for index, item in enumerate(rawbson.walk(whole))
    ]
    return framed(b"".join(parts))


def unique(data: bytes) -> bool:
    """Whether no document in it holds a name twice."""
    inner = [data[i.start : i.stop] for i in rawbson.walk(data) if i.kind in (0x03, 0x04)]
    return rawbson.repeated(data) is None and all(map(unique, inner))


@given(DOCUMENTS.filter(unique).map(renumbered))
def test_the_round_trip_is_exact(data: bytes) -> None:
    assert rebuilt(data, Document) == data
    assert encode(dict(Document(data))) == data


@given(DOCUMENTS)
def test_texts_left_alone_leave_the_bytes_alone(data: bytes) -> None:
    assert rawbson.map_texts(data, lambda _, __, text: text) == data


@given(DOCUMENTS, st.sampled_from(["a", "_id", "app_id", "nothing"]))
def test_one_element_is_replaced_and_no_other(data: bytes, name: str) -> None:
    before = list(rawbson.walk(data))
    after = rawbson.replace(data, name, "new")
    rawbson.check(after)
    first = next((i for i, item in enumerate(before) if item.name == name.encode()), None)
    for index, item in enumerate(rawbson.walk(after)):
        old = before[index]
        if index == first:
            assert rawbson.find(after, name) == "new"
        else:
            assert after[item.begin : item.stop] == data[old.begin : old.stop]
    assert (first is None) == (rawbson.find(after, name) != "new")
