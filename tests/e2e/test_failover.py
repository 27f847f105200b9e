"""A primary that steps down or dies under load: what clients see, and what is stored afterwards."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from pymongo import MongoClient

from tests.support import config
from tests.support.loads import Worker, codes, load
from tests.support.programs import ROOT
from tests.support.proxies import AT_ONCE, Proxy, serving
from tests.support.replicas import ReplicaSet, replica_set

UNKNOWN = {91, 189, 11600, 11602}
"""The member stopped in the middle: nobody knows whether it was done, so nobody repeats it."""

LOST_CONNECTION = 6
ROUNDS = 10
TIMES = 4 if config.SEARCH else 1


@dataclass(frozen=True, slots=True)
class Front:
    """A replica set and a proxy before it."""

    replicas: ReplicaSet
    proxy: Proxy


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("replicas")
    with (
        replica_set(folder) as replicas,
        serving(replicas.uri, ROOT / "manifests", folder / "proxy.log", **AT_ONCE) as proxy,
    ):
        yield Front(replicas, proxy)


@contextmanager
def clients(uri: str, kind: str, **options: Any) -> Iterator[list[Worker]]:
    """Give a worker for each of several ways to use a client."""
    with ExitStack() as stack:

        def worker(name: str, **how: Any) -> Worker:
            client = MongoClient(uri, serverSelectionTimeoutMS=30_000, **how, **options)
            return Worker(f"{kind}-{name}", stack.enter_context(client))

        yield [worker("majority"), worker("one", w=1)]


def step_down(replicas: ReplicaSet) -> None:
    replicas.step_down()


def kill(replicas: ReplicaSet) -> None:
    killed = replicas.primary
    killed.kill()
    replicas.primary  # noqa: B018 - waits for it
    killed.start()


def strike(front: Front, uri: str, how: Any) -> tuple[list[Worker], list[Worker]]:
    """Do it to the primary under load; give the workers with the driver's retries and without."""
    with clients(uri, "on") as on, clients(uri, "off", retryWrites=False, retryReads=False) as off:
        with load([*on, *off]) as more:
            more(ROUNDS)
            for _ in range(TIMES):
                how(front.replicas)
                more(ROUNDS)
                front.replicas.settle()
        return on, off


def check_stored(behind: Any, workers: list[Worker], prefix: str) -> None:
    """What was acknowledged is there, and nothing was done twice."""
    stored = {each["_id"] for each in behind[f"{prefix}load"].find({}, {"_id": 1})}
    for worker in workers:
        assert set(worker.acknowledged) <= stored
        counted = behind[f"{prefix}counts"].find_one({"_id": worker.name})["n"]
        assert worker.steps <= counted <= worker.tried
        if not worker.errors:
            assert counted == worker.tried == worker.steps
    behind[f"{prefix}load"].drop()
    behind[f"{prefix}counts"].drop()


@pytest.mark.parametrize("how", [step_down, kill])
def test_nothing_is_lost_or_done_twice(front: Front, measured: Any, how: Any) -> None:
    on, off = strike(front, front.proxy.uris["shop"], how)
    check_stored(front.proxy.behind, [*on, *off], "shop_")
    seen = codes([error for worker in off for error in worker.errors])
    rounds = sum(worker.rounds for worker in [*on, *off])
    measured(f"{how.__name__} x{TIMES}, {rounds} rounds, driver's retries off: {dict(seen)}")
    # With the driver's retries: nothing at all. Without: only what nobody can know.
    assert [worker.errors for worker in on] == [[], []]
    allowed = UNKNOWN if how is step_down else UNKNOWN | {LOST_CONNECTION}
    assert {code for _, code in seen} <= allowed
    assert sum(seen.values()) <= TIMES * len(off)


@pytest.mark.skipif(not config.SEARCH, reason="MDB_TEST_SEARCH is not set: for comparison only")
@pytest.mark.parametrize("how", [step_down, kill])
def test_the_same_without_a_proxy(front: Front, measured: Any, how: Any) -> None:
    on, off = strike(front, front.replicas.uri.replace("/?", "/direct?"), how)
    with front.replicas.client() as client:
        check_stored(client["direct"], [*on, *off], "")
    for kind, workers in (("on", on), ("off", off)):
        seen = codes([error for worker in workers for error in worker.errors])
        measured(f"direct, {how.__name__} x{TIMES}, driver's retries {kind}: {dict(seen)}")
