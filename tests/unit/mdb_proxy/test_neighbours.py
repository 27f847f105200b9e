"""Two workers: what one of them is asked about the other's cursors, sessions and transactions."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import bson
import pytest
from bson import Binary, Int64

from mdb_engine.exceptions import (
    CursorNotFoundError,
    NoSessionCursorError,
    RefusedError,
    UnauthorizedError,
)
from mdb_proxy.decisions import Ask, Exchange, Reply, Run
from mdb_proxy.holds import TENANT_COMMANDS
from mdb_proxy.neighbours import RULES, for_another
from tests.support.talks import MEMBER, Talk, World, carry_out, credential, heard, one_frame, told

Fields = Mapping[str, Any]

SESSION = {"id": Binary.from_uuid(UUID(int=1))}
MORE = {"getMore": Int64(99), "collection": "tasks", "$db": "shop"}
OK = {"ok": 1.0}


def batch(name: str, number: int, *found: Fields) -> Fields:
    return {"cursor": {"id": Int64(number), "ns": "appdata.shop_tasks", name: found}, "ok": 1.0}


class Pair:
    """A client's connections to two workers."""

    def __init__(self, **limits: Any) -> None:
        more = credential("shop-2", "shop")
        self.worlds = [World(more, **limits), World(more, **limits)]
        self.talks = [Talk(world, "shop", peers=True) for world in self.worlds]

    def ask(self, worker: int, command: Fields, *answers: Fields) -> dict[str, Any]:
        """Give the reply of a worker, which may ask the other one."""
        decision = self.talks[worker].decide(command)
        data = carry_out(decision, answers, peers=[self.worlds[1 - worker]])
        return heard(one_frame(data)).body

    def open(self, worker: int, number: int = 99, **more: Any) -> None:
        """Open a cursor."""
        find = {"find": "tasks", "$db": "shop", **more}
        self.ask(worker, find, batch("firstBatch", number, {"a": 1}))

    def known(self, number: int = 99) -> list[bool]:
        """Which of the two know a cursor."""
        return [number in world.cursors.of("shop") for world in self.worlds]


def test_a_cursor_is_read_through_its_owner() -> None:
    pair = Pair()
    pair.open(0)
    reply = pair.ask(1, MORE, batch("nextBatch", 99, {"a": 2}))
    assert reply["cursor"] == {"id": 99, "ns": "shop.tasks", "nextBatch": [{"a": 2}]}
    assert pair.known() == [True, False]
    reply = pair.ask(1, MORE, batch("nextBatch", 0))
    assert reply["cursor"]["id"] == 0
    assert pair.known() == [False, False]


def test_a_cursor_that_nobody_knows() -> None:
    pair = Pair()
    pair.open(0)
    with pytest.raises(CursorNotFoundError, match="cursor id 98 not found"):
        pair.ask(1, {**MORE, "getMore": Int64(98)})


def test_the_owner_counts_the_documents() -> None:
    pair = Pair(max_results=2, result_overflow="error")
    pair.open(0)
    with pytest.raises(RefusedError, match="2"):
        pair.ask(1, MORE, batch("nextBatch", 99, {"a": 2}, {"a": 3}), OK)
    assert pair.known() == [False, False]


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        ({"app": "shop", "user": "shop-2"}, None),
        ({"app": "crm", "user": "crm"}, None),
        ({"app": "crm", "user": "shop"}, None),
        ({"app": "shop", "user": "gone"}, None),
        ({"command": {**MORE, "collection": "other"}}, UnauthorizedError),
        ({"command": {**MORE, "lsid": SESSION}}, NoSessionCursorError),
        ({"command": {"find": "tasks", "$db": "shop"}}, None),
    ],
)
def test_the_owner_decides(ask: dict[str, Any], error: type[Exception] | None) -> None:
    pair = Pair()
    pair.open(0)
    asked = {"app": "shop", "user": "shop", "command": MORE, **ask}
    asked["command"] = bson.encode(asked["command"])
    if error is None:
        assert for_another(pair.worlds[0].tools(), Ask(**asked)) is None
    else:
        with pytest.raises(error):
            for_another(pair.worlds[0].tools(), Ask(**asked))
    assert pair.known() == [True, False]


def test_an_app_that_is_gone_here_has_no_cursors() -> None:
    pair = Pair()
    pair.open(0)
    pair.worlds[0].change("shop", disabled=True)
    ask = Ask("shop", "shop", bson.encode(MORE))
    assert for_another(pair.worlds[0].tools(), ask) is None


def test_cursors_are_killed_where_they_are() -> None:
    pair = Pair()
    for worker, number in enumerate((98, 99)):
        pair.open(worker, number)
    kill = {"killCursors": "tasks", "cursors": [Int64(n) for n in (97, 98, 99)], "$db": "shop"}
    reply = pair.ask(
        0, kill, {"cursorsKilled": [Int64(99)], "ok": 1.0}, {"cursorsKilled": [Int64(98)], "ok": 1}
    )
    assert reply == {
        "cursorsKilled": [99, 98],
        "cursorsNotFound": [97],
        "cursorsAlive": [],
        "cursorsUnknown": [],
        "ok": 1.0,
    }
    assert (pair.known(98), pair.known(99)) == ([False, False], [False, False])


def test_nobody_is_asked_about_own_cursors() -> None:
    pair = Pair()
    pair.open(0)
    kill = {"killCursors": "tasks", "cursors": [Int64(99)], "$db": "shop"}
    decision = pair.talks[0].decide(kill)
    assert isinstance(decision, Run)
    assert isinstance(next(decision.steps), Exchange)


@pytest.mark.parametrize(("name", "exchanges"), [("endSessions", 2), ("killSessions", 1)])
def test_sessions_that_end_are_forgotten_everywhere(name: str, exchanges: int) -> None:
    """Who holds something in them ends that; who was asked tells of them."""
    pair = Pair()
    pair.open(0, lsid=SESSION)
    (session,) = pair.worlds[0].sessions.of("shop", "shop")
    reply = pair.ask(1, {name: [SESSION], "$db": "admin"}, *[OK] * exchanges)
    assert reply == {"ok": 1.0}
    assert pair.worlds[0].sessions.of("shop", "shop") == []
    assert pair.known() == [False, False]
    assert session


def test_all_sessions_are_killed_by_those_who_know_them() -> None:
    pair = Pair()
    pair.open(0, lsid=SESSION)
    assert pair.ask(1, {"killSessions": [], "$db": "admin"}, OK) == {"ok": 1.0}
    assert pair.known() == [False, False]
    assert pair.ask(1, {"killSessions": [], "$db": "admin"}) == {"ok": 1.0}


def test_sessions_that_go_on_are_nobody_elses_business() -> None:
    pair = Pair()
    assert pair.talks[0].forward({"refreshSessions": [SESSION], "$db": "admin"})


@pytest.mark.parametrize(("code", "known"), [(347, 1), (225, 1), (251, 0)])
def test_a_transaction_that_the_cluster_does_not_end_counts_on(code: int, known: int) -> None:
    pair = Pair()
    fields = {"lsid": SESSION, "txnNumber": Int64(1), "autocommit": False}
    insert = {"insert": "tasks", "documents": [{"a": 1}], "$db": "shop", **fields}
    pair.ask(0, {**insert, "startTransaction": True}, OK)
    for worker in (0, 1):
        refused = {"ok": 0.0, "code": code, "errmsg": "no"}
        pair.ask(worker, {"abortTransaction": 1, **fields, "$db": "admin"}, refused)
        assert len(pair.worlds[0].sessions.transactions("shop")) == known


@pytest.mark.parametrize("end", ["abortTransaction", "commitTransaction"])
def test_a_transaction_counts_where_it_began_until_it_ends_anywhere(end: str) -> None:
    pair = Pair(max_transactions=1)
    for number in range(1, 4):
        fields = {"lsid": SESSION, "txnNumber": Int64(number), "autocommit": False}
        insert = {"insert": "tasks", "documents": [{"a": 1}], "$db": "shop", **fields}
        pair.ask(0, {**insert, "startTransaction": True}, OK)
        pair.ask(1, insert, OK)
        session = pair.worlds[0].sessions.of("shop", "shop")[0]
        members = [w.sessions.pinned("shop", session, number) for w in pair.worlds]
        assert members == [MEMBER, MEMBER]
        pair.worlds[1].sessions.admit("shop", 1, 0)
        assert pair.ask(1, {end: 1, "$db": "admin", **fields}, OK)["ok"] == 1.0


def test_only_that_transaction_ends() -> None:
    pair = Pair(max_transactions=1)
    fields = {"lsid": SESSION, "txnNumber": Int64(2), "autocommit": False}
    insert = {"insert": "tasks", "documents": [{"a": 1}], "$db": "shop", **fields}
    pair.ask(0, {**insert, "startTransaction": True}, OK)
    for late in ({"txnNumber": Int64(1)}, {"txnNumber": "x"}, {}):
        command = {"commitTransaction": 1, "lsid": SESSION, "$db": "admin", **late}
        ask = Ask("shop", "shop", bson.encode(command))
        assert isinstance(for_another(pair.worlds[0].tools(), ask), Reply)
    with pytest.raises(RefusedError):
        pair.worlds[0].sessions.admit("shop", 1, 0)


def test_a_worker_alone_asks_nobody() -> None:
    world = World()
    talk = Talk(world, "shop")
    assert talk.ask(MORE)["code"] == 43
    assert talk.forward({"endSessions": [SESSION], "$db": "admin"})
    fields = {"lsid": SESSION, "txnNumber": Int64(1), "autocommit": False, "$db": "admin"}
    assert talk.forward({"commitTransaction": 1, **fields})


def test_the_end_is_told_after_the_cluster_has_spoken() -> None:
    pair = Pair()
    fields = {"lsid": SESSION, "txnNumber": Int64(1), "autocommit": False, "$db": "admin"}
    decision = pair.talks[0].decide({"commitTransaction": 1, **fields})
    assert isinstance(decision, Run)
    first = next(decision.steps)
    assert isinstance(first, Exchange)
    assert "commitTransaction" in told(first)


def test_every_rule_is_a_command_of_ours() -> None:
    assert set(RULES) - {"abortTransaction", "commitTransaction"} <= set(TENANT_COMMANDS)
