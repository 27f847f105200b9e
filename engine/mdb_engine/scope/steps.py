"""One exchange of a plan, and a cursor read to its end: what all plans are made of."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from mdb_engine.rawbson import Document, encode
from mdb_engine.scope.model import Scope

Plan = Generator[Mapping[str, Any], bytes, bytes]
"""Yields physical commands, is sent replies, returns the logical reply (BSON both)."""

Part = Generator[Mapping[str, Any], bytes, Any]


class FailedError(Exception):
    """The cluster said no to a step; carries its reply."""

    def __init__(self, reply: bytes) -> None:
        self.reply = reply
        super().__init__("a step of the plan failed")


def failed(text: str, code: int, name: str) -> FailedError:
    """The error of a step in the server's own form."""
    return FailedError(encode({"ok": 0.0, "errmsg": text, "code": code, "codeName": name}))


def step(command: Mapping[str, Any]) -> Part:
    """One exchange whose failure ends the plan."""
    raw = yield command
    reply = Document(raw)
    if not reply.get("ok"):
        raise FailedError(raw)
    return reply


def listed(name: str, scope: Scope) -> Part:
    """What the cluster says a physical name is; nothing when nothing has it."""
    command = {
        "listCollections": 1,
        "filter": {"name": name},
        "maxTimeMS": scope.limits.default_time_ms,
        "$db": scope.database,
    }
    items = yield from drained(command, "$cmd.listCollections")
    return items[0] if items else Document(b"\5\0\0\0\0")


def identity(item: Document) -> Any | None:
    """The identity of a collection that was listed; a view and a time series have none."""
    info = item.get("info")
    return info.get("uuid") if isinstance(info, Document) else None


def drained(command: Mapping[str, Any], collection: str) -> Part:
    """All documents of a cursor."""
    reply = yield from step(command)
    cursor = reply["cursor"]
    items = list(cursor["firstBatch"])
    while cursor["id"]:
        more = {"getMore": cursor["id"], "collection": collection, "$db": command["$db"]}
        reply = yield from step(more)
        cursor = reply["cursor"]
        items += cursor["nextBatch"]
    return items
