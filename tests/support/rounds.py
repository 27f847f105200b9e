"""Carries out a row of the matrix, and looks at everything that it must not have touched."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import bson

from mdb_engine.rawbson import Document, encode
from tests.support.matrix import HOME, Row, Step, at, filled, is_there
from tests.support.wires import OPTIONS, ClosedError, Line, Said, message, raw
from tests.support.worlds import KEPT, LOGINS, Matrix, State, owner

EVENT_SECONDS = 8.0
AWAIT_MS = 60
TAG = b"app_id"


@dataclass(slots=True)
class Round:
    """One run of a row: what it has kept so far, whom it spoke to, what was said."""

    world: Matrix
    row: Row
    kept: dict[str, Any] = field(default_factory=dict)
    sessions: dict[str, Any] = field(default_factory=dict)
    used: dict[tuple[str, str], Line] = field(default_factory=dict)
    closed: set[tuple[str, str]] = field(default_factory=set)
    tagged: dict[str, str] = field(default_factory=dict)
    planted: dict[str, list[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.planted = dict(self.world.planted)

    @property
    def fills(self) -> dict[str, Any]:
        """Give what stands for values that only the run knows."""
        return {
            "$kept": lambda name: self.kept[name],
            "$session": self._session,
            "$physical": lambda n: f"{self.world.db_name}.{n}" if n else self.world.db_name,
            "$began": lambda _: self.world.began,
            "$uuid": lambda n: self.world.before.definitions[n]["options"]["uuid"],
        }

    def _session(self, label: str) -> Document:
        made = self.sessions.setdefault(label, bson.Binary.from_uuid(uuid4()))
        return Document(encode({"id": made}))

    def line(self, step: Step) -> Line:
        key = (step.caller, step.line)
        if key not in self.used:
            self.used[key] = self.world.line(*key)
            self.used[key].forget()
        return self.used[key]

    def say(self, step: Step) -> Any:
        """Say what a step says, and give what comes back; None: nothing does."""
        if step.caller == "operator":
            database = self.world.behind if step.db == HOME else self.world.admin[str(step.db)]
            command = bson.decode(encode(filled(step.get("do"), self.fills)))
            return database.command(command, check=False)
        line = self.line(step)
        if "drain" in step.given:
            return self._drained(step, line)
        if "wire" in step.given:
            line.send(raw(*filled(step.get("wire"), self.fills)))
        else:
            command = filled(step.get("do"), self.fills)
            sections = filled(step.get("sections", []), self.fills)
            db = filled(step.db, self.fills)
            line.send(message(command, db, flags=step.get("flags", 0), sections=sections))
        if step.get("closed"):
            assert line.is_closed(), "the connection is still there"
            self.closed.add((step.caller, step.line))
            self.world.drop(step.caller, step.line)
            return None
        if step.get("silent"):
            assert line.is_silent(), "there was an answer"
            return None
        return self._body(step, line.hear())

    def _body(self, step: Step, said: Said) -> dict[str, Any]:
        body = said.body
        command = step.get("do") or {"getMore": 1}
        if body.get("ok") and "explain" not in command and TAG in said.raw:
            self.tagged[step.caller] = next(iter(command))
        return body

    def _drained(self, step: Step, line: Line) -> Any:
        """Give all events of a stream: as many as are expected, and none behind them."""
        events: list[Any] = []
        command = {
            "getMore": bson.Int64(filled(step.get("drain"), self.fills)),
            "collection": step.get("from"),
        }
        if step.get("waits", True):
            command["maxTimeMS"] = AWAIT_MS
        if "lsid" in step.given:
            command["lsid"] = self._session(step.get("lsid"))
        deadline = time.monotonic() + EVENT_SECONDS
        while time.monotonic() < deadline:
            line.send(message(command, filled(step.db, self.fills)))
            body = self._body(step, line.hear())
            if not body["ok"]:
                return body
            batch = body["cursor"]["nextBatch"]
            events += batch
            if (not batch and len(events) >= step.get("count", 0)) or not body["cursor"]["id"]:
                break
        return {"ok": 1.0, "events": events, "alive": bool(body["cursor"]["id"])}


def batch_of(reply: Mapping[str, Any]) -> list[Any]:
    """Give the documents of a reply, wherever it keeps them."""
    cursor = reply.get("cursor", {})
    named = (reply.get(name) for name in ("events", "values", "databases", "users"))
    return next(filter(None, (*named, cursor.get("firstBatch"), cursor.get("nextBatch"))), [])


def normal(value: Any) -> Any:
    """Give a value as it would come off the wire."""
    return bson.decode(encode({"": value}), OPTIONS)[""]


def check(step: Step, reply: Any, fills: Mapping[str, Any]) -> None:
    """Compare a reply with what a step expects."""
    if reply is None:
        return
    assert reply.get("code", 0) == step.get("code", 0), reply
    assert step.get("says", "") in reply.get("errmsg", "")
    errors = [[error["index"], error["code"]] for error in reply.get("writeErrors", ())]
    assert errors == step.get("errors", []), reply
    assert not reply.get("writeConcernError"), reply
    if "n" in step.given:
        assert reply["n"] == step.get("n"), reply
    if "count" in step.given:
        assert len(batch_of(reply)) == step.get("count"), reply
    if "ids" in step.given:
        assert [item["_id"] for item in batch_of(reply)] == step.get("ids"), reply
    for path, value in step.get("reply", {}).items():
        assert is_there(reply, path), (path, reply)
        assert at(reply, path) == normal(filled(value, fills)), (path, reply)
    assert [path for path in step.get("absent", ()) if is_there(reply, path)] == [], reply


def carry_out(world: Matrix, row: Row, *, strict: bool = True) -> None:
    """Run a row and look at everything. Not strict: whatever the replies are."""
    talk = Round(world, row)
    start = prepared(talk)
    touched = bool(row.given)
    try:
        for step in row.steps:
            time.sleep(step.get("wait", 0))
            for _ in range(step.times):
                converse(talk, step, strict=strict)
        touched |= oracle(talk, start, strict=strict)
    except BaseException:
        abandon(world)
        touched = True
        raise
    finally:
        if touched:
            world.restore(sorted(world.before.differing(world.look())))


def prepared(talk: Round) -> State:
    """Give the state before a row, its own preparations included."""
    world, row = talk.world, talk.row
    if not row.given:
        return world.before
    for command in row.given:
        world.behind.command(bson.decode(encode(filled(command, talk.fills))))
    for slug in row.writes:
        talk.planted |= world.intruders(slug)
    return world.look()


def converse(talk: Round, step: Step, *, strict: bool) -> None:
    try:
        reply = talk.say(step)
    except ClosedError:
        raise AssertionError("the proxy closed the connection") from None
    except KeyError:
        if strict:
            raise
        return  # what an earlier step would have kept
    if strict:
        check(step, reply, talk.fills)
    for name, path in step.get("keep", {}).items():
        if is_there(reply, path):
            talk.kept[name] = at(reply, path)


def abandon(world: Matrix) -> None:
    """End what a failed row left open."""
    for key in list(world.lines):
        world.drop(*key)
    world.admin.admin.command("killAllSessions", [])


def oracle(talk: Round, start: State, *, strict: bool) -> bool:
    """Look for leaks, for changes, for closed connections; whether own data changed."""
    world, row = talk.world, talk.row
    assert list(leaks(talk)) == []
    for key, line in talk.used.items():
        if key not in talk.closed:
            assert line.ask({"ping": 1, "$db": "admin"})["ok"], "the connection is of no use"
    now = world.look() if world.moved() else start
    touched = start.differing(now)
    assert {name for name in touched if owner(name) not in row.writes} == set()
    assert [name for name in now.definitions if "@@" in name] == []
    for slug in row.writes if touched else ():
        assert world.untagged(slug) == []
        check_intruders(talk, slug, now)
    if strict:
        facts(world, row, now, talk.fills)
    return bool(touched)


def leaks(talk: Round) -> Iterator[tuple[str, str]]:
    """Give words that somebody was told and had not said before."""
    callers = {caller for caller, _ in talk.used}
    for caller in callers:
        lines = [line for (name, _), line in talk.used.items() if name == caller]
        sent = b"".join(line.sent for line in lines)
        got = b"".join(line.got for line in lines)
        slug = LOGINS[caller][0] if caller in LOGINS else ""
        for word in talk.world.words(slug):
            if word.encode() in got and word.encode() not in sent and word not in talk.row.shows:
                begin = got.index(word.encode())
                yield caller, f"{word}: {got[max(0, begin - 40) : begin + 40]!r}"
        tagged = caller in talk.tagged and slug != "lens"
        if tagged and TAG not in sent and TAG.decode() not in talk.row.shows:
            yield caller, f"the tag in the reply to {talk.tagged[caller]}"


def check_intruders(talk: Round, slug: str, now: State) -> None:
    """What does not belong to an app stays as it is, wherever it stands."""
    world = talk.world
    for name, documents in world.intruders(slug).items():
        if now.definitions.get(name) == world.before.definitions.get(name):
            assert [each for each in talk.planted[name] if each not in documents] == [], name


def facts(world: Matrix, row: Row, now: State, fills: Mapping[str, Any]) -> None:
    """Compare what lies in the physical database with what the row says of it."""
    for fact in row.after:
        name = fact["collection"]
        there = name in now.definitions or name in KEPT
        assert there == fact.get("exists", True), name
        condition = bson.decode(encode(filled(fact.get("filter", {}), fills)))
        if "count" in fact:
            assert world.behind[name].count_documents(condition) == fact["count"], name
        if "documents" in fact:
            found = list(world.behind[name].find(condition, sort=[("_id", 1)]))
            assert found == normal(filled(fact["documents"], fills)), (name, found)
        for path, value in fact.get("definition", {}).items():
            assert at(now.definitions[name], path) == normal(filled(value, fills)), name
