"""Worker processes that do as they are told: started, replaced, given up, sent home."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from mdb_engine.exceptions import (
    ConfigurationError,
    InitializationError,
    ManifestValidationError,
    MongoDBEngineError,
)
from mdb_engine.manifest import parse
from mdb_proxy import crew as module
from mdb_proxy.crew import MAX_FAILURES, Crew
from mdb_proxy.orders import Order
from tests.unit.mdb_proxy.test_orders import ORDER

MANIFESTS = {"shop": parse({"slug": "shop", "name": "Shop"})}
PRELUDE = """
import json, os, signal, socket, struct, sys, threading, time
order = json.loads(sys.stdin.readline())
def say(event, code=0, sentence=""):
    print(json.dumps({"event": event, "code": code, "sentence": sentence}), flush=True)
def mark(name):
    open(os.path.join(order["folder"], name), "a").write(str(order["number"]))
class Drained:  # no Event: one that is set by a signal while it begins to wait waits for ever
    told = False
    def set(self, *_):
        self.told = True
    def clear(self):
        self.told = False
    def wait(self):
        while not self.told:
            time.sleep(0.005)
drained = Drained()
signal.signal(signal.SIGTERM, drained.set)
"""
GOOD = (
    PRELUDE
    + """
say("ready")
drained.wait()
say("drained")
sys.stdin.read()
"""
)
SECONDS = 20


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log everything; do not wait long."""
    structlog.reset_defaults()
    monkeypatch.setattr(module, "log", structlog.get_logger())
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.02)


@pytest.fixture
def order(tmp_path: Path) -> Order:
    return replace(ORDER, folder=str(tmp_path))


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have the workers run a text instead."""

    def use(text: str) -> None:
        monkeypatch.setattr(module, "COMMAND", (sys.executable, "-S", "-c", text))

    return use


def inside(crew: Callable[[], Crew], work: Callable[[Crew], Awaitable[None]]) -> list[Any]:
    async def main() -> None:
        made = crew()
        async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
            job = group.create_task(made.serve())
            await work(made)
            await made.stop()
            await job

    with capture_logs() as lines:
        asyncio.run(main())
    return list(lines)


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_all_are_started_and_sent_home(order: Order, program: Callable[[str], None]) -> None:
    program(GOOD)
    ended: list[int] = []

    async def work(crew: Crew) -> None:
        await crew.ready()

    lines = inside(lambda: Crew(order, MANIFESTS, ended.append), work)
    assert sorted(line["worker"] for line in lines if line["event"] == "worker.ready") == [1, 2]
    assert len(set(ended)) == 2
    assert "worker.restarting" not in [line["event"] for line in lines]


def test_who_is_not_there_yet_is_not_waited_for(
    order: Order, program: Callable[[str], None]
) -> None:
    program(GOOD)
    began = time.monotonic()

    async def work(_crew: Crew) -> None:
        return

    inside(lambda: Crew(order, MANIFESTS), work)
    assert time.monotonic() - began < SECONDS / 2


@pytest.mark.parametrize("name", ["killed", "drained"])
def test_who_has_ended_is_replaced(
    order: Order, program: Callable[[str], None], tmp_path: Path, name: str
) -> None:
    act = {"killed": "os.kill(os.getpid(), 9)", "drained": "drained.set()"}[name]
    once = f"""
first = order["number"] == 1 and not os.path.exists(os.path.join(order["folder"], "was"))
mark("was") if first else None
say("ready")
if first:
    threading.Timer(0.2, lambda: {act}).start()
"""
    program(PRELUDE + once + GOOD.removeprefix(PRELUDE).replace('say("ready")', ""))
    replaced: list[int] = []

    async def work(crew: Crew) -> None:
        crew.restarting = lambda: replaced.append(1)
        await crew.ready()
        await until(lambda: len(replaced) > 0)
        await until(lambda: all(worker.ready for worker in crew._workers))

    lines = inside(lambda: Crew(order, MANIFESTS), work)
    (line,) = [line for line in lines if line["event"] == "worker.restarting"]
    assert line["worker"] == 1
    how = "was ended by signal 9" if name == "killed" else "ended with code 0"
    assert line["reason"] == f"worker 1 {how}"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (1, MongoDBEngineError),
        (2, ConfigurationError),
        (3, ManifestValidationError),
        (4, InitializationError),
    ],
)
def test_who_never_gets_ready_is_given_up(
    order: Order, program: Callable[[str], None], tmp_path: Path, code: int, error: type[Exception]
) -> None:
    program(PRELUDE + f'mark("tried"); say("failed", {code}, "it is so"); sys.exit({code})')
    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(Crew(replace(order, workers=1), MANIFESTS).serve())
    (found,) = caught.value.exceptions
    assert (type(found), str(found)) == (error, "it is so")
    assert len((tmp_path / "tried").read_text()) == MAX_FAILURES


def test_who_says_nothing_at_his_end(order: Order, program: Callable[[str], None]) -> None:
    program("raise SystemExit(7)")
    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(Crew(replace(order, workers=1), MANIFESTS).serve())
    assert str(caught.value.exceptions[0]) == "worker 1 ended with code 7"


def test_while_others_serve_nobody_is_given_up(
    order: Order, program: Callable[[str], None], tmp_path: Path
) -> None:
    bad = 'if order["number"] == 2:\n    mark("tried"); sys.exit(4)\n'
    program(PRELUDE + bad + GOOD.removeprefix(PRELUDE))

    async def work(_crew: Crew) -> None:
        tried = tmp_path / "tried"
        await until(lambda: tried.exists() and len(tried.read_text()) > 2 * MAX_FAILURES)

    inside(lambda: Crew(order, MANIFESTS), work)


def test_nothing_is_left_when_nobody_waits_any_more(
    order: Order, program: Callable[[str], None]
) -> None:
    program(GOOD.replace("drained.wait()", "while True: drained.wait(); drained.clear()"))
    ended: list[int] = []

    async def main() -> None:
        crew = Crew(order, MANIFESTS, ended.append)
        async with asyncio.TaskGroup() as group:
            job = group.create_task(crew.serve())
            await crew.ready()
            job.cancel()
        assert [worker.process for worker in crew._workers] == [None, None]

    asyncio.run(main())
    assert len(ended) == 2


ANSWERING = (
    PRELUDE
    + """
def answers():
    while True:
        peer = listener.accept()[0]
        asked = peer.recv(100_000)
        op = next(name for name in ("prepare", "swap", "status") if name.encode() in asked)
        mark(op)
        reply = REPLIES.get((order["number"], op), OK)
        if reply:
            peer.sendall(MINE + reply)
        peer.close()
OK = bytes.fromhex("0a000000086f6b000100")
MINE = bytes.fromhex("0c000000086d696e65000100")
NO = bytes.fromhex("17000000" "02" + b"reason".hex() + "00" "06000000") + b"no..." + bytes(2)
REPLIES = {}
listener = socket.socket(socket.AF_UNIX)
path = os.path.join(order["folder"], str(order["number"]) + ".sock")
if os.path.exists(path):
    os.unlink(path)
listener.bind(path)
listener.listen()
threading.Thread(target=answers, daemon=True).start()
mark("with" + "".join(json.loads(each)["name"] for each in order["manifests"]))
"""
    + GOOD.removeprefix(PRELUDE)
)

NEW = {"shop": parse({"slug": "shop", "name": "New"})}


def test_all_serve_by_new_manifests(
    order: Order, program: Callable[[str], None], tmp_path: Path
) -> None:
    program(ANSWERING)

    async def work(crew: Crew) -> None:
        await crew.ready()
        await crew.swap(NEW)
        assert crew.manifests is NEW
        assert [each and each.get("ok") for each in await crew.statuses()] == [True, True]

    inside(lambda: Crew(order, MANIFESTS), work)
    for name in ("prepare", "swap", "status"):
        assert sorted((tmp_path / name).read_text()) == ["1", "2"]


@pytest.mark.parametrize(
    ("reply", "reason"), [("NO", "worker 2: no..."), ('b""', "worker 2: it does not answer")]
)
def test_nobody_serves_by_what_one_cannot_serve(
    order: Order, program: Callable[[str], None], tmp_path: Path, reply: str, reason: str
) -> None:
    program(ANSWERING.replace("REPLIES = {}", f"REPLIES = {{(2, 'prepare'): {reply}}}"))

    async def work(crew: Crew) -> None:
        await crew.ready()
        with pytest.raises(InitializationError, match=reason):
            await crew.swap(NEW)
        assert crew.manifests is MANIFESTS

    inside(lambda: Crew(order, MANIFESTS), work)
    assert not (tmp_path / "swap").exists()


def test_who_does_not_swap_after_all_is_replaced(
    order: Order, program: Callable[[str], None], tmp_path: Path
) -> None:
    program(ANSWERING.replace("REPLIES = {}", "REPLIES = {(2, 'swap'): NO}"))

    async def work(crew: Crew) -> None:
        await crew.ready()
        await crew.swap(NEW)
        await until((tmp_path / "withNew").exists)
        await until(lambda: all(worker.ready for worker in crew._workers))

    inside(lambda: Crew(order, MANIFESTS), work)
    assert (tmp_path / "withNew").read_text() == "2"


def test_who_was_started_with_old_manifests_is_started_again(
    order: Order, program: Callable[[str], None], tmp_path: Path
) -> None:
    late = """
if order["number"] == 2:
    mark("slow")
    while not os.path.exists(order["folder"] + "/go"):
        pass
"""
    program(ANSWERING.replace('say("ready")', late + 'say("ready")'))

    async def work(crew: Crew) -> None:
        await until(lambda: crew._workers[0].ready and (tmp_path / "slow").exists())
        await crew.swap(NEW)
        # It has prepared and swapped, but whether before or after it read its order is not known.
        crew._workers[1].generation = 0
        (tmp_path / "go").touch()
        await crew.ready()

    lines = inside(lambda: Crew(order, MANIFESTS), work)
    assert [line["worker"] for line in lines if line["event"] == "worker.outdated"] == [2]
    assert (tmp_path / "withNew").read_text() == "2"


HUNG = (
    PRELUDE
    + """
import socketserver
class Visit(socketserver.StreamRequestHandler):
    def handle(self):
        self.request.recv(100)
        time.sleep(float(DELAY) if first else 0.0)
        for fields in (b"\\x08mine\\0\\x01", b"\\x08ok\\0\\x01"):
            self.wfile.write(struct.pack("<i", len(fields) + 5) + fields + b"\\0")
        self.wfile.flush()
first = order["number"] == 1 and not os.path.exists(os.path.join(order["folder"], "was"))
mark("was") if first else None
path = os.path.join(order["folder"], str(order["number"]) + ".sock")
os.path.exists(path) and os.unlink(path)
server = socketserver.ThreadingUnixStreamServer(path, Visit)
server.daemon_threads = True
crowd = []
while first and DELAY == 0:
    crowd.append(socket.socket(socket.AF_UNIX))
    crowd[-1].setblocking(False)
    if crowd[-1].connect_ex(path):
        break
else:
    threading.Thread(target=server.serve_forever, daemon=True).start()
say("ready")
drained.wait()
say("drained")
os._exit(0)
"""
)


@pytest.mark.parametrize(
    ("delay", "hangs"),
    [
        pytest.param(60, True, id="answers nobody"),
        pytest.param(0, True, id="takes nobody in, and as many wait as may"),
        pytest.param(0.2, False, id="is busy"),
    ],
)
def test_who_hangs_is_replaced_and_who_is_busy_is_not(
    order: Order,
    program: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    delay: float,
    hangs: bool,
) -> None:
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.05)
    monkeypatch.setattr(module, "HANGING_SECONDS", 0.8)
    monkeypatch.setattr(module, "STATUS_SECONDS", 0.1)
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.05)
    program(HUNG.replace("DELAY", str(delay)))
    noted: list[int] = []

    async def work(crew: Crew) -> None:
        crew.hanging = lambda: noted.append(1)
        await crew.ready()
        before = [worker.process for worker in crew._workers]
        task = asyncio.ensure_future(crew.watch())
        if hangs:
            await until(lambda: bool(noted) and all(each.ready for each in crew._workers))
            await until(lambda: crew._workers[0].process not in (None, before[0]))
            await until(lambda: crew._workers[0].ready)
        else:
            await asyncio.sleep(1.5)
        assert crew._workers[1].process is before[1]
        task.cancel()

    lines = inside(lambda: Crew(order, MANIFESTS), work)
    assert [line["worker"] for line in lines if line["event"] == "worker.hanging"] == [1] * hangs
    assert len(noted) == hangs
