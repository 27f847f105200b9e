"""A primary that steps down or dies under load: what clients see, and what is stored afterwards."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.e2e.conftest import Front
from tests.support import config
from tests.support.loads import Worker, codes, load
from tests.support.replicas import ReplicaSet

UNKNOWN = {91, 189, 11600, 11602}
"""The member stopped in the middle: nobody knows whether it was done, so nobody repeats it."""

LOST_CONNECTION = 6
ROUNDS = 10
TIMES = 4 if config.SEARCH else 1


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


def freeze(replicas: ReplicaSet) -> None:
    with replicas.primary.frozen():
        replicas.primary  # noqa: B018 - waits for another one


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


def check_stored(behind: Any, workers: list[Worker], how: Any) -> int:
    """What was acknowledged is there, and nothing was done twice; gives how much `w: 1` lost.

    What one member alone has acknowledged may die with it, with any driver.
    """
    stored = {each["_id"] for each in behind["load"].find({}, {"_id": 1})}
    lost = 0
    for worker in workers:
        missing = len(set(worker.acknowledged) - stored)
        counted = behind["counts"].find_one({"_id": worker.name})["n"]
        assert counted <= worker.tried
        if how is not step_down and worker.name.endswith("one"):
            lost += missing + max(0, worker.steps - counted)
        else:
            assert missing == 0
            assert worker.steps <= counted
            assert worker.errors or counted == worker.tried
    behind["load"].drop()
    behind["counts"].drop()
    return lost


@pytest.mark.parametrize("how", [step_down, kill, freeze])
def test_nothing_is_lost_or_done_twice(front: Front, measured: Any, how: Any) -> None:
    on, off = strike(front, front.proxy.uris["shop"], how)
    with front.proxy.client("shop") as client:
        lost = check_stored(client.shop, [*on, *off], how)
    seen = codes([error for worker in off for error in worker.errors])
    rounds = sum(worker.rounds for worker in [*on, *off])
    what = f"{how.__name__} x{TIMES}, {rounds} rounds"
    slowest = max(worker.slowest for worker in [*on, *off])
    measured(
        f"{what}: driver's retries off {dict(seen)}; lost by w: 1 {lost}; slowest {slowest:.1f} s"
    )
    # With the driver's retries: nothing at all. Without: only what nobody can know.
    assert [worker.errors for worker in on] == [[], []]
    allowed = UNKNOWN if how is step_down else UNKNOWN | {LOST_CONNECTION}
    assert {code for _, code in seen} <= allowed
    assert sum(seen.values()) <= TIMES * len(off)


@pytest.mark.parametrize("last", ["a statement", "commit"])
def test_a_transaction_is_told_to_begin_again(front: Front, name: str, last: str) -> None:
    with front.proxy.client("shop") as client, client.start_session() as session:
        things = client.shop[name]
        things.insert_one({"_id": 0})
        session.start_transaction()
        things.insert_one({"_id": 1}, session=session)
        front.replicas.step_down()
        front.replicas.settle()
        go_on = {
            "commit": session.commit_transaction,
            "a statement": lambda: things.insert_one({"_id": 2}, session=session),
        }
        with pytest.raises(PyMongoError) as caught:
            go_on[last]()
        assert caught.value.has_error_label("TransientTransactionError")
        assert [each["_id"] for each in things.find()] == [0]


def test_a_transaction_is_repeated_by_the_driver(front: Front, name: str) -> None:
    tries = []
    with front.proxy.client("shop") as client, client.start_session() as session:
        things = client.shop[name]

        def work(inner: Any) -> None:
            things.insert_one({"_id": 1}, session=inner)
            tries.append(1)
            if len(tries) == 1:
                front.replicas.step_down()
            things.insert_one({"_id": 2}, session=inner)

        session.with_transaction(work)
        assert [each["_id"] for each in things.find(sort=[("_id", 1)])] == [1, 2]
    assert len(tries) > 1


def test_a_cursor_ends_with_its_member(front: Front, name: str) -> None:
    with front.proxy.client("shop") as client:
        things = client.shop[name]
        things.insert_many([{"_id": number} for number in range(100)])
        cursor = things.find(batch_size=10)
        first = [next(cursor)["_id"] for _ in range(10)]
        kill(front.replicas)
        with pytest.raises(PyMongoError):
            list(cursor)
        assert first == list(range(10))
        assert things.count_documents({}) == 100
    front.replicas.settle()


@pytest.mark.skipif(not config.SEARCH, reason="MDB_TEST_SEARCH is not set: for comparison only")
@pytest.mark.parametrize("how", [step_down, kill, freeze])
def test_the_same_without_a_proxy(front: Front, measured: Any, how: Any) -> None:
    on, off = strike(front, front.replicas.uri.replace("/?", "/direct?"), how)
    with front.replicas.client() as client:
        lost = check_stored(client["direct"], [*on, *off], how)
    for kind, workers in (("on", on), ("off", off)):
        seen = codes([error for worker in workers for error in worker.errors])
        what = f"without a proxy, {how.__name__} x{TIMES}"
        measured(f"{what}: driver's retries {kind} {dict(seen)}; lost by w: 1 {lost}")
