"""The listener: answers in turn, failures as answers, and nothing left of who has gone."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import bson
import pytest
import structlog
from bson import Int64
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from mdb_engine.credentials import SCRAM_SHA_256
from mdb_engine.exceptions import (
    OverloadedError,
    UpstreamError,
)
from mdb_engine.scope.model import Limits
from mdb_proxy import server
from mdb_proxy.bounds import Bounds
from mdb_proxy.channel import Channel
from mdb_proxy.decisions import Answer, Ask
from mdb_proxy.directory import Directory
from mdb_proxy.metrics import Metrics
from mdb_proxy.server import Listener
from mdb_proxy.wire import MORE_TO_COME, OP_COMPRESSED, wrap
from mdb_proxy.wire.frames import MAX_BEFORE_LOGIN
from tests.support.talks import (
    PASSWORD,
    Connection,
    House,
    World,
    house,
    message,
    settle,
    told,
)

PING = {"ping": 1, "$db": "admin"}
FIND = {"find": "tasks", "$db": "shop"}
INSERT = {"insert": "tasks", "$db": "shop"}
FOUND = {"cursor": {"id": Int64(0), "ns": "appdata.shop_tasks", "firstBatch": []}, "ok": 1.0}


@pytest.fixture(autouse=True)
def all_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log everything, whatever was configured before."""
    structlog.reset_defaults()
    monkeypatch.setattr(server, "log", structlog.get_logger())


def inside(work: Callable[[House], Awaitable[None]], **limits: Any) -> None:
    async def main() -> None:
        async with house(World(**limits)) as found:
            await work(found)
        nobody(found)

    asyncio.run(main())


def nobody(found: House) -> None:
    """Nothing is left of anybody."""
    listener = found.listener
    assert not listener.clients
    assert not listener.busy
    assert not listener.unheard
    assert +listener.apps == {}
    assert min(listener.apps.values(), default=0) == 0


def test_questions_are_answered_in_turn() -> None:
    async def work(found: House) -> None:
        shop = await found.visitor("shop")
        found.cluster.will_say(FOUND)
        await shop.send(message(PING, number=1) + message(FIND, number=2) + message(PING, number=3))
        assert [each.response_to for each in shop.got[-3:]] == [1, 2, 3]
        (asked,) = found.cluster.asked
        assert told(asked)["find"] == "shop_tasks"

    inside(work)


def test_plans_are_carried_out() -> None:
    async def work(found: House) -> None:
        shop = await found.visitor("shop")
        found.cluster.will_say(FOUND)
        reply = await shop.ask({"listCollections": 1, "$db": "shop"})
        assert reply["cursor"]["firstBatch"] == []

    inside(work)


PLAN = {"listCollections": 1, "$db": "shop"}


@pytest.mark.parametrize("command", [FIND, PLAN])
@pytest.mark.parametrize(
    ("error", "code", "event"),
    [
        (UpstreamError("it broke", ("RetryableWriteError",)), 6, "upstream.failed"),
        (OverloadedError("later"), 462, "command.refused"),
    ],
)
def test_failures_are_answers(
    command: dict[str, Any], error: Exception, code: int, event: str
) -> None:
    async def work(found: House) -> None:
        shop = await found.visitor("shop")
        found.cluster.answers.append(error)
        with capture_logs() as lines:
            heard = await shop.hear(message(command, number=44))
        assert (heard.body["code"], heard.response_to) == (code, 44)
        assert "errorLabels" in heard.body
        found.cluster.answers.append(error)
        heard = await shop.hear(wrap(message(command), "zlib"))
        assert (heard.opcode, heard.body["code"]) == (OP_COMPRESSED, code)
        found.cluster.answers.append(error)
        await shop.send(message(command, flags=MORE_TO_COME))
        assert shop.got[-1] is heard, "who wants no answer is not told of failures either"
        assert (await shop.ask(PING))["ok"] == 1.0
        assert event in [line["event"] for line in lines + found.world.events]  # type: ignore[operator]

    inside(work)


def test_a_plan_may_refuse_what_it_finds() -> None:
    async def work(found: House) -> None:
        shop = await found.visitor("shop")
        names = [{"name": "shop_tasks", "type": "collection"}]
        found.cluster.will_say(
            {"cursor": {"id": Int64(0), "ns": "x", "firstBatch": names}, "ok": 1}
        )
        with capture_logs() as lines:
            reply = await shop.ask({**PLAN, "filter": {"$where": "1"}})
        assert reply["code"] == 2
        (line,) = [each for each in lines if each["event"] == "command.refused"]
        assert (line["command"], line["slug"], line["code"]) == ("listCollections", "shop", 2)

    inside(work)


def test_an_app_may_have_so_many_commands_in_flight() -> None:
    async def work(found: House) -> None:
        first, second, other = [await found.visitor(n) for n in ("shop", "shop", "crm")]
        thinking = found.cluster.will_think()
        await first.send(message(FIND, number=1))
        with ExitStack() as stack:
            for _ in range(Limits().max_in_flight - 1):
                stack.enter_context(found.world.quotas.flight("shop", 1_000))
            assert (await second.ask(FIND))["code"] == 462
            found.cluster.will_say(FOUND)
            assert (await other.ask({**FIND, "$db": "crm"}))["ok"] == 1.0
        thinking.set_result(Answer(bson.encode(FOUND), "m1:27017"))
        found.cluster.will_say(FOUND)
        assert (await second.ask(FIND))["ok"] == 1.0

    inside(work)


def test_a_bug_ends_one_conversation_only() -> None:
    async def work(found: House) -> None:
        shop, crm = await found.visitor("shop"), await found.visitor("crm")
        found.cluster.answers.append(ZeroDivisionError("a bug"))
        with capture_logs() as lines:
            await shop.send(message(FIND))
        assert shop.wire.closed
        assert [line["event"] for line in lines] == ["client.failed"]
        assert lines[0]["exc_info"] is True
        assert (await crm.ask(PING))["ok"] == 1.0

    inside(work)


@pytest.mark.parametrize(
    ("data", "event"),
    [
        (bytes(16), "client.broken"),
        (b"GET / HTTP/1.1\r\n\r\n", "client.broken"),
        (b"\x10\0\0\0" + bytes(8) + b"\xdd\7\0\0", "client.broken"),
        (b"\x10\0\0\0" + bytes(8) + b"\xd6\7\0\0", "client.closed"),
    ],
)
def test_who_breaks_the_protocol_is_shown_out(data: bytes, event: str) -> None:
    async def work(found: House) -> None:
        visitor = await found.visitor()
        with capture_logs() as lines:
            await visitor.send(data)
        assert visitor.wire.closed
        assert [line["event"] for line in lines] == [event]
        assert lines[0]["peer"] == "127.0.0.1:50000"
        nobody(found)

    inside(work)


def test_logins_are_logged_without_secrets() -> None:
    async def work(found: House) -> None:
        with capture_logs() as lines:
            visitor = await found.visitor("shop")
            with pytest.raises(AssertionError):
                await found.visitor("nobody")
            await visitor.ask({"nonsense": 1, "$db": "shop"})
        shown = [(line["event"], line["log_level"]) for line in lines]
        assert shown == [
            ("login.succeeded", "debug"),
            ("login.failed", "warning"),
            ("command.refused", "info"),
        ]
        assert lines[0]["slug"] == "shop"
        failed = {n: v for n, v in lines[1].items() if n not in ("event", "log_level")}
        assert failed == {
            "name": "nobody",
            "mechanism": "SCRAM-SHA-256",
            "code": 18,
            "peer": "127.0.0.1:50000",
            "connection_id": 2,
        }

    inside(work)


def test_who_logs_in_slowly_is_trusted_at_once() -> None:
    """A login that took work beside the loop counts before the next frame is cut."""

    async def work(found: House) -> None:
        found.world.change("shop", plain=True)
        visitor = await found.visitor("", Channel("127.0.0.1:50000", secure=True))
        large = {"insert": "tasks", "documents": [{"x": "y" * 2 * MAX_BEFORE_LOGIN}], "$db": "shop"}
        payload = f"\0shop\0{PASSWORD}".encode()
        start = {"saslStart": 1, "mechanism": "PLAIN", "payload": payload, "$db": "$external"}
        assert (await visitor.ask(start))["done"] is True
        assert found.world.apps == {"shop": 1}
        assert (await visitor.ask(large))["ok"] == 1
        wrong = await found.visitor("", Channel("127.0.0.1:50001", secure=True))
        reply = await wrong.ask({**start, "payload": payload + b"x"})
        assert (reply["code"], found.world.apps["shop"]) == (18, 1)
        page = found.listener.metrics.page().decode()
        attempts = 'auth_attempts_total{mechanism="PLAIN",outcome='
        assert f'{attempts}"ok"}} 1.0' in page
        assert f'{attempts}"AuthenticationFailed"}} 1.0' in page

    inside(work)


# Who has left.


@pytest.mark.parametrize("command", [FIND, PLAN])
def test_who_leaves_takes_the_question_along(
    command: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LATE_SECONDS", 0.01)

    async def work(found: House) -> None:
        shop = await found.visitor("shop")
        found.cluster.will_think()
        await shop.send(message(command))
        assert found.listener.busy == {shop.client}
        await shop.leave()
        assert found.cluster.cut == 0
        await asyncio.sleep(0.05)
        assert found.cluster.cut == 1
        nobody(found)

    inside(work)


def test_an_answer_that_comes_when_the_client_has_left_leaves_no_cursor() -> None:
    async def work(found: House) -> None:
        shop = await found.visitor("shop")
        thinking = found.cluster.will_think()
        await shop.send(message({"find": "tasks", "$db": "shop"}))
        await shop.leave()
        cursor = {"id": Int64(9), "ns": "appdata.shop_tasks", "firstBatch": []}
        thinking.set_result(Answer(bson.encode({"cursor": cursor, "ok": 1.0}), "m1:1"))
        await settle()
        assert found.listener.tools.cursors.total == 0
        assert told(found.cluster.asked[-1])["cursors"] == [9]
        assert found.cluster.cut == 0
        nobody(found)

    inside(work)


@pytest.mark.parametrize("way", ["read", "late", "drained"])
def test_a_login_waits_for_the_stores(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "late":
        monkeypatch.setattr(server, "EARLY_SECONDS", 0.01)
    start = {"saslStart": 1, "mechanism": SCRAM_SHA_256, "payload": b"n,,n=shop,r=x"}

    async def work(found: House) -> None:
        unread = Directory({}, {}, b"", unread=True)
        known, found.world.directory = found.world.directory, unread
        visitor = await found.visitor()
        await visitor.send(message({**start, "$db": "admin"}))
        assert visitor.got == []
        if way == "read":
            found.world.directory = known
            found.listener.changed(unread, known)
        elif way == "drained":
            await found.listener.drain(1)
        for _ in range(200):
            visitor.read()
            if visitor.got:
                break
            await asyncio.sleep(0.005)
        (said,) = visitor.got
        assert said.body.get("code") == (None if way == "read" else 462)

    inside(work)


def test_who_leaves_a_batch_behind_leaves_no_cursor() -> None:
    async def work(found: House) -> None:
        shop = await found.visitor("shop")
        find = {"find": "tasks", "$db": "shop"}
        cursor = {"id": Int64(9), "ns": "appdata.shop_tasks", "firstBatch": []}
        found.cluster.will_say({"cursor": cursor, "ok": 1.0})
        await shop.ask(find)
        cursors = found.listener.tools.cursors
        assert cursors.total == 1
        other = await found.visitor("shop")
        found.cluster.will_think()
        await other.send(message({"getMore": Int64(9), "collection": "tasks", "$db": "shop"}))
        await other.leave()
        await asyncio.sleep(2 * server.LATE_SECONDS)
        assert cursors.total == 0

    inside(work)


def test_who_leaves_at_rest_just_leaves() -> None:
    async def work(found: House) -> None:
        visitors = [await found.visitor(user) for user in ("", "shop", "crm", "shop")]
        assert found.listener.apps == {"shop": 2, "crm": 1}
        assert len(found.listener.clients) == 4
        for visitor in visitors:
            await visitor.leave()
        nobody(found)
        assert found.cluster.cut == 0

    inside(work)


def test_what_wants_no_answer_is_carried_out_even_when_nobody_is_there_any_more() -> None:
    async def work(found: House) -> None:
        shop = await found.visitor("shop")
        batch = b"".join(
            message(INSERT, flags=MORE_TO_COME, documents=[{"_id": n}]) for n in range(3)
        )
        shop.client.data_received(batch + message(FIND) + batch)
        await asyncio.sleep(0)
        await shop.leave()
        sent = [told(each)["documents"][0]["_id"] for each in found.cluster.asked]
        assert sent == [0, 1, 2], "what comes behind a question that nobody waits for is lost"
        assert found.cluster.cut == 0
        nobody(found)

    inside(work)


def test_who_leaves_while_the_last_step_of_a_login_is_on_its_way() -> None:
    async def work(found: House) -> None:
        visitor = await found.visitor()
        visitor.client.pause_writing()
        with pytest.raises(AssertionError):
            await visitor.log_in("shop")
        await visitor.leave()
        nobody(found)

    inside(work)


def test_connections_are_counted_by_app() -> None:
    async def work(found: House) -> None:
        first = await found.visitor("shop")
        assert +found.listener.apps == {"shop": 1}
        with pytest.raises(AssertionError, match="SystemOverloadedError"):
            await found.visitor("shop")
        await first.ask({"logout": 1, "$db": "admin"})
        assert +found.listener.apps == {}
        await first.log_in("crm")
        assert +found.listener.apps == {"crm": 1}
        second = await found.visitor("shop")
        assert (await second.ask({"serverStatus": 1, "$db": "admin"}))["connections"] == {
            "current": 1,
            "available": 0,
        }

    inside(work, max_connections=1)


def test_who_is_not_known_any_more_may_not_send_much() -> None:
    async def work(found: House) -> None:
        shop = await found.visitor("shop")
        large = message({"ping": 1, "comment": bytes(70_000), "$db": "x"})
        assert (await shop.hear(large)).body["ok"] == 1.0
        await shop.ask({"logout": 1, "$db": "admin"})
        await shop.send(large)
        assert shop.wire.closed

    inside(work)


# The end.


def test_what_is_in_flight_is_answered_before_the_end() -> None:
    async def main() -> None:
        async with house() as found:
            shop = await found.visitor("shop")
            release = found.cluster.will_think()
            await shop.send(message(FIND, number=5) + message(PING, number=6))
            async with asyncio.TaskGroup() as group:
                group.create_task(found.listener.drain(60))
                await settle()
                assert not shop.wire.closed
                late = Connection(found.listener)
                assert late.wire.closed, "nobody comes in any more"
                release.set_result(Answer(bson.encode(FOUND), "m1:1"))
            shop.read()
            assert [(said.response_to, said.body.get("code")) for said in shop.got[-2:]] == [
                (5, None),
                (6, 91),
            ]
            assert shop.wire.closed
        nobody(found)

    asyncio.run(main())


def test_who_asks_while_the_process_ends_is_told() -> None:
    async def main() -> None:
        async with house() as found:
            shop, other = await found.visitor("shop"), await found.visitor("crm")
            async with asyncio.TaskGroup() as group:
                group.create_task(found.listener.drain(60))
                await settle()
                assert (shop.wire.closed, other.wire.closed) == (False, False)
                told = await shop.ask(FIND)
                assert (told["code"], told["codeName"]) == (91, "ShutdownInProgress")
                assert shop.wire.closed
                assert found.cluster.asked == []
            assert other.wire.closed
        nobody(found)

    asyncio.run(main())


def test_what_takes_too_long_is_cut() -> None:
    async def main() -> None:
        with capture_logs() as lines:
            async with house() as found:
                shop = await found.visitor("shop")
                found.cluster.will_think()
                await shop.send(message(FIND))
        assert (shop.wire.aborted, found.cluster.cut) == (True, 1)
        assert [line["clients"] for line in lines if line["event"] == "drain.cut"] == [1]
        await settle()
        nobody(found)

    asyncio.run(main())


# What operators see.


def counted(listener: Listener) -> dict[tuple[str, str, str], int]:
    """How often which command ended how, by app."""
    return {
        (sample.labels["app"], sample.labels["command"], sample.labels["outcome"]): int(
            sample.value
        )
        for family in text_string_to_metric_families(listener.metrics.page().decode())
        for sample in family.samples
        if sample.name == "mdb_proxy_commands_total"
    }


def test_every_command_is_counted_once() -> None:
    async def work(found: House) -> None:
        found.listener.metrics = Metrics(["shop"])
        shop = await found.visitor("shop")
        found.cluster.will_say(FOUND, {"ok": 0.0, "code": 1, "errmsg": "no"})
        await shop.ask(FIND)
        await shop.ask(FIND)
        await shop.ask({**FIND, "filter": {"$where": "1"}})
        await shop.ask({"nonsense1": 1, "$db": "x"})
        await shop.ask({"nonsense2": 1, "$db": "x"})
        found.cluster.answers.append(UpstreamError("it broke"))
        await shop.ask(FIND)
        found.cluster.answers.append(OverloadedError("later"))
        await shop.ask(FIND)
        await shop.ask(PING)
        assert counted(found.listener) == {
            ("_unknown", "saslStart", "ok"): 1,
            ("shop", "saslContinue", "ok"): 1,
            ("shop", "find", "ok"): 1,
            ("shop", "find", "error"): 1,
            ("shop", "find", "refused"): 2,
            ("shop", "find", "failed"): 1,
            ("shop", "other", "refused"): 2,
            ("shop", "ping", "ok"): 1,
        }
        page = found.listener.metrics.page().decode()
        assert 'auth_attempts_total{mechanism="SCRAM-SHA-256",outcome="ok"} 1.0' in page
        assert 'blocked_total{app="shop",reason="CommandNotFound"} 2.0' in page

    inside(work)


# Another directory.


def test_who_may_not_stay_is_shown_out() -> None:
    async def work(found: House) -> None:
        shop, idle, crm = [await found.visitor(n) for n in ("shop", "shop", "crm")]
        before = found.world.directory
        thinking = found.cluster.will_think()
        await shop.send(message(FIND, number=5) + message(PING, number=6))
        found.world.forget(app="shop")
        found.listener.changed(before, found.world.directory)
        await settle()
        assert idle.wire.closed
        assert not shop.wire.closed, "what is in flight is answered"
        thinking.set_result(Answer(bson.encode(FOUND), "m1:1"))
        await settle()
        shop.read()
        assert shop.got[-1].response_to == 5
        assert shop.wire.closed
        assert (await crm.ask({**PING, "$db": "crm"}))["ok"] == 1.0
        assert not found.listener.leaving

    inside(work)


def test_nothing_happens_when_nothing_has_changed() -> None:
    async def work(found: House) -> None:
        shop = await found.visitor("shop")
        before = found.world.directory
        found.listener.changed(before, replace(before, version="6.0.6"))
        await settle()
        assert not shop.wire.closed

    inside(work)


OPENED = {"cursor": {"id": Int64(9), "ns": "appdata.shop_tasks", "firstBatch": []}, "ok": 1.0}


@pytest.mark.parametrize("error", [None, UpstreamError("away"), OverloadedError("later")])
def test_cursors_that_see_too_much_are_killed(error: Exception | None) -> None:
    async def work(found: House) -> None:
        shop, crm = await found.visitor("shop"), await found.visitor("crm")
        found.cluster.will_say(OPENED, {**OPENED, "cursor": {**OPENED["cursor"], "id": Int64(8)}})
        await shop.ask(FIND)
        await crm.ask({**FIND, "$db": "crm"})
        before = found.world.directory
        scopes = {**before.scopes, "shop": replace(before.scopes["shop"], home=("other",))}
        if error is not None:
            found.cluster.answers.append(error)
        found.listener.changed(before, replace(before, scopes=scopes))
        await settle()
        kill = told(found.cluster.asked[-1])
        assert kill == {"killCursors": "shop_tasks", "cursors": [9], "$db": "appdata"}
        assert found.cluster.asked[-1].pin == "m1:27017"
        counts = [found.world.cursors.count(app) for app in ("shop", "crm")]
        assert counts == [0, 1]
        assert not shop.wire.closed

    inside(work)


def test_what_runs_under_names_that_are_anothers_is_waited_for_then_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "OUTLAST_SECONDS", 0)

    async def work(found: House) -> None:
        quick, slow, crm, later = [
            await found.visitor(name) for name in ("shop", "shop", "crm", "shop")
        ]
        thinking = [found.cluster.will_think() for _ in range(4)]
        for who in (quick, slow, crm):
            await who.send(message({**FIND, "$db": "crm" if who is crm else "shop"}))
        before = found.world.directory
        longer = replace(before.scopes["shop"], longer=("shop_new",))
        after = replace(before, scopes={**before.scopes, "shop": longer})
        found.world.directory = after
        found.listener.changed(before, after)
        await settle()
        assert found.listener.yielding == 1
        thinking[0].set_result(Answer(bson.encode(FOUND), "m1:1"))
        await settle()
        await later.send(message(FIND))
        found.world.wait(11)
        await settle()
        assert found.listener.yielding == 0
        assert [who.wire.closed for who in (quick, slow, crm, later)] == [False, True, False, False]
        for each in thinking[2:]:
            each.set_result(Answer(bson.encode(FOUND), "m1:1"))

    inside(work)


def test_an_app_builds_one_index_at_a_time() -> None:
    async def work(found: House) -> None:
        one, two, crm = [await found.visitor(name) for name in ("shop", "shop", "crm")]
        build = {"createIndexes": "a", "indexes": [{"key": {"x": 1}, "name": "x"}], "$db": "shop"}
        thinking = [found.cluster.will_think() for _ in range(3)]
        await one.send(message(build))
        await two.send(message(build))
        await crm.send(message({**build, "$db": "crm"}))
        assert len(found.cluster.asked) == 2, "the second one of the app waits"
        for each in thinking:
            each.set_result(Answer(bson.encode({"ok": 1.0}), "m1:1"))
        await settle()
        assert len(found.cluster.asked) == 3

    inside(work)


def test_an_app_that_takes_too_long_is_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "WATCH_SECONDS", 0)

    async def work(found: House) -> None:
        slow, other, crm = [await found.visitor(name) for name in ("shop", "shop", "crm")]
        watch = found.listener.group.create_task(found.listener.watch())
        thinking = found.cluster.will_think()
        await slow.send(message({**FIND, "maxTimeMS": 500}))
        found.world.wait(10.6)
        await settle()
        assert (await other.ask(FIND))["code"] == 462
        found.cluster.will_say(FOUND)
        assert (await crm.ask({**FIND, "$db": "crm"}))["ok"] == 1.0
        thinking.set_result(Answer(bson.encode(FOUND), "m1:1"))
        await settle()
        found.cluster.will_say(FOUND)
        assert (await other.ask(FIND))["ok"] == 1.0
        assert b'mdb_proxy_suspensions_total{app="_unknown"} 1.0' in found.listener.metrics.page()
        watch.cancel()

    with capture_logs() as lines:
        inside(work)
    assert [line for line in lines if line["event"] == "app.suspended"] == [
        {"event": "app.suspended", "slug": "shop", "log_level": "error"}
    ]


def test_without_a_fresh_ledger_nothing_new_is_made() -> None:
    async def work(found: House) -> None:
        world = found.world
        world.directory = replace(world.directory, confirmed=world.tick())
        shop = await found.visitor("shop")
        create = {"create": "new", "$db": "shop"}
        assert (await shop.ask(create))["ok"] == 1
        world.wait(4.5)
        reply = await shop.ask({"create": "newer", "$db": "shop"})
        assert (reply["code"], reply["errorLabels"]) == (
            462, ["SystemOverloadedError", "RetryableError"],
        )  # fmt: skip
        assert (await shop.ask({**INSERT, "insert": "new", "documents": [{}]}))["ok"] == 1
        assert (await shop.ask({**PING, "$db": "shop"}))["ok"] == 1

    inside(work)


# Other workers.


def test_other_workers_are_asked() -> None:
    async def main() -> None:
        asked: list[Ask] = []

        async def peers(ask: Ask) -> tuple[bytes, ...]:
            asked.append(ask)
            return (bson.encode({"ok": 1.0, "x": len(asked)}),) if len(asked) == 1 else ()

        async with house(peers=True) as found:
            found.listener.peers = peers
            shop = await found.visitor("shop")
            more = {"getMore": Int64(9), "collection": "tasks", "$db": "shop"}
            assert (await shop.ask(more))["x"] == 1
            assert (await shop.ask(more))["code"] == 43
            assert [(ask.app, ask.user, ask.one) for ask in asked] == [("shop", "shop", True)] * 2

    asyncio.run(main())


def part(found: House, **command: Any) -> Any:
    return found.listener.for_another(Ask("shop", "shop", bson.encode({**command, "$db": "shop"})))


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (Answer(bson.encode(FOUND), "m1:1"), {"ok": 1.0}),
        (UpstreamError("it broke"), {"ok": 0.0, "code": 6}),
        (OverloadedError("later"), {"ok": 0.0, "code": 462}),
    ],
)
def test_what_other_workers_ask(answer: Any, reply: dict[str, Any]) -> None:
    async def work(found: House) -> None:
        assert part(found, getMore=Int64(9), collection="tasks") is None
        shop = await found.visitor("shop")
        found.cluster.will_say(OPENED)
        await shop.ask(FIND)
        found.cluster.answers.append(answer)
        body = bson.decode(await part(found, getMore=Int64(9), collection="tasks"))
        assert body.items() >= reply.items()

    inside(work)


def test_what_other_workers_may_not_ask() -> None:
    async def work(found: House) -> None:
        shop = await found.visitor("shop")
        found.cluster.will_say(OPENED)
        await shop.ask(FIND)
        with capture_logs() as lines:
            body = bson.decode(await part(found, getMore=Int64(9), collection="other"))
        assert body["code"] == 13
        (line,) = lines
        assert (line["event"], line["command"], line["slug"]) == (
            "command.refused",
            "getMore",
            "shop",
        )
        assert bson.decode(await part(found, killSessions=[])) == {"ok": 1.0}

    inside(work)


def test_a_bug_in_a_part_is_nobodys_answer() -> None:
    async def work(found: House) -> None:
        shop = await found.visitor("shop")
        found.cluster.will_say(OPENED)
        await shop.ask(FIND)
        found.cluster.answers.append(ZeroDivisionError("a bug"))
        with capture_logs() as lines:
            assert await part(found, getMore=Int64(9), collection="tasks") == b""
        assert [line["event"] for line in lines] == ["neighbour.failed"]

    inside(work)


# Clients that take their time.


@pytest.mark.parametrize(
    ("said", "waits", "reason"),
    [
        ([], 5.1, "it says nothing"),
        ([{"hello": 1, "$db": "admin"}], 600.1, "it is silent"),
        ([{"saslStart": 1, "mechanism": "x", "$db": "admin"}], 10.1, "it does not log in"),
    ],
)
def test_who_is_slow_is_dropped(said: list[dict[str, Any]], waits: float, reason: str) -> None:
    async def work(found: House) -> None:
        patient, slow = await found.visitor("shop"), await found.visitor()
        for command in said:
            await slow.ask(command)
        await settle()
        found.world.wait(waits - 0.2)
        found.listener.hurry()
        assert not slow.wire.closed
        found.world.wait(0.2)
        with capture_logs() as lines:
            found.listener.hurry()
            await settle()
        assert (slow.wire.aborted, patient.wire.closed) == (True, False)
        assert [line["reason"] for line in lines if line["event"] == "client.broken"] == [reason]
        page = found.listener.metrics.page().decode()
        assert f'clients_dropped_total{{reason="{reason}"}} 1.0' in page
        assert "decoding_errors_total 0.0" in page
        assert (await patient.ask({"ping": 1, "$db": "shop"}))["ok"]

    inside(work)


def test_who_sends_bit_by_bit_does_not_log_in() -> None:
    async def work(found: House) -> None:
        slow = await found.visitor()
        await slow.send(message({"hello": 1, "$db": "admin"})[:-1])
        found.world.wait(10.1)
        found.listener.hurry()
        await settle()
        assert slow.wire.aborted

    inside(work)


def test_who_waits_for_an_answer_is_not_slow() -> None:
    async def work(found: House) -> None:
        visitor = await found.visitor("shop")
        said = found.cluster.will_think()
        await visitor.send(message({"find": "x", "$db": "shop"}) + b"\xff")
        for _ in range(3):
            found.world.wait(1000)
            found.listener.hurry()
        assert not visitor.wire.closed
        said.set_result(Answer(bson.encode({"ok": 1}), "m"))
        await settle()
        for _ in range(2):
            found.listener.hurry()
            found.world.wait(31)
        await settle()
        assert visitor.wire.aborted

    inside(work)


def test_answers_that_nobody_reads_have_a_bound() -> None:
    async def work(found: House) -> None:
        found.listener.bounds = Bounds(max_buffered_bytes=1_000_000)
        deaf, other, foreign = [await found.visitor(app) for app in ("shop", "shop", "crm")]
        deaf.client.pause_writing()
        reply = {"ok": 1, "cursor": {"id": 0, "ns": "appdata.shop_x", "firstBatch": []}}
        found.cluster.will_say({**reply, "pad": bytes(2_000_000)})
        await deaf.send(message({"aggregate": "x", "pipeline": [], "cursor": {}, "$db": "shop"}))
        assert found.listener.sending["shop"] > 2_000_000
        refused = await other.ask({"find": "x", "$db": "shop"})
        assert (refused["code"], refused["errorLabels"][0]) == (462, "SystemOverloadedError")
        found.cluster.will_say(reply)
        assert (await foreign.ask({"find": "x", "$db": "crm"}))["ok"]
        deaf.client.resume_writing()
        await settle()
        assert not found.listener.sending["shop"]
        found.cluster.will_say(reply)
        assert (await other.ask({"find": "x", "$db": "shop"}))["ok"]

    inside(work)
