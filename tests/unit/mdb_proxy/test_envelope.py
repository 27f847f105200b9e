"""From messages to commands and back, and what is wrong with the others."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import bson
import pytest
from bson import Binary

from mdb_engine.exceptions import (
    OverloadedError,
    RefusedError,
    UnauthorizedError,
    UpstreamError,
)
from mdb_engine.rawbson import Document
from mdb_proxy.decisions import Answer, Exchange, Forward, Run
from mdb_proxy.envelope import (
    BACKOFF_MS,
    MAX_BODY,
    check_fields,
    documents,
    exchange,
    failure,
    late,
    logical,
    refusal,
    reply_to,
)
from mdb_proxy.wire import MORE_TO_COME, Message
from tests.support.talks import decoded, heard, lossless, one_frame, told

EMPTY = b"\5\0\0\0\0"


def of(body: dict[str, Any] | bytes, **sections: list[Any]) -> Message:
    data = body if isinstance(body, bytes) else bson.encode(body)
    parts = tuple((n, tuple(map(bson.encode, found))) for n, found in sections.items())
    return Message(1, 0, 0, data, parts)


def twice(*names: bytes) -> bytes:
    """A body in which these names stand, each with the value 1."""
    parts = b"".join(b"\x10" + name + b"\0\1\0\0\0" for name in names)
    return (len(parts) + 5).to_bytes(4, "little") + parts + b"\0"


@pytest.mark.parametrize(
    ("message", "names", "batch"),
    [
        (of({"ping": 1, "$db": "x"}), ["ping", "$db"], {}),
        (
            of({"insert": "t", "$db": "x"}, documents=[{"a": 1}, {}]),
            ["insert", "$db", "documents"],
            {"documents": [{"a": 1}, {}]},
        ),
        (
            of({"update": "t", "$db": "x"}, updates=[{"q": {}}]),
            ["update", "$db", "updates"],
            {"updates": [{"q": {}}]},
        ),
        (
            of({"delete": "t", "$db": "x"}, deletes=[]),
            ["delete", "$db", "deletes"],
            {"deletes": []},
        ),
    ],
)
def test_a_command(message: Message, names: list[str], batch: dict[str, Any]) -> None:
    command = logical(message)
    assert list(command) == names
    for name, items in batch.items():
        assert [decoded(item.data) for item in command[name]] == items


def test_documents_to_store_are_not_walked_here() -> None:
    broken = b"\x06\0\0\0\xee\0"
    command = logical(
        Message(1, 0, 0, bson.encode({"insert": "t", "$db": "x"}), (("documents", (broken,)),))
    )
    assert command["documents"][0].data == broken


def test_names_that_are_not_text_keep_their_bytes() -> None:
    (name, *_) = logical(of(b"\x17\0\0\0\x10\xff\0\1\0\0\0\x02$db\0\2\0\0\0x\0\0"))
    assert name.encode("utf-8", "surrogateescape") == b"\xff"


BROKEN_UPDATE = Message(
    1, 0, 0, bson.encode({"update": "t", "$db": "x"}), (("updates", (b"\x06\0\0\0\xee\0",)),)
)


@pytest.mark.parametrize(
    ("message", "code", "at"),
    [
        (of(EMPTY), 2, ""),
        (of(b"\6\0\0\0\xee\0"), 22, ""),
        (of(b"\5\0\0\0\1"), 22, ""),
        (of({"a": b"x" * MAX_BODY}), 10334, ""),
        (of(twice(b"find", b"find")), 40413, "find"),
        (of(twice(b"find", b"$db", b"$db")), 40413, "$db"),
        (of({"find": "t"}), 40571, "$db"),
        (of({"find": "t", "$db": 5}), 14, "$db"),
        (of({"find": "t", "$db": ["x"]}), 14, "$db"),
        (of({"find": "t", "$db": "x"}, filter=[{}]), 40415, "filter"),
        (of({"insert": "t", "$db": "x"}, deletes=[{}]), 40415, "deletes"),
        (of({"insert": "t", "$db": "x", "documents": []}, documents=[{}]), 40433, "documents"),
        (of({"ping": 1, "$db": "x"}, documents=[{}]), 40415, "documents"),
        (BROKEN_UPDATE, 22, ""),
    ],
)
def test_what_is_no_command(message: Message, code: int, at: str) -> None:
    with pytest.raises(RefusedError) as caught:
        logical(message)
    assert (caught.value.code, caught.value.at) == (code, at)


def test_a_sequence_that_comes_twice() -> None:
    one = ("documents", (bson.encode({}),))
    with pytest.raises(RefusedError) as caught:
        logical(Message(1, 0, 0, bson.encode({"insert": "t", "$db": "x"}), (one, one)))
    assert caught.value.code == 40431


UUID1 = Binary.from_uuid(UUID(int=1))


@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ({}, frozenset()),
        ({"x": 1}, frozenset({"x"})),
        ({"x": 1, "y": 2}, None),
        ({"lsid": {"id": UUID1}, "$clusterTime": {}, "$readPreference": {}}, frozenset()),
        ({"comment": [1], "maxTimeMS": 5, "apiVersion": "1"}, frozenset()),
        ({"maxTimeMS": 0}, None),
    ],
)
def test_fields_that_are_fine(fields: dict[str, Any], known: frozenset[str] | None) -> None:
    check_fields(lossless({"ping": 1, **fields, "$db": "x"}), known)


@pytest.mark.parametrize(
    ("fields", "known", "code", "at"),
    [
        ({"x": 1}, frozenset(), 40415, "x"),
        ({"x": 1, "y": 2}, frozenset({"x"}), 40415, "y"),
        ({"$replData": True}, frozenset(), 40415, "$replData"),
        ({"autocommit": False}, None, 263, ""),
        ({"autocommit": False, "x": 1}, frozenset(), 263, ""),
        ({"lsid": {"id": UUID1, "uid": 1}}, None, 72, "lsid.uid"),
        ({"lsid": 1}, frozenset(), 2, "lsid"),
        ({"maxTimeMS": "x"}, frozenset(), 2, "maxTimeMS"),
        ({"maxTimeMS": None}, frozenset(), 2, "maxTimeMS"),
        ({"maxTimeMS": -1}, None, 2, "maxTimeMS"),
        ({"maxTimeMS": 1.5}, None, 2, "maxTimeMS"),
    ],
)
def test_fields_that_are_not(
    fields: dict[str, Any], known: frozenset[str] | None, code: int, at: str
) -> None:
    with pytest.raises(RefusedError) as caught:
        check_fields(lossless({"ping": 1, **fields, "$db": "x"}), known)
    assert (caught.value.code, caught.value.at) == (code, at)


def test_batches_travel_as_sequences() -> None:
    command = {"insert": "t", "documents": [Document(bson.encode({"a": 1})), {"b": 2}], "$db": "P"}
    made = exchange(command, "shop", pin="m1:1")
    assert made.sections == (("documents", (bson.encode({"a": 1}), bson.encode({"b": 2}))),)
    assert decoded(made.body) == {"insert": "t", "$db": "P"}
    assert (made.app, made.pin) == ("shop", "m1:1")
    assert told(exchange({"ping": 1, "$db": "P"}, "shop")) == {"ping": 1, "$db": "P"}


@pytest.mark.parametrize(("flags", "answered"), [(0, True), (MORE_TO_COME, False)])
def test_a_reply(flags: int, answered: bool) -> None:
    data = reply_to(Message(9, 0, flags, b""), bson.encode({"ok": 1}))
    assert bool(data) == answered
    if data:
        found = heard(one_frame(data))
        assert (found.response_to, found.flags, found.body) == (9, 0, {"ok": 1})


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (
            UnauthorizedError("no"),
            {"ok": 0.0, "errmsg": "no", "code": 13, "codeName": "Unauthorized"},
        ),
        (
            UnauthorizedError("no", "a.b"),
            {"ok": 0.0, "errmsg": "no", "code": 13, "codeName": "Unauthorized", "at": "a.b"},
        ),
        (
            OverloadedError("later"),
            {
                "ok": 0.0,
                "errmsg": "later",
                "code": 462,
                "codeName": "IngressRequestRateLimitExceeded",
                "errorLabels": ["SystemOverloadedError", "RetryableError"],
                "baseBackoffMS": BACKOFF_MS,
            },
        ),
    ],
)
def test_refusals(error: RefusedError, fields: dict[str, Any]) -> None:
    assert decoded(refusal(error)) == fields


@pytest.mark.parametrize("labels", [(), ("RetryableWriteError",)])
def test_failures(labels: tuple[str, ...]) -> None:
    found = decoded(failure(UpstreamError("it broke", labels)))
    assert found.pop("errorLabels", []) == list(labels)
    assert found == {"ok": 0.0, "errmsg": "it broke", "code": 6, "codeName": "HostUnreachable"}


def empty(_found: Answer) -> bytes:
    return b""


def reverse(data: bytes) -> bytes:
    return data[::-1]


def forward(quiet: bool, finish: Callable[[bytes], bytes]) -> Forward:
    return Forward(Exchange(b""), empty, finish, quiet)


def run(quiet: bool, finish: Callable[[bytes], bytes]) -> Run:
    return Run((_ for _ in ()), finish, quiet)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [forward, run])
def test_late_failures(kind: Callable[[bool, Callable[[bytes], bytes]], Forward | Run]) -> None:
    body = failure(UpstreamError("it broke"))
    assert late(4, body, kind(True, bytes)) == b""
    data = late(4, body, kind(False, bytes))
    assert heard(one_frame(data)).response_to == 4
    assert late(4, body, kind(False, reverse)) == data[::-1]


def test_a_bulk_write_brings_two_sequences() -> None:
    body = {"bulkWrite": 1, "$db": "admin"}
    found = logical(of(body, ops=[{"delete": 0}], nsInfo=[{"ns": "a.b"}]))
    assert [dict(each) for each in found["ops"]] == [{"delete": 0}]
    assert [dict(each) for each in found["nsInfo"]] == [{"ns": "a.b"}]
    with pytest.raises(RefusedError) as caught:
        logical(of({"insert": "t", "$db": "a"}, ops=[{}]))
    assert (caught.value.code, caught.value.at) == (40415, "ops")


@pytest.mark.parametrize(
    ("reply", "many"),
    [
        ({"cursor": {"firstBatch": [], "id": 0}}, 0),
        ({"cursor": {"firstBatch": [{"a": 1}, {}, {"b": "x" * 300}], "id": 0}}, 3),
        ({"cursor": {"id": 0, "nextBatch": [{"a": [{"b": 1}]}] * 12}}, 12),
        ({"cursor": {"id": 0}}, None),
        ({"cursor": 1}, None),
        ({"n": 1}, None),
    ],
)
def test_documents_of_a_batch(reply: dict[str, Any], many: int | None) -> None:
    assert documents(bson.encode(reply)) == many
