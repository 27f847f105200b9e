"""Two processes at one port: what one knows, both know; and what is left of one that dies."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import bson
import pytest
from bson.binary import UuidRepresentation
from pymongo.errors import AutoReconnect, CursorNotFound, PyMongoError

from tests.support.pages import PATIENCE_SECONDS, metric, page, soon
from tests.support.programs import ROOT, run
from tests.support.proxies import Proxy, serving
from tests.support.servers import free_port
from tests.support.visitors import Visitor, batch, long, one_at_each

WORKERS = ("--workers", "2")
NOT_FOUND = 43
CURSOR_LENGTH = 200


@pytest.fixture(scope="module")
def free() -> int:
    return free_port()


@pytest.fixture(scope="module")
def admin(free: int) -> str:
    return f"http://127.0.0.1:{free}"


@pytest.fixture(scope="module")
def both(mongo_uri: str, free: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Run a proxy of two workers that these tests may treat badly."""
    log = tmp_path_factory.mktemp("workers") / "stderr.log"
    pages = ("--admin", f"127.0.0.1:{free}")
    with serving(mongo_uri, ROOT / "manifests", log, *WORKERS, *pages) as running:
        yield running
        assert "Traceback" not in running.program.tail()


@pytest.fixture
def own(mongo_uri: str, tmp_path: Path) -> Iterator[Proxy]:
    """Run a proxy that the test ends itself."""
    with serving(mongo_uri, ROOT / "manifests", tmp_path / "log", *WORKERS) as running:
        yield running


@pytest.fixture
def pair(both: Proxy) -> Iterator[tuple[Visitor, Visitor]]:
    """Give a connection of the app `shop` to each worker."""
    first, second = one_at_each(both.uris["shop"])
    with first, second:
        yield first, second


def children(proxy: Proxy) -> list[int]:
    """Give the processes of the workers."""
    pid = proxy.program.process.pid
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def filled(visitor: Visitor, name: str, count: int = 20) -> str:
    """Put some documents into a new collection."""
    documents = [{"_id": number} for number in range(count)]
    assert visitor.ask({"insert": name, "documents": documents, "$db": "shop"})["n"] == count
    return name


def opened(visitor: Visitor, name: str, **more: Any) -> bson.Int64:
    """Open a cursor that has more to give."""
    sort = {"sort": {"_id": 1}, "batchSize": 5}
    reply = visitor.ask({"find": name, **sort, "$db": "shop", **more})
    assert [each["_id"] for each in batch(reply)] == [0, 1, 2, 3, 4]
    return long(reply["cursor"]["id"])


def more_of(number: bson.Int64, name: str, **more: Any) -> dict[str, Any]:
    return {"getMore": number, "collection": name, "batchSize": 5, "$db": "shop", **more}


def fresh_session() -> dict[str, Any]:
    made = bson.Binary.from_uuid(uuid4(), UuidRepresentation.STANDARD)
    return {"lsid": {"id": made}}


def test_cursors_of_many_threads(both: Proxy, name: str) -> None:
    with both.client("shop", maxPoolSize=40) as client, ThreadPoolExecutor(20) as pool:
        collection = client.shop[name]
        collection.insert_many([{"_id": number} for number in range(1_000)])

        def read(_: int) -> list[int]:
            return [each["_id"] for each in collection.find(batch_size=20).sort("_id")]

        assert all(found == list(range(1_000)) for found in pool.map(read, range(60)))


@pytest.mark.parametrize("in_session", [False, True])
def test_a_cursor_is_read_at_both(
    pair: tuple[Visitor, Visitor], name: str, in_session: bool
) -> None:
    session = fresh_session() if in_session else {}
    number = opened(pair[0], filled(pair[0], name), **session)
    for turn, visitor in enumerate((pair[1], pair[0], pair[1])):
        reply = visitor.ask(more_of(number, name, **session))
        assert [each["_id"] for each in batch(reply)] == [5 * turn + n for n in range(5, 10)]
        assert reply["cursor"]["ns"] == f"shop.{name}"
    for visitor in pair:
        reply = visitor.ask(more_of(number, name, **session))
        if reply["ok"]:
            assert batch(reply) == []
        assert visitor.ask(more_of(number, name, **session))["code"] == NOT_FOUND


def test_the_owner_decides_about_a_cursor(
    both: Proxy, pair: tuple[Visitor, Visitor], name: str
) -> None:
    number = opened(pair[0], filled(pair[0], name))
    strangers = one_at_each(both.uris["crm"])
    with strangers[0], strangers[1]:
        for stranger in strangers:
            reply = stranger.ask({**more_of(number, name), "$db": "crm"})
            assert (reply["code"], reply["errmsg"]) == (NOT_FOUND, f"cursor id {number} not found")
            killed = stranger.ask({"killCursors": name, "cursors": [number], "$db": "crm"})
            assert (killed["cursorsKilled"], killed["cursorsNotFound"]) == ([], [number])
    for visitor in pair:
        assert visitor.ask(more_of(number, "other"))["code"] == 13
        assert visitor.ask(more_of(number, name, **fresh_session()))["code"] == 50736
    assert len(batch(pair[1].ask(more_of(number, name)))) == 5


def test_cursors_are_killed_from_anywhere(pair: tuple[Visitor, Visitor], name: str) -> None:
    filled(pair[0], name)
    here, there, gone = opened(pair[0], name), opened(pair[1], name), long(7)
    command = {"killCursors": name, "cursors": [there, gone, here], "$db": "shop"}
    reply = pair[0].ask(command)
    assert sorted(reply["cursorsKilled"]) == sorted([here, there])
    assert reply["cursorsNotFound"] == [gone]
    for visitor in pair:
        for number in (here, there):
            assert visitor.ask(more_of(number, name))["code"] == NOT_FOUND


@pytest.mark.parametrize("command", ["endSessions", "killSessions"])
def test_the_end_of_a_session_reaches_both(
    pair: tuple[Visitor, Visitor], name: str, command: str
) -> None:
    session = fresh_session()
    number = opened(pair[0], filled(pair[0], name), **session)
    named = [] if command == "killSessions" else [session["lsid"]]
    assert pair[1].ask({command: named, "$db": "admin"})["ok"]
    for visitor in pair:
        assert visitor.ask(more_of(number, name, **session))["code"] == NOT_FOUND


def test_transactions_over_both(both: Proxy, pair: tuple[Visitor, Visitor], name: str) -> None:
    """More than an app may have open at a time: each must be known as ended where it began."""
    filled(pair[0], name, 1)
    session = fresh_session()
    for number in range(1, 15):
        fields = {"txnNumber": long(number), "autocommit": False, **session}
        for turn, visitor in enumerate((*pair, *pair)):
            insert = {"insert": name, "documents": [{"_id": 10 * number + turn}], "$db": "shop"}
            start = {} if turn else {"startTransaction": True}
            assert visitor.ask({**insert, **fields, **start})["n"] == 1
        end = "commitTransaction" if number % 2 else "abortTransaction"
        assert pair[1].ask({end: 1, **fields, "$db": "admin"})["ok"]
    kept = {10 * number + turn for number in range(1, 15, 2) for turn in range(4)}
    found = both.behind[f"shop_{name}"].distinct("_id")
    assert set(found) == {0, *kept}


def test_transactions_of_many_threads(both: Proxy, name: str) -> None:
    with both.client("shop", maxPoolSize=20) as client, ThreadPoolExecutor(4) as pool:
        collection = client.shop[name]
        collection.insert_one({"_id": -1})

        def work(number: int) -> None:
            with client.start_session() as session:
                session.with_transaction(lambda s: [
                    collection.insert_one({"_id": 10 * number + turn}, session=s)
                    for turn in range(4)
                ])  # fmt: skip

        list(pool.map(work, range(40)))
        assert collection.count_documents({}) == 161


def test_pages_of_all_workers(both: Proxy, admin: str, pair: tuple[Visitor, Visitor]) -> None:
    assert page(f"{admin}/livez") == (200, "ok\n")
    assert page(f"{admin}/readyz") == (200, "ok\n")
    for visitor in pair:
        visitor.ask({"find": "x", "filter": {"$where": "1"}, "$db": "shop"})
    line = 'mdb_proxy_client_connections{app="shop"}'
    assert metric(f"{admin}/metrics", line) >= 2
    assert metric(f"{admin}/metrics", "mdb_proxy_blocked_total") >= 2
    assert '"workers": 2' in page(f"{admin}/healthz")[1]


class Load:
    """Clients of both workers that never rest; what fails is kept."""

    def __init__(self, proxy: Proxy, name: str, **options: Any) -> None:
        self.proxy, self.name, self.threads, self.options = proxy, name, 8, options
        self.acknowledged: list[int] = []
        self.errors: list[BaseException] = []
        self.lost = 0
        self._enough = threading.Event()
        self._started = threading.Semaphore(0)

    def __enter__(self) -> "Load":
        self._client = self.proxy.client("shop", maxPoolSize=20, w="majority", **self.options)
        self._client.shop[self.name].insert_many([{"_id": -n} for n in range(1, CURSOR_LENGTH + 1)])
        self._jobs = [threading.Thread(target=self._work, args=(n,)) for n in range(self.threads)]
        for job in self._jobs:
            job.start()
        for _ in self._jobs:
            assert self._started.acquire(timeout=PATIENCE_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        for job in self._jobs:
            job.join()
        self._client.close()

    def _work(self, thread: int) -> None:
        collection = self._client.shop[self.name]
        for number in range(thread, 10_000_000, self.threads):
            if self._enough.is_set():
                return
            try:
                collection.insert_one({"_id": number})
                self.acknowledged.append(number)
                cursor = collection.find({"_id": {"$lt": 0}}, batch_size=50)
                next(cursor)
            except PyMongoError as error:
                self.errors.append(error)
            else:
                self._read_on(cursor)
            if number == thread:
                self._started.release()

    def _read_on(self, cursor: Iterator[Any]) -> None:
        """What no driver asks for twice: the cursor may have lived at the worker, or the reply."""
        try:
            assert len(list(cursor)) == CURSOR_LENGTH - 1
        except (AutoReconnect, CursorNotFound):
            self.lost += 1

    def goes_on(self) -> Callable[[], bool]:
        """Give what tells whether more was done than now."""
        before = len(self.acknowledged)
        return lambda: len(self.acknowledged) > before + 50


def test_a_worker_that_is_killed(both: Proxy, admin: str, name: str) -> None:
    inserted = 'mdb_proxy_commands_total{app="shop",command="insert",outcome="ok"}'
    restarted = "mdb_proxy_workers_restarted_total"
    before = metric(f"{admin}/metrics", inserted)
    with Load(both, name) as load:
        assert soon(load.goes_on(), PATIENCE_SECONDS)
        gone = children(both)[0]
        counted = metric(f"{admin}/metrics", inserted)
        os.kill(gone, signal.SIGKILL)
        assert soon(load.goes_on(), PATIENCE_SECONDS)
        assert soon(lambda: len(set(children(both)) - {gone}) == 2, PATIENCE_SECONDS)
        assert soon(lambda: page(f"{admin}/readyz")[0] == 200, PATIENCE_SECONDS)
        assert soon(load.goes_on(), PATIENCE_SECONDS)
    assert load.errors == []
    assert load.lost <= load.threads, "only what was being read"
    assert both.behind[f"shop_{name}"].count_documents({"_id": {"$gte": 0}}) == len(
        load.acknowledged
    )
    assert metric(f"{admin}/metrics", restarted) == 1
    total = metric(f"{admin}/metrics", inserted)
    assert total >= counted, "what a worker did before it died still counts"
    # a reply that was lost with the worker was asked for again: at most one per thread
    assert 0 <= total - before - (len(load.acknowledged) + 1) <= load.threads
    first, second = one_at_each(both.uris["shop"])
    with first, second:
        assert first.ask({"ping": 1, "$db": "shop"})["ok"]
        assert second.ask({"ping": 1, "$db": "shop"})["ok"]


def test_a_worker_that_hangs(both: Proxy, admin: str, name: str, measured: Any) -> None:
    """Its connections are open, and nobody is there: the driver's time runs out on them."""
    hanging = "mdb_proxy_workers_hanging_total"
    before = metric(f"{admin}/metrics", hanging)
    options = {"socketTimeoutMS": 2_000, "connectTimeoutMS": 1_000}
    with Load(both, name, **options) as load:
        assert soon(load.goes_on(), PATIENCE_SECONDS)
        stopped = children(both)[0]
        began = time.monotonic()
        os.kill(stopped, signal.SIGSTOP)
        assert soon(lambda: not alive(stopped), PATIENCE_SECONDS)
        measured(f"a worker that hangs was replaced after {time.monotonic() - began:.1f} s")
        assert soon(lambda: len(set(children(both)) - {stopped}) == 2, PATIENCE_SECONDS)
        assert soon(lambda: page(f"{admin}/readyz")[0] == 200, PATIENCE_SECONDS)
        assert soon(load.goes_on(), PATIENCE_SECONDS)
    stored = set(both.behind[f"shop_{name}"].distinct("_id", {"_id": {"$gte": 0}}))
    assert set(load.acknowledged) <= stored, "nothing is lost"
    assert metric(f"{admin}/metrics", hanging) == before + 1


def test_a_port_that_is_taken(both: Proxy, mongo_uri: str) -> None:
    again = ["serve", "--manifests", str(ROOT / "manifests"), "--listen", both.address]
    done = run("mdb-proxy", *again, *WORKERS, MONGO_URI=mongo_uri, MONGO_DB_NAME=both.db_name)
    assert done.returncode == 1
    assert "ddress already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_any_port(mongo_uri: str, tmp_path: Path) -> None:
    with serving(mongo_uri, ROOT / "manifests", tmp_path / "log", *WORKERS, port=0) as running:
        for visitor in one_at_each(running.uris["shop"]):
            with visitor:
                assert visitor.ask({"ping": 1, "$db": "shop"})["ok"]


def test_the_end_waits_for_answers(own: Proxy, name: str) -> None:
    workers = children(own)
    with Load(own, name, serverSelectionTimeoutMS=500) as load:
        assert soon(load.goes_on(), PATIENCE_SECONDS)
        own.program.process.send_signal(signal.SIGTERM)
        assert own.program.process.wait(PATIENCE_SECONDS) == 0
    found = set(own.behind[f"shop_{name}"].distinct("_id"))
    assert set(load.acknowledged) <= found, "what was acknowledged is there"
    assert not any(map(alive, workers))
    assert "Traceback" not in own.program.tail()


def test_nobody_is_left_of_a_supervisor_that_is_killed(own: Proxy) -> None:
    workers = children(own)
    assert len(workers) == 2
    first, second = one_at_each(own.uris["shop"])
    with first, second:
        own.program.process.kill()
        own.program.process.wait()
        assert first.closed()
        assert second.closed()
    assert soon(lambda: not any(map(alive, workers)), PATIENCE_SECONDS)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((own.host, own.port))
