"""BSON bytes without loss: walk elements, read a tree, put one element in, leave one out.

A driver's decoder is never used on bytes from the wire: it turns undefined into null, keeps one
of two equal names, reorders a DBRef and refuses dates beyond the year 9999 (seen with PyMongo
4.20). Here a document is a view of its own bytes; what nobody changes keeps them.
Source: "BSON Specification, Version 1.1".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, overload

import bson
from bson.int64 import Int64

from mdb_engine.exceptions import InvalidBSONError, QueryValidationError

MAX_DEPTH: Final = 200
"""Of a message; a stored document may have 180 levels, which the server checks (6.0.5)."""

_INT32 = struct.Struct("<i")
_INT64 = struct.Struct("<q")
_DOUBLE = struct.Struct("<d")
_FIXED_SIZE: Final[Mapping[int, int]] = {
    0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16,
    0x7F: 0, 0xFF: 0,
}  # fmt: skip
TYPE_NAMES: Final[Mapping[int, str]] = {
    0x01: "double", 0x02: "string", 0x03: "object", 0x04: "array", 0x05: "binData",
    0x06: "undefined", 0x07: "objectId", 0x08: "bool", 0x09: "date", 0x0A: "null", 0x0B: "regex",
    0x0C: "dbPointer", 0x0D: "javascript", 0x0E: "symbol", 0x0F: "javascriptWithScope",
    0x10: "int", 0x11: "timestamp", 0x12: "long", 0x13: "decimal", 0x7F: "maxKey", 0xFF: "minKey",
}  # fmt: skip
BINARY, REGEX, CODE, CODE_WITH_SCOPE, DECIMAL = 0x05, 0x0B, 0x0D, 0x0F, 0x13


class Raw(NamedTuple):
    """A value that nobody needs to open: BSON type and value bytes."""

    kind: int
    data: bytes

    @property
    def type_name(self) -> str:
        """MongoDB's alias of the type (`$type` knows the same words)."""
        return TYPE_NAMES.get(self.kind, "unknown")


class Element(NamedTuple):
    """One top-level element of a document: type, name, and the value's place in the bytes."""

    kind: int
    name: bytes
    begin: int
    start: int
    stop: int


def invalid(reason: str) -> InvalidBSONError:
    """The error for bytes that are not a document."""
    return InvalidBSONError(f"Invalid BSON: {reason}")


def _length(data: bytes, start: int, end: int, least: int) -> int:
    if end - start < 4:
        reason = "a length is cut off"
        raise invalid(reason)
    size: int = _INT32.unpack_from(data, start)[0]
    if size < least:
        reason = "a length is too small"
        raise invalid(reason)
    return size


def _string(data: bytes, start: int, end: int) -> int:
    stop = start + 4 + _length(data, start, end, 1)
    if stop > end or data[stop - 1]:
        reason = "a string does not end where it says"
        raise invalid(reason)
    return stop


def _cstring(data: bytes, start: int, end: int) -> int:
    stop = data.find(b"\0", start, end)
    if stop < 0:
        reason = "a name does not end"
        raise invalid(reason)
    return stop + 1


def _embedded(data: bytes, start: int, end: int) -> int:
    stop = start + _length(data, start, end, 5)
    if stop > end or data[stop - 1]:
        reason = "a document does not end where it says"
        raise invalid(reason)
    return stop


def _binary(data: bytes, start: int, end: int) -> int:
    return start + 5 + _length(data, start, end, 0)


def _regex(data: bytes, start: int, end: int) -> int:
    return _cstring(data, _cstring(data, start, end), end)


def _pointer(data: bytes, start: int, end: int) -> int:
    return _string(data, start, end) + 12


def _scoped_code(data: bytes, start: int, end: int) -> int:
    stop = start + _length(data, start, end, 14)
    if stop > end:
        reason = "a value does not end where it says"
        raise invalid(reason)
    if _embedded(data, _string(data, start + 4, stop), stop) != stop:
        reason = "code and scope do not fill their value"
        raise invalid(reason)
    return stop


_VARIABLE: Final[Mapping[int, Callable[[bytes, int, int], int]]] = {
    0x02: _string, 0x03: _embedded, 0x04: _embedded, 0x05: _binary, 0x0B: _regex, 0x0C: _pointer,
    0x0D: _string, 0x0E: _string, 0x0F: _scoped_code,
}  # fmt: skip


def _skip(data: bytes, kind: int, start: int, end: int) -> int:
    """Where the value ends that begins at `start`."""
    size = _FIXED_SIZE.get(kind)
    if size is not None:
        stop = start + size
    else:
        rule = _VARIABLE.get(kind)
        if rule is None:
            reason = f"unknown type {kind}"
            raise invalid(reason)
        stop = rule(data, start, end)
    if stop > end:
        reason = "a value does not end inside its document"
        raise invalid(reason)
    return stop


def walk(data: bytes, start: int = 0, stop: int | None = None) -> Iterator[Element]:
    """The top-level elements of the document at `start`, each checked to end inside it.

    Raises:
        InvalidBSONError: at the first byte that does not fit.
    """
    end = len(data) if stop is None else stop
    if _embedded(data, start, end) != end:
        reason = "a document does not fill its place"
        raise invalid(reason)
    position, end = start + 4, end - 1
    while position < end:
        begin, kind = position, data[position]
        after = _cstring(data, position + 1, end)
        position = _skip(data, kind, after, end)
        yield Element(kind, data[begin + 1 : after - 1], begin, after, position)


def check(data: bytes) -> None:
    """Walk a document all the way down.

    Raises:
        InvalidBSONError: some type, name or length does not fit.
    """
    _check(data, 0, len(data), 0)


def _check(data: bytes, start: int, stop: int, depth: int) -> None:
    if depth > MAX_DEPTH:
        reason = f"more than {MAX_DEPTH} levels"
        raise invalid(reason)
    for item in walk(data, start, stop):
        if item.kind in (0x03, 0x04):
            _check(data, item.start, item.stop, depth + 1)
        elif item.kind == 0x08 and data[item.start] > 1:
            reason = "a bool is neither 0 nor 1"
            raise invalid(reason)
        elif item.kind == CODE_WITH_SCOPE:
            inner = _string(data, item.start + 4, item.stop)
            _check(data, inner, item.stop, depth + 1)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


_READERS: Final[Mapping[int, Callable[[bytes, int, int], Any]]] = {
    0x01: lambda data, start, _: _DOUBLE.unpack_from(data, start)[0],
    0x02: lambda data, start, stop: _text(data[start + 4 : stop - 1]),
    0x03: lambda data, start, stop: Document(data[start:stop]),
    0x04: lambda data, start, stop: Array(data[start:stop]),
    0x08: lambda data, start, _: data[start] == 1,
    0x0A: lambda *_: None,
    0x10: lambda data, start, _: _INT32.unpack_from(data, start)[0],
    0x12: lambda data, start, _: Int64(_INT64.unpack_from(data, start)[0]),
}


def _value(data: bytes, item: Element) -> Any:
    reader = _READERS.get(item.kind)
    if reader is None:
        return Raw(item.kind, data[item.start : item.stop])
    return reader(data, item.start, item.stop)


class Document(Mapping[str, Any]):
    """A document as its bytes; read like a dict, in order, parsed level by level when asked.

    Values are str, int (int32), Int64, float, bool, None, Document, Array, and Raw for every
    other type. A name that stands twice cannot be read: the server would see both.

    >>> Document(bson.encode({"a": {"b": 1}}))["a"]["b"]
    1
    """

    __slots__ = ("_fields", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._fields: dict[str, Any] | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """The parsed top level; do not change it.

        Raises:
            QueryValidationError: a repeated name. InvalidBSONError: broken bytes.
        """
        if self._fields is None:
            fields: dict[str, Any] = {}
            for item in walk(self.data):
                name = _text(item.name)
                if name in fields:
                    msg = f"duplicate field name '{name}'"
                    raise QueryValidationError(msg, name)
                fields[name] = _value(self.data, item)
            self._fields = fields
        return self._fields

    @property
    def first(self) -> str | None:
        """The first name, without a look at the rest; None when the document is empty."""
        item = next(walk(self.data), None)
        return None if item is None else _text(item.name)

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __repr__(self) -> str:
        return f"Document({len(self.data)} bytes)"


class Array(Sequence[Any]):
    """An array as its bytes; read like a list. The server goes by position, so do we."""

    __slots__ = ("_items", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._items: list[Any] | None = None

    @property
    def items(self) -> list[Any]:
        """The parsed values; do not change the list."""
        if self._items is None:
            self._items = [_value(self.data, item) for item in walk(self.data)]
        return self._items

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __eq__(self, other: object) -> bool:
        # Never a str, though it is a sequence too: ["a", "b"] is not "ab".
        return isinstance(other, Array | list | tuple) and self.items == list(other)

    __hash__ = None  # type: ignore[assignment]  # a list has none either

    def __repr__(self) -> str:
        return f"Array({len(self.data)} bytes)"


def _write_int(value: int) -> tuple[int, bytes]:
    if -(2**31) <= value < 2**31:
        return 0x10, _INT32.pack(value)
    return 0x12, _INT64.pack(value)


def _write_text(value: str) -> tuple[int, bytes]:
    data = _bytes(value)
    return 0x02, _INT32.pack(len(data) + 1) + data + b"\0"


_WRITERS: Final[Mapping[type, Callable[[Any], tuple[int, bytes]]]] = {
    bool: lambda value: (0x08, b"\1" if value else b"\0"),
    bytes: lambda value: (0x05, _INT32.pack(len(value)) + b"\0" + value),
    dict: lambda value: (0x03, encode(value)),
    float: lambda value: (0x01, _DOUBLE.pack(value)),
    int: _write_int,
    list: lambda value: (0x04, encode_array(value)),
    str: _write_text,
    tuple: lambda value: (0x04, encode_array(value)),
    type(None): lambda _: (0x0A, b""),
    Array: lambda value: (0x04, value.data),
    Document: lambda value: (0x03, value.data),
    Int64: lambda value: (0x12, _INT64.pack(value)),
    Raw: lambda value: value,
}


def _typed(value: Any) -> tuple[int, bytes]:
    writer = _WRITERS.get(type(value))
    if writer is not None:
        return writer(value)
    if isinstance(value, Mapping):
        return 0x03, encode(value)
    data = bson.encode({"": value})
    return data[4], data[6:-1]


def element(name: bytes, value: Any) -> bytes:
    """One encoded element.

    Raises:
        InvalidBSONError: a name with a NUL, behind which other elements could hide.
    """
    if b"\0" in name:
        reason = "a name holds a NUL"
        raise invalid(reason)
    kind, data = _typed(value)
    return b"%c%b\0%b" % (kind, name, data)


def _framed(parts: list[bytes]) -> bytes:
    body = b"".join(parts)
    return b"%b%b\0" % (_INT32.pack(len(body) + 5), body)


def encode(document: Mapping[str, Any]) -> bytes:
    """A mapping as BSON bytes; parts that are views of bytes are copied as they are."""
    if isinstance(document, Document):
        return document.data
    return _framed([element(_bytes(k), v) for k, v in document.items()])


def encode_array(values: Sequence[Any]) -> bytes:
    """A sequence as BSON bytes, numbered anew."""
    return _framed([element(b"%d" % i, v) for i, v in enumerate(values)])


def find(data: bytes, name: str) -> Any | None:
    """The value of the first top-level element of that name; None when there is none."""
    wanted = _bytes(name)
    for item in walk(data):
        if item.name == wanted:
            return _value(data, item)
    return None


def repeated(data: bytes) -> str | None:
    """The first top-level name that stands twice."""
    seen = set()
    for item in walk(data):
        if item.name in seen:
            return _text(item.name)
        seen.add(item.name)
    return None


def nesting(data: bytes, start: int = 0, stop: int | None = None) -> int:
    """How many documents lie inside one another below this one; arrays do not count."""
    deepest = 0
    for item in walk(data, start, stop):
        if item.kind in (0x03, 0x04):
            inner = nesting(data, item.start, item.stop) + (item.kind == 0x03)
            deepest = max(deepest, inner)
    return deepest


def splice_end(data: bytes, extra: bytes) -> bytes:
    """Encoded elements put behind the others."""
    return b"%b%b%b\0" % (_INT32.pack(len(data) + len(extra)), data[4:-1], extra)


def splice_first(data: bytes, name: bytes, extra: bytes) -> bytes | None:
    """An encoded element of that name put in front of the others without walking them.

    Right behind a leading `_id` of a fixed size, which the server would otherwise move forward
    at the cost of a copy; never behind anything whose length the sender controls. Declines
    (None) when the bytes might hold the name already.
    """
    if len(data) < 5 or _INT32.unpack_from(data)[0] != len(data) or data[-1]:
        reason = "a document does not end where it says"
        raise invalid(reason)
    if name + b"\0" in data:
        return None
    place = _after_id(data)
    return b"%b%b%b%b" % (_INT32.pack(len(data) + len(extra)), data[4:place], extra, data[place:])


def _after_id(data: bytes) -> int:
    size = _FIXED_SIZE.get(data[4])
    if size is None or data[5:9] != b"_id\0" or 9 + size > len(data) - 1:
        return 4
    return 9 + size


def put_first(data: bytes, name: bytes, extra: bytes) -> bytes:
    """What `splice_first` does, by a walk: every element of that name goes, one comes in."""
    rest = [(item, data[item.begin : item.stop]) for item in walk(data) if item.name != name]
    kept = [part for _, part in rest]
    lead = bool(rest) and rest[0][0].name == b"_id" and rest[0][0].kind in _FIXED_SIZE
    return _framed([*kept[:lead], extra, *kept[lead:]])


def replace(data: bytes, name: str, value: Any) -> bytes:
    """The document with the first element of that name given another value.

    Without such an element the document comes back as it is.
    """
    wanted = _bytes(name)
    for item in walk(data):
        if item.name == wanted:
            new = element(wanted, value)
            size = len(data) + len(new) - (item.stop - item.begin)
            return b"%b%b%b%b" % (_INT32.pack(size), data[4 : item.begin], new, data[item.stop :])
    return data


def without(data: bytes, *names: str) -> bytes:
    """The document without its top-level elements of those names."""
    gone = {_bytes(name) for name in names}
    return _framed([data[item.begin : item.stop] for item in walk(data) if item.name not in gone])


TextRule = Callable[[bytes, str, str], str]
"""(the document around it, name, text) -> text"""


def map_texts(data: bytes, rule: TextRule, spared: frozenset[bytes] = frozenset()) -> bytes:
    """The document with every string, at any depth, put through `rule`.

    Everything else keeps its bytes, repeated names included. Nothing is looked at below the
    names in `spared`.
    """
    parts = []
    for item in walk(data):
        part = data[item.begin : item.stop]
        if item.name in spared:
            parts.append(part)
        elif item.kind == 0x02:
            text = _text(data[item.start + 4 : item.stop - 1])
            parts.append(element(item.name, rule(data, _text(item.name), text)))
        elif item.kind in (0x03, 0x04):
            inner = map_texts(data[item.start : item.stop], rule, spared)
            parts.append(b"%c%b\0%b" % (item.kind, item.name, inner))
        else:
            parts.append(part)
    return _framed(parts)


def regex_parts(value: Raw) -> tuple[str, str]:
    """Pattern and options of a BSON regular expression."""
    pattern, options = value.data.split(b"\0")[:2]
    return _text(pattern), _text(options)


def render(value: Any) -> str:
    """A short text of a value for an error message; never the content of a document."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Raw):
        return f"<{value.type_name}>"
    return "[...]" if isinstance(value, Sequence) else "{...}"
