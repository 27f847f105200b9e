"""The listener: answers in turn, failures as answers, and nothing left of who has gone."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import bson
import pytest
import structlog
import uvloop
from bson import Int64
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from structlog.testing import capture_logs

from mdb_engine.exceptions import (
    ConfigurationError,
    InitializationError,
    ManifestValidationError,
    OverloadedError,
    UpstreamError,
)
from mdb_engine.scope.model import Features, Limits
from mdb_proxy import server
from mdb_proxy.config import ProxySettings, parse_address
from mdb_proxy.decisions import Answer
from mdb_proxy.metrics import Metrics
from mdb_proxy.reload import Cluster, Household
from mdb_proxy.server import Listener, Ports, Ready, _listen, _tasks, _watch, serve
from mdb_proxy.wire import MORE_TO_COME, OP_COMPRESSED, Frames, wrap
from tests.support.servers import free_port
from tests.support.talks import Cluster as Asked
from tests.support.talks import Connection, House, World, heard, house, message, settle, told

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


# Who has left.


@pytest.mark.parametrize("command", [FIND, PLAN])
def test_who_leaves_takes_the_question_along(command: dict[str, Any]) -> None:
    async def work(found: House) -> None:
        shop = await found.visitor("shop")
        found.cluster.will_think()
        await shop.send(message(command))
        assert found.listener.busy == {shop.client}
        await shop.leave()
        assert found.cluster.cut == 1
        nobody(found)

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
            shop, idle = await found.visitor("shop"), await found.visitor()
            release = found.cluster.will_think()
            await shop.send(message(FIND, number=5) + message(PING, number=6))
            async with asyncio.TaskGroup() as group:
                group.create_task(found.listener.drain(60))
                await settle()
                assert idle.wire.closed
                assert not shop.wire.closed
                late = Connection(found.listener)
                assert late.wire.closed, "nobody comes in any more"
                release.set_result(Answer(bson.encode(FOUND), "m1:1"))
            shop.read()
            assert shop.got[-1].response_to == 5
            assert shop.wire.closed
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


# A real port.


def open_house() -> Household:
    """A household that never reads its stores."""
    found = Household(None, {}, Cluster("6.0.5", 17, Features()), "")  # type: ignore[arg-type]
    found.current = World().directory
    return found


@asynccontextmanager
async def visit(port: int) -> AsyncIterator[tuple[dict[str, Any], asyncio.StreamReader]]:
    """Say hello at a port; gives the answer and what else comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(message({"hello": 1, "$db": "admin"}))
        (size,) = struct.unpack("<i", await reader.readexactly(4))
        (frame,) = Frames().feed(struct.pack("<i", size) + await reader.readexactly(size - 4))
        yield heard(frame).body, reader
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("factory", [None, uvloop.new_event_loop])
def test_a_port(factory: Any) -> None:
    async def main() -> None:
        stop, told_ready = asyncio.Event(), asyncio.get_running_loop().create_future()
        household = open_house()
        async with asyncio.TaskGroup() as group:
            where = Ports(("127.0.0.1", 0))
            group.create_task(_listen(household, Asked(), where, told_ready.set_result, stop))
            ready = await told_ready
            assert ready == Ready(
                "127.0.0.1", ready.port, ("crm", "shop"), {"shop": "shop", "crm": "crm"}
            )
            async with visit(ready.port) as (reply, reader):
                assert reply["msg"] == "isdbgrid"
                assert household.current.address == f"127.0.0.1:{ready.port}"
                taken = Ports(("127.0.0.1", ready.port), ("127.0.0.1", 0))
                with pytest.raises(OSError, match="ddress already in use"):
                    await _listen(household, Asked(), taken, never, stop)
                async with visit(ready.port) as (second, _):
                    assert second["connectionId"] == 2
                stop.set()
                assert await reader.read() == b""
        assert asyncio.all_tasks() == {asyncio.current_task()}
        with pytest.raises(ConnectionRefusedError):
            async with visit(ready.port):
                pass

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def test_who_cannot_be_told_does_not_listen() -> None:
    async def main() -> None:
        with pytest.raises(NeverSaidError):
            await _listen(open_house(), Asked(), Ports(("127.0.0.1", 0)), never, asyncio.Event())
        assert asyncio.all_tasks() == {asyncio.current_task()}

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


def test_what_the_admin_pages_ask() -> None:
    async def work(found: House) -> None:
        found.listener.metrics = Metrics(["shop"])
        await found.visitor("shop")
        await found.visitor()
        household = open_house()
        household.stale = True
        household.database = Clustered(False)  # type: ignore[assignment]
        watch = _watch(household, found.listener)
        assert watch.checks() == {
            "primary": False,
            "versions": True,
            "stores": False,
            "apps": True,
            "serving": True,
        }
        assert watch.numbers() == {"apps": 2, "connections": 2, "cluster": "6.0.5"}
        assert await asyncio.to_thread(watch.alive)
        page = watch.metrics().decode()
        assert 'client_connections{app="shop"} 1.0' in page
        assert 'client_connections{app="_unknown"} 1.0' in page
        found.listener.stopping = True
        assert watch.checks()["serving"] is False

    inside(work)


def test_a_loop_that_is_stuck_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "ALIVE_SECONDS", 0.01)

    async def work(found: House) -> None:
        watch = _watch(open_house(), found.listener)
        assert watch.alive() is False, "nobody answers while this waits"

    inside(work)


def test_the_admin_port_is_open_while_the_proxy_serves() -> None:
    async def main() -> None:
        stop = asyncio.Event()
        household = open_house()
        household.database = Clustered(True)  # type: ignore[assignment]
        with capture_logs() as lines:
            async with asyncio.TaskGroup() as group:
                told_ready = asyncio.get_running_loop().create_future()
                ports = Ports(("127.0.0.1", 0), ("127.0.0.1", 0))
                group.create_task(_listen(household, Asked(), ports, told_ready.set_result, stop))
                await told_ready
                (line,) = [each for each in lines if each["event"] == "admin.listening"]
                base = f"http://{line['address']}"
                for path in ("livez", "readyz", "healthz", "metrics"):
                    assert await asyncio.to_thread(status, f"{base}/{path}") == 200
                taken = Ports(("127.0.0.1", 0), parse_address(line["address"]))
                with pytest.raises(OSError, match="ddress already in use"):
                    await _listen(household, Asked(), taken, never, stop)
                stop.set()
        with pytest.raises(OSError, match="refused"):
            await asyncio.to_thread(status, f"{base}/livez")
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def status(url: str) -> int:
    with urlopen(url, timeout=5) as answer:  # noqa: S310 - our own port
        return int(answer.status)


class Clustered:
    """A database whose cluster has a primary, or none."""

    def __init__(self, has_primary: bool) -> None:
        self.client = self.topology_description = self
        self.has_writable_server = lambda: has_primary
        self.known_servers: list[Any] = []


# Starting, without a cluster. With one: tests/e2e.


class NeverSaidError(Exception):
    """It must not be ready."""


def never(_: Ready) -> None:
    raise NeverSaidError


@asynccontextmanager
async def settings(folder: Path, **more: Any) -> AsyncIterator[ProxySettings]:
    (folder / "shop.json").write_text('{"slug": "shop", "name": "Shop"}')
    uri = f"mongodb://127.0.0.1:{free_port()}/?serverSelectionTimeoutMS=100"
    yield ProxySettings(**{"mongo_uri": SecretStr(uri), "manifests": folder, **more})


def test_a_start_that_nobody_wants_any_more_ends(tmp_path: Path) -> None:
    async def main() -> None:
        async with settings(tmp_path) as given, asyncio.timeout(5):
            stop = asyncio.Event()
            asyncio.get_running_loop().call_later(0.2, stop.set)
            await serve(given, ready=never, stop=stop)
            stop.set()
            await serve(given, ready=never, stop=stop)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"manifests": Path("/nowhere")}, (ConfigurationError, ManifestValidationError, OSError)),
        ({"mongo_uri": SecretStr("mongodb://")}, ConfigurationError),
    ],
)
def test_a_start_that_fails_says_why(
    tmp_path: Path, more: dict[str, Any], error: type[Exception]
) -> None:
    async def main() -> None:
        async with settings(tmp_path, **more) as given:
            with pytest.raises(error):
                await serve(given, ready=never, stop=asyncio.Event())

    asyncio.run(main())


@pytest.mark.parametrize("errors", [1, 2])
def test_an_error_comes_out_as_it_is(errors: int) -> None:
    async def fail() -> None:
        raise InitializationError("no")

    async def main() -> None:
        async with _tasks() as group:
            for _ in range(errors):
                group.create_task(fail())

    with pytest.raises(InitializationError if errors == 1 else ExceptionGroup):
        asyncio.run(main())
