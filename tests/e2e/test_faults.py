"""Connections that are cut at any byte: nobody gets another's reply, and nothing is left behind."""

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from tests.support import config
from tests.support.faults import Fault, Link, link
from tests.support.programs import ROOT
from tests.support.proxies import AT_ONCE, Client, Proxy, serving
from tests.support.replicas import until
from tests.support.servers import free_port

STRIDE = 1 if config.SEARCH else 41
"""Every byte in the long form; else every so many, and where the fields of the header end."""

HEADER = (0, 1, 3, 4, 15, 16, 17, 20, 21, 25)
IDLE = 3
"""Connections to the server that a test may leave in the pool: one for each that asks at a time."""

END = 2_000
"""More than the messages of these tests have; where they end is found out."""


@dataclass(frozen=True, slots=True)
class Chain:
    """client - inner link - proxy - outer link - server."""

    proxy: Proxy
    inner: Link
    outer: Link
    admin: str

    def client(self, **options: Any) -> Client:
        """Give a client that goes through the inner link."""
        uri = self.proxy.uris["shop"].replace(f":{self.proxy.port}", f":{self.inner.port}")
        return MongoClient(uri, serverSelectionTimeoutMS=30_000, **options)

    def page(self, path: str) -> str:
        with urlopen(f"{self.admin}{path}", timeout=30) as answer:  # noqa: S310 - our own port
            return str(answer.read().decode())


@pytest.fixture(scope="module")
def chain(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    [(_, server)] = parse_uri(mongo_uri)["nodelist"]
    log = tmp_path_factory.mktemp("faults") / "stderr.log"
    port = free_port()
    with link(server) as outer:
        uri = f"mongodb://127.0.0.1:{outer.port}/?directConnection=true"
        pages = ("--admin", f"127.0.0.1:{port}")
        manifests = ROOT / "manifests"
        with (
            serving(uri, manifests, log, *pages, behind=mongo_uri, **AT_ONCE) as proxy,
            link(proxy.port) as inner,
        ):
            yield Chain(proxy, inner, outer, f"http://127.0.0.1:{port}")


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a proxy and its server hold open."""

    files: int
    links: int
    clients: str
    cursors: list[str]
    server_cursors: int
    transactions: int


def held(chain: Chain) -> Holdings:
    status = chain.proxy.admin.admin.command("serverStatus")
    lines = chain.page("/metrics").splitlines()
    return Holdings(
        len(list(Path(f"/proc/{chain.proxy.program.process.pid}/fd").iterdir())),
        len(chain.outer.open) + len(chain.inner.open),
        next(x for x in chain.page("/healthz").split(",") if '"connections"' in x),
        [line for line in lines if line.startswith("mdb_proxy_cursors_open{")],
        status["metrics"]["cursor"]["open"]["total"],
        status["transactions"]["currentOpen"],
    )


@contextmanager
def nothing_left(chain: Chain) -> Iterator[None]:
    """What is held at the end is what was held at the beginning; idle connections may be more."""
    before = held(chain)

    def same() -> bool:
        now = held(chain)
        files, links = now.files <= before.files + IDLE, now.links <= before.links + IDLE
        rest = (now.clients, now.cursors, now.server_cursors, now.transactions)
        was = (before.clients, before.cursors, before.server_cursors, before.transactions)
        return files and links and rest == was

    yield
    try:
        until(same, "everything to be closed", 30)
    except AssertionError:
        assert held(chain) == before  # shows what differs
        raise


@contextmanager
def bystanders(chain: Chain) -> Iterator[None]:
    """Let others ask all the time; each must get what it asked for, and no error."""
    stop, wrong = threading.Event(), []

    def ask(name: str) -> None:
        with chain.proxy.client("shop") as client:
            for number in itertools.count():
                found = client.shop.marks.find_one({"_id": f"{name}-{number % 50}"})
                if found != {"_id": f"{name}-{number % 50}", "mark": f"{name}-{number % 50}"}:
                    wrong.append(found)
                if stop.is_set():
                    return

    names = ("anna", "bert")
    marks = [f"{name}-{number}" for name in (*names, "mine") for number in range(50)]
    chain.proxy.behind.shop_marks.drop()
    with chain.proxy.client("shop") as client:
        client.shop.marks.insert_many([{"_id": mark, "mark": mark} for mark in marks])
    threads = [threading.Thread(target=ask, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def offsets() -> Iterator[int]:
    yield from sorted({*HEADER, *range(0, END, STRIDE)})


Ask = Callable[[Client, str], Any]


def read(client: Client, mark: str) -> Any:
    return client.shop.marks.find_one({"mark": mark}, comment=f"fault-{mark}")


def struck(there: Link, client: Client, fault: Fault, ask: Ask) -> str:
    """Ask while the fault waits; say what came of it."""
    mark = f"mine-{fault.at % 50}"
    there.fault = fault
    try:
        found = ask(client, mark)
    except PyMongoError as error:
        outcome = f"{type(error).__name__} {getattr(error, 'code', None) or ''}".strip()
    else:
        outcome = "right" if found == {"_id": mark, "mark": mark} else f"wrong: {found}"
    there.fault = None
    assert fault.met, "the fault was not met"
    return outcome


def every_offset(one: Callable[[int], tuple[str, Fault]]) -> Counter[str]:
    """What came of it, counted, for every offset at which the message is cut short."""
    seen: Counter[str] = Counter()
    for at in offsets():
        outcome, fault = one(at)
        if fault.beyond:
            return seen
        # a reply that came through whole is an answer
        if not fault.whole:
            seen[outcome] += 1
    raise AssertionError("the message has no end")


@pytest.mark.parametrize("side", ["request", "reply"])
@pytest.mark.parametrize("how", ["cut", "reset"])
@pytest.mark.parametrize("times", [1, 2])
def test_between_proxy_and_server(
    chain: Chain, measured: Any, side: Any, how: Any, times: int
) -> None:
    with nothing_left(chain), bystanders(chain), chain.client(retryReads=False) as client:

        def one(at: int) -> tuple[str, Fault]:
            fault = Fault(b"fault-mine", side, at, how, times)
            return struck(chain.outer, client, fault, read), fault

        seen = every_offset(one)
    measured(f"proxy to server, {side} {how}, {times} in a row: {dict(seen)}")
    # Of two lost answers in a row the second one is told; one alone nobody notices.
    assert set(seen) == ({"right"} if times == 1 else {"OperationFailure 6"})


@pytest.mark.parametrize("side", ["request", "reply"])
@pytest.mark.parametrize("how", ["cut", "reset"])
def test_between_client_and_proxy(chain: Chain, measured: Any, side: Any, how: Any) -> None:
    with nothing_left(chain), bystanders(chain):

        def one(at: int) -> tuple[str, Fault]:
            fault = Fault(b"fault-mine", side, at, how)
            # a new one each time: after an error a client waits for half a second
            with chain.client(retryReads=False) as client:
                return struck(chain.inner, client, fault, read), fault

        seen = every_offset(one)
    measured(f"client to proxy, {side} {how}: {dict(seen)}")
    assert set(seen) == {"AutoReconnect"}


@pytest.mark.parametrize("side", ["request", "reply"])
@pytest.mark.parametrize("retries", [True, False])
def test_a_write_is_done_once(chain: Chain, measured: Any, side: Any, retries: bool) -> None:
    tried, name = 0, f"{side}-{retries}"
    with nothing_left(chain), chain.client(retryWrites=retries) as client:

        def write(client: Client, mark: str) -> Any:
            nonlocal tried
            tried += 1
            change = {"$inc": {"n": 1}}
            client.shop.written.update_one({"_id": name}, change, comment=f"fault-{mark}")
            return {"_id": mark, "mark": mark}

        client.shop.written.insert_one({"_id": name, "n": 0})

        def one(at: int) -> tuple[str, Fault]:
            fault = Fault(b"fault-mine", side, at)
            return struck(chain.outer, client, fault, write), fault

        seen = every_offset(one)
        done = client.shop.written.find_one({"_id": name})["n"]
    measured(f"a write, {side} cut, driver's retries {retries}: {dict(seen)}, done {done}/{tried}")
    if retries:
        assert set(seen) == {"right"}
        assert done == tried
    else:
        assert set(seen) == {"OperationFailure 6"}
        # at most those two that came through whole; none of those that were cut short
        assert done <= 2 if side == "request" else done == tried


@pytest.mark.parametrize(
    ("side", "times", "label"),
    [
        ("request", 1, None),
        ("reply", 1, None),
        ("request", 2, "UnknownTransactionCommitResult"),
        ("reply", 2, "UnknownTransactionCommitResult"),
    ],
)
def test_a_commit_whose_answer_is_lost(
    chain: Chain, side: Any, times: int, label: str | None
) -> None:
    """The proxy sends no part of a transaction twice; the driver repeats a commit once."""
    with nothing_left(chain), chain.client() as client, client.start_session() as session:
        things = client.shop.committed
        things.delete_many({})
        session.start_transaction()
        things.insert_one({"_id": 1}, session=session)
        chain.outer.fault = fault = Fault(b"commitTransaction", side, 20, "cut", times)
        told = None
        try:
            session.commit_transaction()
        except PyMongoError as error:
            told = error
        chain.outer.fault = None
        assert fault.met == times
        assert (told is None) == (label is None)
        assert told is None or told.has_error_label(label)
        session.commit_transaction()
        assert things.count_documents({}) == 1


@pytest.mark.parametrize("step", [1, 3, 16, 17])
def test_in_small_pieces(chain: Chain, step: int) -> None:
    chain.inner.step = chain.outer.step = step
    try:
        with nothing_left(chain), bystanders(chain), chain.client() as client:
            assert len(list(client.shop.marks.find(batch_size=70))) == 150
            client.shop.pieces.insert_many([{"_id": number} for number in range(50)])
            assert client.shop.pieces.delete_many({}).deleted_count == 50
    finally:
        chain.inner.step = chain.outer.step = 0


@pytest.mark.parametrize("how", ["stall", "half"])
@pytest.mark.parametrize("side", ["request", "reply"])
@pytest.mark.parametrize("at", [0, 10, 60])
def test_who_does_not_answer_holds_nothing(chain: Chain, how: Any, side: Any, at: int) -> None:
    patience = {"retryReads": False, "socketTimeoutMS": 300}
    with nothing_left(chain), bystanders(chain), chain.client(**patience) as client:
        client.admin.command("ping")
        fault = Fault(b"fault-mine", side, at, how)
        assert struck(chain.outer, client, fault, read) == "NetworkTimeout"
