"""`tests/corpus`: frames as clients send them, one file each; and how to damage them.

`python -m tests.support.corpus` writes the frames of `SHAPES`. What once broke something is kept
beside them under a name that begins with `found_`.
"""

import random
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import bson
from bson import Binary, Code, Decimal128, Int64, MaxKey, ObjectId, Regex, Timestamp

from mdb_proxy.wire import OP_MSG, frame, wrap
from tests.support.talks import message, query

FOLDER: Final = Path(__file__).parents[1] / "corpus"
SESSION: Final = {"lsid": {"id": Binary(UUID(int=1).bytes, 4)}}
CLIENT: Final = {
    "driver": {"name": "PyMongo", "version": "4.13"},
    "os": {"type": "Linux", "name": "Linux", "architecture": "x86_64", "version": "6.1"},
    "platform": "CPython 3.11",
}
SPECULATIVE: Final = {
    "saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": b"n,,n=shop,r=rOprNGfwEbeRWgbNEkqO",
    "autoAuthorize": 1, "options": {"skipEmptyExchange": True}, "db": "admin",
}  # fmt: skip
HELLO: Final = {
    "hello": 1, "helloOk": True,
    "topologyVersion": {"processId": ObjectId(bytes(12)), "counter": Int64(0)},
    "maxAwaitTimeMS": 10_000, "client": CLIENT, "compression": ["zstd", "zlib", "snappy"],
    "speculativeAuthenticate": SPECULATIVE, "saslSupportedMechs": "admin.shop", "$db": "admin",
}  # fmt: skip
EVERY_TYPE: Final = {
    "_id": ObjectId(bytes(12)), "double": 1.5, "text": "é", "document": {"a": {"b": 1}},
    "list": [1, [2, {"c": None}]], "binary": b"x", "uuid": Binary(bytes(16), 4), "bool": True,
    "date": bson.DatetimeMS(5), "null": None, "regex": Regex("^a", "i"), "code": Code("x"),
    "scoped": Code("x", {"a": 1}), "int": 5, "timestamp": Timestamp(1, 2), "long": Int64(5),
    "decimal": Decimal128("1.5"), "max": MaxKey(), "app_id": "crm",
}  # fmt: skip
JOIN: Final = {"from": "users", "localField": "a", "foreignField": "_id", "as": "j"}
BEGUN: Final = {**SESSION, "txnNumber": Int64(1), "autocommit": False, "startTransaction": True}


def command(first: Mapping[str, Any], **more: Any) -> bytes:
    """Give a command as drivers send it."""
    return message({**first, **SESSION, "$db": "shop", **more})


SHAPES: Final[Mapping[str, bytes]] = {
    "aggregate": command({"aggregate": "tasks", "cursor": {}, "pipeline": [
        {"$match": {"a": 1}}, {"$lookup": JOIN}, {"$group": {"_id": "$a"}}]}),
    "authenticate": message({"authenticate": 1, "mechanism": "MONGODB-X509", "$db": "$external"}),
    "bulk": message({"insert": "tasks", "ordered": False, **SESSION, "$db": "shop"},
                    documents=[EVERY_TYPE, {"_id": 2}]),
    "commit": message({"commitTransaction": 1, **SESSION, "txnNumber": Int64(1),
                       "autocommit": False, "$db": "admin"}),
    "compressed_snappy": wrap(command({"find": "tasks", "filter": {}}), "snappy"),
    "compressed_zlib": wrap(command({"find": "tasks", "filter": {}}), "zlib"),
    "compressed_zstd": wrap(command({"find": "tasks", "filter": {}}), "zstd"),
    "create_indexes": command({"createIndexes": "tasks", "indexes": [
        {"key": {"a": 1}, "name": "a_1", "unique": True}]}),
    "deletes": message({"delete": "tasks", **SESSION, "$db": "shop"},
                       deletes=[{"q": {"a": 1}, "limit": 1}]),
    "end_sessions": message({"endSessions": [SESSION["lsid"]], "$db": "admin"}),
    "explain": command({"explain": {"find": "tasks", "filter": {"a": 1}}, "verbosity": "x"}),
    "find": command({"find": "tasks", "filter": {"a": {"$in": [1, "x"]}, "$expr": {"$eq": [1, 1]}},
                     "projection": {"a": 1}, "sort": {"a": -1}, "limit": 5}),
    "find_and_modify": command({"findAndModify": "tasks", "query": {"a": 1},
                                "update": [{"$set": {"a": "$$ROOT"}}], "new": True}),
    "get_more": command({"getMore": Int64(99), "collection": "tasks", "batchSize": 5}),
    "hello": message(HELLO, flags=1 << 16),
    "hello_old": query({"ismaster": 1, "helloOk": True, "client": CLIENT}),
    "hello_wrapped": query({"$query": {"isMaster": 1}, "$readPreference": {"mode": "primary"}}),
    "insert": command({"insert": "tasks", "documents": [EVERY_TYPE]}),
    "kill_cursors": command({"killCursors": "tasks", "cursors": [Int64(99)]}),
    "list_collections": command({"listCollections": 1, "filter": {"name": "x"}, "nameOnly": True}),
    "old_insert": frame(2002, 7, 0, (bytes(4), b"shop.tasks\0", bson.encode({"a": 1}))),
    "old_find": query({"a": 1}, "shop.tasks"),
    "plain_start": message({"saslStart": 1, "mechanism": "PLAIN",
                            "payload": b"\0shop\0correct horse", "$db": "$external"}),
    "quiet": message({"insert": "tasks", "documents": [{}], "$db": "shop",
                      "writeConcern": {"w": 0}}, flags=2),
    "sasl_continue": message({"saslContinue": 1, "conversationId": 1, "$db": "admin",
                              "payload": b"c=biws,r=abc,p=AAAA"}),
    "sasl_start": message({**SPECULATIVE, "$db": "admin"}),
    "transaction": message({"find": "tasks", **BEGUN, "$db": "shop",
                            "readConcern": {"level": "snapshot"}}),
    "two_bodies": frame(OP_MSG, 7, 0, (bytes(4), b"\0" + bson.encode({"ping": 1, "$db": "a"}),
                                       b"\0" + bson.encode({"ping": 1, "$db": "a"}))),
    "updates": message({"update": "tasks", **SESSION, "$db": "shop"}, updates=[
        {"q": {"a": 1}, "u": {"$set": {"a.$[e]": 1}}, "arrayFilters": [{"e": 1}]},
        {"q": {}, "u": {"app_id": "crm"}, "upsert": True}]),
}  # fmt: skip
"""Valid frames of each kind, as PyMongo, mongosh and older clients shape them."""


def kept() -> dict[str, bytes]:
    """Give every frame of the folder by its name."""
    return {path.stem: path.read_bytes() for path in sorted(FOLDER.glob("*.bin"))}


def _flip(source: random.Random, data: bytearray, _: list[bytes]) -> None:
    data[source.randrange(len(data))] ^= 1 << source.randrange(8)


def _cut(source: random.Random, data: bytearray, _: list[bytes]) -> None:
    del data[source.randrange(len(data)) :]


def _lie(source: random.Random, data: bytearray, _: list[bytes]) -> None:
    """Write another length, or number, over four bytes."""
    number = source.choice((0, 1, -1, 4, 5, len(data), len(data) * 2, 2**31 - 1, -(2**31)))
    at = source.randrange(max(len(data) - 4, 1))
    data[at : at + 4] = struct.pack("<i", number)


def _splice(source: random.Random, data: bytearray, others: list[bytes]) -> None:
    other = source.choice(others)
    begin = source.randrange(len(other))
    at = source.randrange(len(data))
    data[at:at] = other[begin : begin + source.randrange(1, 60)]


def _type(source: random.Random, data: bytearray, _: list[bytes]) -> None:
    """Write another BSON type, or another ASCII character."""
    data[source.randrange(len(data))] = source.choice((*range(20), 0x7F, 0xFF, *b"$._ai"))


def _measured(data: bytearray) -> None:
    """Let the frame's own length be right, so that more is looked at."""
    if len(data) >= 4:
        data[:4] = struct.pack("<i", len(data))


DAMAGES: Final = (_cut, _flip, _flip, _lie, _splice, _type, _type)


def damaged(source: random.Random, frames: list[bytes]) -> Iterator[bytes]:
    """Give damaged frames, without end."""
    while True:
        data = bytearray(source.choice(frames))
        for _ in range(source.randint(1, 4)):
            if data:
                source.choice(DAMAGES)(source, data, frames)
        if source.random() < 0.9:
            _measured(data)
        yield bytes(data)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, data in SHAPES.items():
        (FOLDER / f"{name}.bin").write_bytes(data)
