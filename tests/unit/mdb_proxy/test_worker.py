"""One of several processes: what it answers, what it reports, and when it ends."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import bson
import pytest
from bson import Int64
from pymongo.errors import AutoReconnect

from mdb_engine.manifest import Manifest, parse
from mdb_proxy.crew import COMMAND
from mdb_proxy.exits import UNREACHABLE, USAGE
from mdb_proxy.orders import Order, packed, report_in
from mdb_proxy.porters import Plan as Wanted
from mdb_proxy.porters import Porters
from mdb_proxy.reload import Plan
from mdb_proxy.worker import QUESTIONS, Desk, _at_most
from tests.support.servers import free_port
from tests.support.talks import House, World, house
from tests.unit.mdb_proxy.test_orders import ORDER
from tests.unit.mdb_proxy.test_startup import Clustered, open_house

SECONDS = 30
MANIFESTS = {"shop": parse({"slug": "shop", "name": "Shop"})}


def at_desk(work: Callable[[Desk, House], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with house() as found:
            household = open_house()
            household.database = Clustered(True)  # type: ignore[assignment]
            await work(Desk(household, found.listener, Porters(Wanted([]))), found)

    asyncio.run(main())


async def answered(desk: Desk, **asked: Any) -> Any:
    work = desk.answer(asked)
    assert work is not None
    return await work


def test_how_it_is() -> None:
    async def work(desk: Desk, found: House) -> None:
        await found.visitor("shop")
        assert await answered(desk, op="status") == {
            "checks": {
                "primary": True,
                "versions": True,
                "stores": True,
                "apps": True,
                "serving": True,
            },
            "numbers": {
                "apps": 2,
                "connections": 1,
                "cursors": 0,
                "sessions": 0,
                "cluster": "6.0.5",
            },
        }

    at_desk(work)


def test_what_another_worker_asks() -> None:
    async def work(desk: Desk, found: House) -> None:
        command = bson.encode({"killCursors": "x", "cursors": [Int64(1)], "$db": "shop"})
        reply = await answered(desk, op="ask", app="shop", user="shop", command=command, address="")
        assert bson.decode(reply["body"])["cursorsNotFound"] == [1]
        more = bson.encode({"getMore": Int64(1), "collection": "x", "$db": "shop"})
        assert (
            desk.answer(
                {"op": "ask", "app": "shop", "user": "shop", "command": more, "address": ""}
            )
            is None
        )

    at_desk(work)


def test_who_is_there_and_who_has_gone() -> None:
    async def work(desk: Desk, found: House) -> None:
        here, gone = ["shop", "shop", "127.0.0.1"], ["shop", "shop", "10.0.0.1"]
        await found.visitor("shop")
        assert await answered(desk, op="present", guest=here) == {"there": True}
        assert await answered(desk, op="present", guest=gone) == {"there": False}
        sessions = found.listener.tools.sessions
        for session, guest in ((b"1" * 16, here), (b"2" * 16, gone)):
            sessions.use("shop", "shop", session, 9, 0.0)
            sessions.note("shop", session, guest[2])
            await answered(desk, op="departed", guest=guest)
        assert sessions.of("shop", "shop") == [b"1" * 16]

    at_desk(work)


def test_registered_slugs_are_read() -> None:
    async def work(desk: Desk, _found: House) -> None:
        assert not desk.registered.is_set()
        assert await answered(desk, op="join") == {"ok": True}
        assert desk.registered.is_set()

    at_desk(work)


def test_new_manifests_are_prepared_then_served() -> None:
    async def work(desk: Desk, _found: House) -> None:
        planned = []

        async def plan(manifests: dict[str, Manifest]) -> Plan:
            planned.append(manifests)
            return Plan(manifests, World().directory)

        desk.household = Planning(plan)  # type: ignore[assignment]
        assert await answered(desk, op="swap") == {"reason": "nothing was prepared"}
        assert await answered(desk, op="prepare", manifests=packed(MANIFESTS)) == {"ok": True}
        assert planned == [MANIFESTS]
        assert desk.household.swapped == []  # type: ignore[attr-defined]
        assert await answered(desk, op="swap") == {"ok": True}
        assert desk.household.swapped == [MANIFESTS]  # type: ignore[attr-defined]
        assert (await answered(desk, op="swap"))["reason"]

    at_desk(work)


@pytest.mark.parametrize("error", [AutoReconnect("away"), None])
def test_what_cannot_be_prepared(error: Exception | None) -> None:
    async def work(desk: Desk, _found: House) -> None:
        async def plan(_manifests: dict[str, Manifest]) -> Plan:
            raise error or AssertionError

        desk.household = Planning(plan)  # type: ignore[assignment]
        manifests = packed(MANIFESTS) if error else ['{"slug": 1}']
        assert (await answered(desk, op="prepare", manifests=manifests))["reason"]
        assert desk.plan is None

    at_desk(work)


class Planning:
    """A household that plans as it is told."""

    def __init__(self, plan: Callable[..., Coroutine[Any, Any, Plan]]) -> None:
        self.plan = plan
        self.opened = asyncio.Event()
        self.opened.set()
        self.swapped: list[Any] = []

    def swap(self, plan: Plan) -> None:
        self.swapped.append(plan.manifests)


def test_every_question_has_a_name() -> None:
    assert set(QUESTIONS) == {"alive", "departed", "join", "prepare", "present", "status", "swap"}


def test_nothing_is_waited_for_forever() -> None:
    async def main() -> None:
        event = asyncio.Event()
        await _at_most(event, 0.01)
        event.set()
        await _at_most(event, SECONDS)

    asyncio.run(main())


# Real processes, without a cluster. With one: tests/e2e/test_workers.py.


def started(order: Order) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    process = subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe, stderr=pipe)  # noqa: S603
    assert process.stdin is not None
    process.stdin.write(order.line())
    process.stdin.flush()
    return process


def test_it_says_why_it_cannot() -> None:
    with started(replace(ORDER, mongo_uri="mongodb://")) as process:
        assert process.stdout is not None
        report = report_in(process.stdout.readline())
        assert (report.event, report.code) == ("failed", USAGE)
        assert report.sentence.startswith("the MongoDB URI is not usable")
        assert process.wait(SECONDS) == USAGE != UNREACHABLE


def test_it_does_not_outlive_who_started_it() -> None:
    dead = f"mongodb://127.0.0.1:{free_port()}/"
    with started(replace(ORDER, mongo_uri=dead)) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(SECONDS) == 0


def test_a_hangup_is_not_for_it() -> None:
    text = (
        "import os, signal, sys, threading;"
        "from mdb_proxy import worker;"
        "worker._led = lambda order, stop: hang(stop);"
        "import asyncio\n"
        "async def hang(stop):\n"
        "    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGTERM):\n"
        "        os.kill(os.getpid(), number)\n"
        "    await stop.wait(); await asyncio.sleep(0.1)\n"
        "worker.main(); print('alive')"
    )
    done = subprocess.run(  # noqa: S603 - our own text
        [sys.executable, "-c", text], input=ORDER.line(), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"alive\n"), done.stderr


def test_its_lines_say_whose_they_are() -> None:
    text = (
        "from mdb_proxy import worker; import structlog\n"
        "async def led(order, stop): structlog.get_logger().info('x.y', a=1)\n"
        "worker._led = led; worker.main()"
    )
    done = subprocess.run(  # noqa: S603 - our own text
        [sys.executable, "-c", text],
        input=replace(ORDER, number=2).line(),
        capture_output=True,
        check=False,
    )
    line = json.loads(done.stderr)
    assert (line["event"], line["worker"], line["a"]) == ("x.y", 2, 1)
