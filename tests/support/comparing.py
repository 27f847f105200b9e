"""What is left of a reply when everything is gone that differs between any two servers."""

import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import bson
from bson import Binary, DatetimeMS, Int64, ObjectId, Timestamp

OPTIONS: Final[Any] = bson.CodecOptions(
    datetime_conversion=bson.DatetimeConversion.DATETIME_MS,
    uuid_representation=0,
    # The server cuts texts of errors between bytes (6.0.5).
    unicode_decode_error_handler="replace",
)
CLOCKS: Final = frozenset({
    "$clusterTime", "at", "electionId", "lastCommittedOpTime", "opTime", "operationTime",
})  # fmt: skip
"""Fields of a reply, or of a write error, that are the server's clock, or only ours (`at`)."""

OWN_OID: Final = b"\xaa\xbb"
"""How the object ids begin that the tests made; all others were made by a server."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CURSOR: Final = re.compile(r"(?i)(cursor id:? )\d+")
_OID: Final = re.compile(r"ObjectId\('(?!aabb)[0-9a-f]{24}'\)")
_TOKEN: Final = re.compile(r'(?<=_data: ")[0-9A-F]+')
_STAMP: Final = re.compile(r"Timestamp\((\d+), \d+\)")
_NEAR_SECONDS: Final = 2 * 86_400
_SOME_OID: Final = ObjectId(bytes(12))


def plain(reply: bytes) -> dict[str, Any]:
    """Give a reply as Python's values."""
    return bson.decode(reply, OPTIONS)


def normal(reply: Mapping[str, Any]) -> dict[str, Any]:
    """Give a reply without clocks and without what a server makes up."""
    fields = {name: _value(value, name) for name, value in reply.items() if name not in CLOCKS}
    for name in ("writeErrors",):
        for item in fields.get(name, ()):
            item.pop("at", None)
    return fields


def _value(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _value(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_value(item) for item in value]
    rule = _MADE_UP.get(type(value))
    return value if rule is None else rule(value, name)


def _text(value: str, name: str) -> str:
    if name not in ("errmsg", "errors", "warnings", "reason"):
        return value
    value = _TOKEN.sub("<token>", value)
    text = _OID.sub("ObjectId(<made>)", _CURSOR.sub(r"\g<1>#", _UUID.sub("<uuid>", value)))
    return _STAMP.sub(_shown_stamp, text)


def _shown_stamp(found: re.Match[str]) -> str:
    """A stored `Timestamp(0, 0)` becomes the time of the write."""
    return "Timestamp(<now>)" if _is_now(int(found[1])) else found[0]


def _is_now(seconds: float) -> bool:
    return abs(seconds - time.time()) < _NEAR_SECONDS


def _time(value: DatetimeMS, _: str) -> Any:
    return "<now>" if _is_now(int(value) / 1000) else value


def _stamp(value: Timestamp, _: str) -> Any:
    return "<now>" if _is_now(value.time) else value


def _oid(value: ObjectId, _: str) -> ObjectId:
    return value if value.binary.startswith(OWN_OID) else _SOME_OID


def _binary(value: Binary, name: str) -> Any:
    return "<uuid>" if name in ("uuid", "collectionUUID") else value


def _cursor_id(value: Int64, name: str) -> Any:
    return value


_MADE_UP: Final[Mapping[type, Callable[[Any, str], Any]]] = {
    Binary: _binary,
    DatetimeMS: _time,
    ObjectId: _oid,
    Timestamp: _stamp,
    str: _text,
}


def exact(reply: dict[str, Any]) -> dict[str, Any]:
    """Give all of it, in order; of a cursor only whether it is open."""
    for name in ("cursorsKilled", "cursorsNotFound", "cursorsAlive", "cursorsUnknown"):
        if name in reply:
            reply[name] = len(reply[name])
    cursor = reply.get("cursor")
    if isinstance(cursor, dict) and cursor.get("id"):
        reply["cursor"] = {**cursor, "id": "<open>"}
    return reply


def bag(reply: dict[str, Any]) -> dict[str, Any]:
    """Give it with its results in an order of their own."""
    cursor = reply.get("cursor")
    for holder, name in ((cursor, "firstBatch"), (cursor, "nextBatch"), (reply, "values")):
        if isinstance(holder, dict) and isinstance(holder.get(name), list):
            holder[name] = sorted(holder[name], key=lambda item: bson.encode({"": item}))
    return exact(reply)


def amount(reply: dict[str, Any]) -> dict[str, Any]:
    """Give how many results there are."""
    cursor = reply.get("cursor")
    if isinstance(cursor, dict) and isinstance(cursor.get("firstBatch"), list):
        cursor["firstBatch"] = len(cursor["firstBatch"])
    return exact(reply)


def shape(reply: dict[str, Any]) -> dict[str, Any]:
    """Give the names of its fields; an error whole."""
    return reply if not reply.get("ok") else {"fields": list(reply)}


def stream(reply: dict[str, Any]) -> dict[str, Any]:
    """Give what a stream is called; an error whole."""
    if not reply.get("ok"):
        return reply
    return {"ns": reply["cursor"]["ns"], "open": bool(reply["cursor"]["id"])}


EQUAL_STATISTICS: Final = (
    "ns", "db", "collections", "views", "objects", "count", "nindexes", "indexes", "capped", "max",
    "maxSize", "scaleFactor", "nrecords", "nIndexes", "keysPerIndex", "valid", "ok", "numObjects",
)  # fmt: skip


def statistics(reply: dict[str, Any]) -> dict[str, Any]:
    """Give the numbers that do not depend on how documents are stored; an error whole."""
    if not reply.get("ok"):
        return reply
    return {name: reply[name] for name in EQUAL_STATISTICS if name in reply}


def names(reply: dict[str, Any]) -> dict[str, Any]:
    """Give the names of the databases; an error whole."""
    if not reply.get("ok"):
        return reply
    return {"names": sorted(each["name"] for each in reply["databases"])}


VIEWS: Final[Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "amount": amount,
    "events": dict,
    "bag": bag,
    "exact": exact,
    "more": exact,
    "names": names,
    "shape": shape,
    "stream": stream,
    "statistics": statistics,
}
"""How much of a reply must be equal."""


def comparable(reply: bytes, view: str) -> bytes:
    """Give the bytes that must be equal on both sides."""
    return bson.encode(VIEWS[view](normal(plain(reply))))


def moment(year: int) -> datetime:
    """Give a time that is not now."""
    return datetime(year, 1, 1)  # noqa: DTZ001 - as BSON has it
