"""What a client holds open: read on by its owner alone, ended when it is asked for."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import bson
import pytest
from bson import Int64

from mdb_proxy.decisions import Answer, Forward, Reply, Run
from mdb_proxy.wire import MORE_TO_COME
from tests.support.asked import (
    COUNT,
    FIND,
    KILL,
    MORE,
    OK,
    TRANSACTION,
    Fields,
    client_session,
    cluster_session,
    followed,
    opened,
    shop,
    talks,
)
from tests.support.talks import (
    Talk,
    World,
    carry_out,
    heard,
    one_frame,
    steps_of,
    told,
)

# Sessions.


@pytest.mark.parametrize("name", ["endSessions", "killSessions", "refreshSessions"])
def test_session_commands(name: str) -> None:
    talk = shop()
    given = [client_session(1), client_session(2)]
    decision = talk.forward({name: given, "$db": "admin", "lsid": client_session(3)})
    assert told(decision.exchange) == {
        name: [cluster_session(1), cluster_session(2)],
        "$db": "admin",
    }
    # whatever the cluster says
    data = carry_out(decision, [{"ok": 0.0, "code": 13, "errmsg": "appdata"}])
    assert heard(one_frame(data)).body == {"ok": 1.0}
    decision = talk.decide({name: given, "$db": "admin"}, flags=MORE_TO_COME)
    assert carry_out(decision, [OK]) == b""
    assert talk.decide({name: [], "$db": "admin"}, flags=MORE_TO_COME) == Reply(b"")


@pytest.mark.parametrize("name", ["endSessions", "killSessions", "refreshSessions"])
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"x": 1}, 40415),
        ({"autocommit": False}, 263),
        ({"lsid": {**client_session(), "uid": b"x"}}, 72),
        ({"maxTimeMS": "x"}, 2),
    ],
)
def test_session_commands_have_fields_too(name: str, fields: Fields, code: int) -> None:
    assert shop().ask({name: [client_session()], **fields, "$db": "admin"})["code"] == code


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (1, 2),
        ({"0": 1}, 2),
        ([1], 2),
        ([{"id": "x"}], 2),
        ([{**client_session(), "uid": b"x"}], 40415),
        ([{}], 2),
    ],
)
@pytest.mark.parametrize("name", ["endSessions", "killSessions", "refreshSessions"])
def test_session_commands_want_ids(name: str, value: Any, code: int) -> None:
    assert shop().ask({name: value, "$db": "admin"})["code"] == code


def test_an_empty_list_never_reaches_the_cluster() -> None:
    _, (talk, other, crm) = talks("shop", "shop-2", "crm")
    for name in ("endSessions", "refreshSessions", "killSessions"):
        assert isinstance(talk.decide({name: [], "$db": "admin"}), Reply)
    talk.forward({**FIND, "lsid": client_session(1)})
    talk.forward({**COUNT, **TRANSACTION, "lsid": client_session(2)})
    other.forward({**FIND, "lsid": client_session(3)})
    crm.forward({**FIND, "lsid": client_session(4), "$db": "crm"})
    sent = told(talk.forward({"killSessions": [], "$db": "admin"}).exchange)
    assert sent == {"killSessions": [cluster_session(1), cluster_session(2)], "$db": "admin"}
    assert isinstance(talk.decide({"killSessions": [], "$db": "admin"}), Reply)


@pytest.mark.parametrize(
    ("name", "left", "sent"),
    [
        ("endSessions", 1, ["killSessions", "endSessions"]),
        ("killSessions", 1, ["killSessions"]),
        ("refreshSessions", 2, ["refreshSessions"]),
    ],
)
def test_what_a_session_holds_ends_with_it(name: str, left: int, sent: list[str]) -> None:
    """The cluster itself would end it minutes later (6.0.5)."""
    world, (talk,) = talks("shop")
    talk.ask({**FIND, "lsid": client_session()}, opened(98))
    talk.ask(FIND, opened(99))
    decision = talk.decide({name: [client_session(), client_session(2)], "$db": "admin"})
    if isinstance(decision, Run):
        made = steps_of(decision, *[OK] * len(sent))
    else:
        assert isinstance(decision, Forward)
        made = [told(decision.exchange)]
    assert [next(iter(command)) for command in made] == sent
    assert len(made[0][sent[0]]) == (1 if len(sent) > 1 else 2)
    assert len(made[-1][name]) == 2
    assert world.cursors.count("shop") == left
    assert len(world.sessions.of("shop", "shop")) == left - 1


# Cursors.


@pytest.mark.parametrize(
    ("command", "ns", "collection", "physical"),
    [
        (FIND, "appdata.shop_tasks", "tasks", "shop_tasks"),
        ({**FIND, "$db": "other"}, "appdata.x", "tasks", "shop_@other.tasks"),
        (
            {"aggregate": "tasks", "pipeline": [], "cursor": {}, "$db": "shop"},
            "appdata.shop_tasks",
            "tasks",
            "shop_tasks",
        ),
        (
            {"aggregate": 1, "pipeline": [{"$documents": []}], "cursor": {}, "$db": "shop"},
            "appdata.$cmd.aggregate",
            "$cmd.aggregate",
            "$cmd.aggregate",
        ),
        ({"listIndexes": "tasks", "$db": "shop"}, "appdata.shop_tasks", "tasks", "shop_tasks"),
    ],
)
def test_a_cursor_from_beginning_to_end(
    command: Fields, ns: str, collection: str, physical: str
) -> None:
    world, (talk,) = talks("shop", max_batch=50)
    db = command["$db"]
    reply = talk.ask(command, opened(ns=ns))
    assert reply["cursor"]["ns"] == f"{db}.{collection}"
    assert world.cursors.count("shop") == 1
    more = {**MORE, "collection": collection, "$db": db}
    decision = talk.forward(more)
    assert told(decision.exchange) == {
        "getMore": 99,
        "collection": physical,
        "batchSize": 50,
        "$db": "appdata",
    }
    assert (decision.exchange.pin, decision.exchange.awaited) == ("m1:27017", False)
    reply = heard(one_frame(carry_out(decision, [followed(ns=ns)]))).body
    assert reply["cursor"] == {"id": 99, "ns": f"{db}.{collection}", "nextBatch": [{"a": 2}]}
    talk.ask(more, followed(0, ns))
    assert world.cursors.count("shop") == 0
    assert talk.ask(more)["code"] == 43


@pytest.mark.parametrize(
    ("reply", "left"),
    [
        ({"ok": 0.0, "code": 43, "errmsg": "cursor id 99 not found"}, 0),
        ({"ok": 0.0, "code": 10107, "errmsg": "not primary"}, 1),
        ({"ok": 1.0, "cursor": {"id": Int64(0), "ns": "x", "nextBatch": []}}, 0),
    ],
)
def test_a_cursor_that_is_no_more(reply: Fields, left: int) -> None:
    world, (talk,) = talks("shop")
    talk.ask(FIND, opened())
    talk.ask(MORE, reply)
    assert world.cursors.count("shop") == left


def test_nobody_else_sees_a_cursor() -> None:
    world, (talk, other, crm) = talks("shop", "shop-2", "crm")
    talk.ask(FIND, opened())
    unknown = talk.ask({**MORE, "getMore": Int64(5)})
    for each in (other, crm):
        reply = each.ask(MORE)
        assert reply["code"] == unknown["code"] == 43
        assert reply["errmsg"] == "cursor id 99 not found"
        assert unknown["errmsg"] == "cursor id 5 not found"
        assert each.ask(KILL) == {
            "cursorsKilled": [],
            "cursorsNotFound": [99],
            "cursorsAlive": [],
            "cursorsUnknown": [],
            "ok": 1.0,
        }
    assert world.cursors.count("shop") == 1


@pytest.mark.parametrize(
    ("fields", "code", "at"),
    [
        ({"getMore": 99}, 14, "getMore"),
        ({"getMore": 99.0}, 14, "getMore"),
        ({"getMore": "99"}, 14, "getMore"),
        ({"getMore": [Int64(99)]}, 14, "getMore"),
        ({"collection": "users"}, 13, "collection"),
        ({"collection": {"a": 1}}, 13, "collection"),
        ({"$db": "other"}, 13, "collection"),
        ({"lsid": client_session()}, 50736, "lsid"),
        ({"lsid": {**client_session(), "uid": b"x"}}, 72, "lsid"),
        ({"x": 1}, 40415, "x"),
        ({"maxTimeMS": 5}, 2, "maxTimeMS"),
        ({"maxTimeMS": "x"}, 14, "maxTimeMS"),
        ({"maxTimeMS": "x", "collection": "users"}, 14, "maxTimeMS"),
    ],
)
def test_what_is_wrong_with_a_get_more(fields: Fields, code: int, at: str) -> None:
    world, (talk,) = talks("shop")
    talk.ask(FIND, opened())
    reply = talk.ask({**MORE, **fields})
    assert (reply["code"], reply["at"]) == (code, at)
    assert world.cursors.count("shop") == 1


def test_the_namespace_is_told_as_the_server_tells_it() -> None:
    talk = shop()
    talk.ask(FIND, opened())
    assert talk.ask({**MORE, "collection": "users"})["errmsg"] == (
        "Requested getMore on namespace 'shop.users', but cursor belongs to a different"
        " namespace shop.tasks"
    )


def test_a_cursor_belongs_to_its_session() -> None:
    talk = shop()
    talk.ask({**FIND, "lsid": client_session()}, opened())
    assert talk.ask(MORE)["at"] == "lsid"
    assert talk.ask({**MORE, "lsid": client_session(2)})["at"] == "lsid"
    sent = told(talk.forward({**MORE, "lsid": client_session()}).exchange)
    assert sent["lsid"] == cluster_session()


def test_a_cursor_inside_a_transaction() -> None:
    talk = shop()
    carry_out(
        talk.forward({**FIND, **TRANSACTION, "startTransaction": True}), [opened()], "m2:27017"
    )
    exchange = talk.forward({**MORE, **TRANSACTION}).exchange
    assert exchange.pin == "m2:27017"
    assert told(exchange) == {
        "getMore": 99,
        "collection": "shop_tasks",
        "batchSize": 1000,
        "lsid": cluster_session(),
        "txnNumber": 1,
        "autocommit": False,
        "$db": "appdata",
    }
    killed = {"cursorsKilled": [Int64(99)], "cursorsNotFound": [], "ok": 1.0}
    (sent,) = steps_of(talk.decide({**KILL, **TRANSACTION}), killed)
    assert sent == {
        "killCursors": "shop_tasks",
        "cursors": [99],
        "lsid": cluster_session(),
        "txnNumber": 1,
        "autocommit": False,
        "$db": "appdata",
    }


@pytest.mark.parametrize("awaits", [True, 1])
def test_a_cursor_that_waits(awaits: Any) -> None:
    talk = shop()
    talk.ask({**FIND, "tailable": True, "awaitData": awaits}, opened())
    exchange = talk.forward(MORE).exchange
    assert (exchange.awaited, "maxTimeMS" in told(exchange)) == (True, False)
    exchange = talk.forward({**MORE, "maxTimeMS": 500}).exchange
    assert told(exchange)["maxTimeMS"] == 500
    exchange = talk.forward({**MORE, "maxTimeMS": 10**9}).exchange
    assert told(exchange)["maxTimeMS"] == 300_000


def test_an_app_may_have_so_many_cursors() -> None:
    world, (talk, crm) = talks("shop", "crm", max_cursors=1)
    talk.ask(FIND, opened())
    assert talk.ask(FIND)["code"] == 462
    assert talk.ask({**FIND, "filter": {"$where": "1"}})["code"] == 2
    talk.forward(COUNT)
    talk.forward(MORE)
    crm.ask({**FIND, "$db": "crm"}, opened(5, "appdata.crm_tasks"))
    world.wait(601)
    talk.ask(FIND, opened(6))
    assert talk.ask(MORE)["code"] == 43


def test_killing_own_cursors() -> None:
    world, (talk, crm) = talks("shop", "crm")
    for number, member in ((1, "m1:1"), (2, "m1:1"), (3, "m2:1")):
        carry_out(talk.forward(FIND), [opened(number)], member)
    talk.ask({**FIND, "find": "users"}, opened(4, "appdata.shop_users"))
    crm.ask({**FIND, "$db": "crm"}, opened(5, "appdata.crm_tasks"))
    numbers = [Int64(n) for n in (1, 5, 2, 3, 4, 6)]
    decision = talk.decide({**KILL, "cursors": numbers, "lsid": client_session()})
    assert isinstance(decision, Run)
    sent = []
    answers = [
        {"cursorsKilled": [Int64(1)], "cursorsNotFound": [Int64(2)], "ok": 1.0},
        {"ok": 0.0, "code": 1, "errmsg": "no"},
        {"cursorsKilled": [Int64(4)], "cursorsAlive": [], "ok": 1.0},
    ]
    exchange = next(decision.steps)
    for document in answers:
        sent.append((exchange.pin, told(exchange)))
        answer = Answer(bson.encode(document), "x")
        try:
            exchange = decision.steps.send(answer)
        except StopIteration as stop:
            reply = heard(one_frame(stop.value)).body
    assert sent == [
        ("m1:1", {"killCursors": "shop_tasks", "cursors": [1, 2], "$db": "appdata"}),
        ("m2:1", {"killCursors": "shop_tasks", "cursors": [3], "$db": "appdata"}),
        ("m1:27017", {"killCursors": "shop_users", "cursors": [4], "$db": "appdata"}),
    ]
    assert reply == {
        "cursorsKilled": [1, 4],
        "cursorsNotFound": [5, 6, 2],
        "cursorsAlive": [3],
        "cursorsUnknown": [],
        "ok": 1.0,
    }
    assert (world.cursors.count("shop"), world.cursors.count("crm")) == (1, 1)


@pytest.mark.parametrize(
    ("cursors", "at"),
    [
        (5, "cursors"),
        ({"a": 1}, "cursors"),
        ([5], "cursors.0"),
        ([Int64(99), 99.0], "cursors.1"),
        ([[1]], "cursors.0"),
        ([{"a": 1}], "cursors.0"),
        ([b"x"], "cursors.0"),
        ([None], "cursors.0"),
    ],
)
def test_cursor_ids_are_longs(cursors: Any, at: str) -> None:
    reply = shop().ask({**KILL, "cursors": cursors})
    assert (reply["code"], reply["at"]) == (14, at)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"x": 1}, 40415),
        ({"lsid": {**client_session(), "uid": b"x"}}, 72),
        ({"maxTimeMS": "x"}, 2),
        ({"$db": "a.b"}, 73),
    ],
)
def test_what_is_wrong_with_a_kill(fields: Mapping[str, Any], code: int) -> None:
    assert shop().ask({**KILL, **fields})["code"] == code


def test_a_cursor_of_a_read_scope_that_was_withdrawn() -> None:
    world = World()
    shop = world.directory.scopes["shop"]
    wide = {**world.directory.scopes, "shop": replace(shop, readable=("crm",))}
    world.directory = replace(world.directory, scopes=wide)
    talk = Talk(world, "shop")
    talk.ask(FIND, opened())
    assert talk.ask(MORE, followed())["ok"] == 1.0
    world.directory = replace(world.directory, scopes={**wide, "shop": shop})
    reply = talk.ask(MORE)
    assert (reply["code"], reply["errmsg"]) == (43, "cursor id 99 not found")
    assert world.cursors.count("shop") == 0
