"""Many clients on few server connections: all are served, each app has its share, memory is bound.

The short form runs always; with MDB_TEST_SEARCH=1 there are 2,000 at rest and 500 busy ones.
"""

import resource
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.support import config
from tests.support.proxies import AT_ONCE, Proxy, serving
from tests.support.visitors import Visitor, long

IDLE, BUSY, MEGABYTES = (2_000, 500, 1_024) if config.SEARCH else (300, 100, 96)
SMALL = 10
"""Clients of the small app, beside all the other busy ones."""

FAIR = 2.0 if config.SEARCH else 0.8
"""Times what it would have by its number; with few clients the pool is hardly what is scarce."""

SECONDS = 10.0 if config.SEARCH else 4.0
POOL = 32
OVERLOADED = 462
LANES_AND_OURS = 24
"""Connections besides the pool: those that wait for news, our own driver's, monitors."""

SIZE = 256 * 1024
MOST_MIB = 160
"""Two messages of the largest size, in the two forms that they have for a moment."""


@pytest.fixture(scope="module")
def crowd(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("crowds")
    limits = '"limits": {"max_connections": 5000, "max_in_flight": 500}'
    for slug in ("big", "small"):
        text = f'{{"slug": "{slug}", "name": "{slug}", {limits}}}'
        (folder / f"{slug}.json").write_text(text)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    uri = f"{mongo_uri}&maxPoolSize={POOL}"
    with serving(uri, folder, folder / "log", behind=mongo_uri, **AT_ONCE) as running:
        yield running
        assert "Traceback" not in running.program.tail()


def resident(proxy: Proxy) -> int:
    """Give the bytes of memory that the proxy holds."""
    status = Path(f"/proc/{proxy.program.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def server_connections(proxy: Proxy) -> int:
    """Give how many connections the cluster has from the proxy."""
    stages: list[dict[str, Any]] = [
        {"$currentOp": {"allUsers": True, "idleConnections": True, "localOps": True}},
        {"$match": {"appName": "mdb-proxy"}},
    ]
    return len(list(proxy.admin.admin.aggregate(stages)))


def crowd_of(stack: ExitStack, uri: str, count: int) -> list[Visitor]:
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: Visitor(uri), range(count)))
    for each in found:
        stack.enter_context(each)
    return found


FIND = {"find": "things", "filter": {"n": 7}, "limit": 1}
HARD = {"$size": {"$filter": {"input": {"$range": [0, 1000]}, "cond": {"$gt": ["$$this", "$n"]}}}}
SLOW = {**FIND, "filter": {"n": 7, "$expr": {"$lt": [0, {"$add": [HARD]}]}}}
"""Some milliseconds in the cluster, so that the pool is what is scarce."""


def work(
    visitors: list[tuple[str, Visitor]], seconds: float, find: dict[str, Any] = FIND
) -> tuple[Counter[str], list[float]]:
    """Have all ask without a pause; gives the answers by app, and the times of all."""
    done: Counter[str] = Counter()
    times: list[float] = []
    end = time.monotonic() + seconds
    barrier = threading.Barrier(len(visitors))

    def ask(app: str, visitor: Visitor) -> int:
        barrier.wait()
        count = 0
        while time.monotonic() < end:
            began = time.monotonic()
            reply = visitor.ask({**find, "$db": app})
            if not reply["ok"]:
                # as drivers do
                assert reply["code"] == OVERLOADED, reply
                time.sleep(reply["baseBackoffMS"] / 1000)
                continue
            times.append(time.monotonic() - began)
            count += 1
        return count

    with ThreadPoolExecutor(len(visitors)) as pool:
        jobs = [(app, pool.submit(ask, app, visitor)) for app, visitor in visitors]
        for app, job in jobs:
            done[app] += job.result()
    return done, times


def test_a_crowd_on_a_small_pool(crowd: Proxy, measured: Any) -> None:
    for app in ("big", "small"):
        crowd.behind[f"{app}_things"].insert_many(
            [{"_id": n, "n": n, "app_id": app} for n in range(100)]
        )
    with ExitStack() as stack:
        (first,) = crowd_of(stack, crowd.uris["big"], 1)
        assert first.ask({**FIND, "$db": "big"})["ok"]
        before = resident(crowd)
        idle = crowd_of(stack, crowd.uris["big"], IDLE)
        each = (resident(crowd) - before) / IDLE
        measured(f"{IDLE} clients at rest: {each / 1024:.1f} KiB each")
        assert each < 64 * 1024
        few = crowd_of(stack, crowd.uris["small"], SMALL)
        many = crowd_of(stack, crowd.uris["big"], BUSY - SMALL)
        visitors = [("small", each) for each in few] + [("big", each) for each in many]
        done, times = work(visitors, SECONDS)
        times.sort()
        slowest = f"99 % within {times[int(len(times) * 0.99)]:.2f} s, all {times[-1]:.2f} s"
        measured(f"{BUSY} busy: {sum(done.values()) / SECONDS:.0f}/s, {slowest}")
        done, _ = work(visitors, SECONDS, SLOW)
        share = done["small"] / sum(done.values())
        measured(f"pool scarce: the app with {SMALL} of {BUSY} clients had {share:.0%}")
        assert share > FAIR * SMALL / BUSY
        found = server_connections(crowd)
        measured(f"{found} connections to the server")
        assert found <= POOL + LANES_AND_OURS
        assert all(each.ask({"ping": 1, "$db": "big"})["ok"] for each in idle)


def fill(crowd: Proxy, count: int) -> None:
    """Store so many documents of a quarter of a megabyte."""
    text = "x" * (SIZE - 200)
    for first in range(0, count, 64):
        crowd.behind["big_much"].insert_many([
            {"_id": n, "app_id": "big", "text": text}
            for n in range(first, min(first + 64, count))
        ])  # fmt: skip


def read(visitor: Visitor) -> int:
    """Read everything, with pauses; gives how many documents it was."""
    reply = visitor.ask({"find": "much", "batchSize": 50, "$db": "big"})
    count = len(reply["cursor"]["firstBatch"])
    while number := reply["cursor"]["id"]:
        time.sleep(0.02)
        more = {"getMore": long(number), "collection": "much", "batchSize": 50, "$db": "big"}
        reply = visitor.ask(more)
        count += len(reply["cursor"]["nextBatch"])
    return count


def test_a_slow_reader_of_much(crowd: Proxy, measured: Any) -> None:
    """It asks for much and reads it now and then; memory is bound, the others notice little."""
    fill(crowd, MEGABYTES * 4)
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        (slow,) = crowd_of(stack, crowd.uris["big"], 1)
        fast = [("small", each) for each in crowd_of(stack, crowd.uris["small"], SMALL)]
        alone = median(work(fast, 2.0)[1])
        before = most = resident(crowd)
        job, beside = pool.submit(read, slow), [0.0]
        while not job.done():
            beside += work(fast, 0.5)[1]
            most = max(most, resident(crowd))
        assert job.result() == MEGABYTES * 4
        extra = (most - before) / 2**20
        measured(
            f"{MEGABYTES} MB to a slow reader: {extra:.0f} MiB more memory, the others"
            f" {median(beside) * 1000:.1f} ms in the middle (alone {alone * 1000:.1f} ms)"
        )
        assert extra < MOST_MIB
        assert median(beside) < 10 * alone + 0.05
