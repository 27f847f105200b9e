"""Whatever bytes come: an answer, a refusal, a close or a WireError, and nothing else."""

import struct
from typing import Any
from uuid import UUID

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, ObjectId, Regex, Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from mdb_engine.exceptions import RefusedError
from mdb_engine.scope.commands import COMMANDS
from mdb_proxy.decisions import Answer, Close, Forward, Reply, Run
from mdb_proxy.holds import TENANT_COMMANDS
from mdb_proxy.local import LOCAL
from mdb_proxy.sasl import COMMANDS as SASL
from mdb_proxy.wire import (
    MAX_BEFORE_LOGIN,
    MAX_MESSAGE,
    OP_COMPRESSED,
    OP_MSG,
    OP_QUERY,
    Frames,
    Message,
    WireError,
    encode_message,
    frame,
    wrap,
)
from tests.support.talks import MEMBER, Talk, World, heard, message, one_frame, query

# What a session does with bytes.


def fresh(user: str) -> Talk:
    """A connection; the cursor 99 is this user's."""
    talk = Talk(World(), user)
    if user:
        found = {"id": Int64(99), "ns": "appdata.shop_tasks", "firstBatch": []}
        talk.ask({"find": "tasks", "$db": "shop"}, {"cursor": found, "ok": 1.0})
    return talk


def say(talk: Talk, data: bytes) -> None:
    """Send bytes; what comes back must be what a client can read."""
    frames = Frames(MAX_MESSAGE if talk.session.app else MAX_BEFORE_LOGIN)
    try:
        for each in frames.feed(data):
            decision = talk.session.receive(each)
            if isinstance(decision, Close):
                return
            answered(decision, talk)
    except WireError:
        return


def answered(decision: Reply | Forward | Run, talk: Talk) -> None:
    data = b""
    if isinstance(decision, Reply):
        data = decision.message
    elif isinstance(decision, Forward):
        assert talk.session.app
        data = decision.finish(decision.answer(Answer(REPLY, MEMBER)))
    else:
        assert talk.session.app
        data = decision.finish(driven(decision))
    if data:
        found = heard(one_frame(data))
        assert "ok" in found.body or "$err" in found.body


def driven(decision: Run) -> bytes:
    """A plan whose steps are answered; it may still refuse what it finds."""
    try:
        next(decision.steps)
        while True:
            decision.steps.send(Answer(REPLY, MEMBER))
    except StopIteration as stop:
        return bytes(stop.value)
    except RefusedError:
        return b""


REPLY = bson.encode({"cursor": {"id": Int64(0), "ns": "a.b", "firstBatch": []}, "ok": 1.0})
USERS = pytest.mark.parametrize("user", ["", "shop"])
INT32 = st.integers(-(2**31), 2**31 - 1)
OPCODES = st.sampled_from([OP_MSG, OP_QUERY, OP_COMPRESSED, 1, 2001, 0])

# Commands that are nearly right.

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    INT32,
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.floats(),
    TEXT,
    st.binary(max_size=20),
    st.sampled_from([
        Binary.from_uuid(UUID(int=1)), Code("x"), Code("x", {"a": 1}), Decimal128("NaN"),
        Decimal128("1E400"), Int64(99), MaxKey(), ObjectId(bytes(12)), Regex("^a", "i"),
        Timestamp(1, 1), "tasks", "shop", "admin", "$cmd", "a.b", "",
    ]),
)  # fmt: skip
NAMES = TEXT | st.sampled_from([
    "$and", "$expr", "$match", "$where", "$set", "$lookup", "app_id", "id", "user", "db", "from",
    "pipeline", "mode", "tags", "level", "afterClusterTime", "payload", "mechanism",
])  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
FIELDS = sorted({
    "$db", "lsid", "txnNumber", "autocommit", "startTransaction", "$clusterTime", "maxTimeMS",
    "$readPreference", "readConcern", "writeConcern", "apiVersion", "comment", "recoveryToken",
    "client", "compression", "speculativeAuthenticate", "saslSupportedMechs", "mechanism",
    "payload", "conversationId", "options", "showPrivileges", "cursors", "collection",
    *(field for row in COMMANDS.values() for field in row.fields),
})  # fmt: skip
COMMAND_NAMES = sorted({*COMMANDS, *LOCAL, *SASL, *TENANT_COMMANDS, "eval", "createUser"})
GOOD: dict[str, Any] = {
    "pipeline": [{"$match": {"a": 1}}],
    "cursor": {},
    "documents": [{"a": 1}],
    "updates": [{"q": {}, "u": {"$set": {"a": 1}}}],
    "deletes": [{"q": {}, "limit": 1}],
    "indexes": [{"key": {"a": 1}, "name": "a"}],
    "key": "a",
    "cursors": [Int64(99)],
    "collection": "tasks",
    "lsid": {"id": Binary.from_uuid(UUID(int=1))},
    "mechanism": "SCRAM-SHA-256",
    "payload": b"n,,n=shop,r=abc",
    "conversationId": 1,
}
ARGUMENTS: dict[str, Any] = {"getMore": Int64(99), "explain": {"find": "tasks"}}


@st.composite
def commands(draw: st.DrawFn) -> dict[str, Any]:
    """A command with what it needs, some of it changed."""
    name = draw(st.sampled_from(COMMAND_NAMES))
    row = COMMANDS.get(name)
    needed = {f: GOOD[f] for f in (*(row.required if row else ()), "cursor") if f in GOOD}
    if name.startswith("sasl"):
        needed = {f: GOOD[f] for f in ("mechanism", "payload", "conversationId")}
    first = {name: ARGUMENTS.get(name, "tasks")}
    if draw(st.integers(0, 4)) == 0:
        first = {name: draw(VALUES)}
    given = draw(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3))
    good = {f: GOOD[f] for f in draw(st.lists(st.sampled_from(sorted(GOOD)), max_size=2))}
    db = {"$db": draw(st.sampled_from(["shop", "admin", "other", "local"]))}
    kept = needed if draw(st.integers(0, 3)) else {}
    return {**first, **db, **kept, **good, **given}


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A whole OP_MSG, perhaps with a batch that stands beside its body."""
    command = draw(commands())
    names = ["documents", "updates", "deletes", "filter"]
    parts = []
    for name in draw(st.lists(st.sampled_from(names), max_size=1)):
        if draw(st.booleans()):
            command.pop(name, None)
        found = draw(st.lists(st.dictionaries(NAMES, VALUES, max_size=3), max_size=2))
        parts.append((name, tuple(map(bson.encode, [*GOOD.get(name, ()), *found]))))
    flags = draw(st.sampled_from([0, 2, 1 << 16]))
    return encode_message(Message(5, 0, flags, bson.encode(command), tuple(parts)))


@USERS
@given(st.lists(st.binary(max_size=200), max_size=4))
def test_junk(user: str, chunks: list[bytes]) -> None:
    for chunk in chunks:
        say(fresh(user), chunk)


@USERS
@given(OPCODES, INT32, st.binary(max_size=200))
def test_junk_in_a_frame(user: str, opcode: int, number: int, junk: bytes) -> None:
    talk = fresh(user)
    say(talk, frame(opcode, number, 0, (junk,)))
    say(talk, frame(OP_MSG, number, 0, (bytes(5), junk)))
    say(talk, message(junk) if len(junk) > 4 else b"")
    say(talk, frame(OP_QUERY, number, 0, (bytes(4), b"admin.$cmd\0", bytes(8), junk)))


@USERS
@given(st.binary(max_size=60))
def test_junk_in_a_body(user: str, junk: bytes) -> None:
    """The outer document is right, what is inside it is not."""
    talk = fresh(user)
    body = struct.pack("<i", len(junk) + 5) + junk + b"\0"
    for data in (message(body), query(body), wrap(message(body), "zlib")):
        say(talk, data)


@USERS
@given(messages())
@settings(max_examples=400)
def test_commands_that_are_nearly_right(user: str, data: bytes) -> None:
    say(fresh(user), data)


@USERS
@given(messages(), st.data())
@settings(max_examples=300)
def test_damaged_messages(user: str, data: bytes, source: st.DataObject) -> None:
    damaged = bytearray(data)
    for _ in range(source.draw(st.integers(1, 3))):
        at = source.draw(st.integers(16, len(damaged) - 1))
        damaged[at] = source.draw(st.integers(0, 255))
    talk = fresh(user)
    say(talk, bytes(damaged))
    say(talk, wrap(bytes(damaged), "zlib"))


@USERS
@given(commands(), st.sampled_from(["admin.$cmd", "shop.$cmd", "shop.tasks", "$cmd", ""]))
def test_the_old_form(user: str, command: dict[str, Any], namespace: str) -> None:
    say(fresh(user), query(command, namespace))
    say(fresh(user), query({"$query": command}, namespace))


@given(st.lists(commands(), max_size=6))
def test_nobody_gets_anything_to_the_cluster_without_a_login(given_: list[dict[str, Any]]) -> None:
    talk = fresh("")
    for command in given_:
        decision = talk.decide(command)
        assert isinstance(decision, Reply)


@USERS
@given(VALUES, VALUES)
def test_sessions_and_cursors_of_any_kind(user: str, one: Any, other: Any) -> None:
    talk = fresh(user)
    for command in (
        {"getMore": one, "collection": other},
        {"killCursors": one, "cursors": other},
        {"killCursors": "tasks", "cursors": [one, other]},
        {"endSessions": one, "lsid": other},
        {"killSessions": [one, other]},
        {"find": "tasks", "lsid": one, "txnNumber": other, "autocommit": False},
        {"find": "tasks", "lsid": {"id": one}, "$readPreference": other},
        {"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": one, "options": other},
        {"saslContinue": 1, "conversationId": one, "payload": other},
        {"hello": 1, "client": one, "compression": other},
        {"hello": 1, "speculativeAuthenticate": {"saslStart": 1, "db": one, "payload": other}},
        {"usersInfo": one, "showCredentials": other},
        {"getParameter": one, "getLog": other},
    ):
        say(talk, message({**command, "$db": "admin"}))
