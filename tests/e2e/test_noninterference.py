"""What an app is told does not depend on what others do: the same commands, others quiet and busy.

The workloads of test_differential.py; here every reply must be the same, field for field, without
any allowance.
"""

import random
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.support import config
from tests.support.bustle import LIMITS, bustle
from tests.support.cases import names_in
from tests.support.comparing import comparable, plain
from tests.support.laboratory import LAB, OTHERS, laboratory
from tests.support.lines import Line
from tests.support.proxies import Proxy
from tests.support.twins import Side, stem
from tests.support.workloads.commands import Step
from tests.support.workloads.dice import Dice
from tests.support.workloads.work import Work

LENGTH: Final = 120
SEEDS: Final = range(1, 1 + (max(config.PROVE // 1_000, 1) if config.PROVE else 2))
NAME: Final = stem()
UNORDERED: Final = frozenset({"$addToSet", "$graphLookup", "$group", "$setUnion"})
CURSOR: Final = re.compile(r"cursor -?\d+")
SHOWN: Final = re.compile(
    r"\{.*\}|\[.*\]|-?\d+(\.\d+)?|"
    r"\b(array|binData|bool|date|decimal|double|int|long|missing|null|object|objectId|regex|string|"
    r"timestamp)\b"
)
"""What an error shows of the one document that it stopped at: the whole, a value, its type."""


@pytest.fixture(scope="module")
def proxy(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Run a proxy whose other apps have narrow limits."""
    folder = tmp_path_factory.mktemp("noninterference")
    narrow = {slug: {"limits": LIMITS} for slug in OTHERS}
    with laboratory(mongo_uri, NAME, folder, **narrow) as running:
        yield running


class Observer:
    """The app that is watched."""

    def __init__(self, proxy: Proxy) -> None:
        self._side = Side(Line(proxy.uris[LAB]), NAME)
        self._unwatched = proxy.admin["e2e_unwatched"]

    def __enter__(self) -> "Observer":
        return self

    def __exit__(self, *_: object) -> None:
        self._side.line.close()

    def see(self, seed: int) -> Iterator[tuple[Step, bytes]]:
        """Give each step of a workload, and what is left of the reply to compare."""
        work = Work(Dice(random.Random(seed)))  # noqa: S311 - no secret
        transactions = {}
        try:
            for _ in range(LENGTH):
                step = work.next()
                reply = self._reply(step)
                if "autocommit" in step.command:
                    kept = {n: step.command[n] for n in ("lsid", "txnNumber", "autocommit")}
                    transactions[kept["lsid"]["id"].number] = kept
                yield step, comparable(reply, step.view)
                work.note(step, plain(reply))
        finally:
            self._side.reset(transactions.values())

    def _reply(self, step: Step) -> bytes:
        if "events" in step.command:
            ticked = self._unwatched.command({"insert": "tick", "documents": [{}]})
            return self._side.events(step, ticked["operationTime"])
        self._side.send(step)
        return self._side.receive(step)


def unsettled(step: Step, view: bytes) -> Any:
    """Give a reply without what the server itself settles anew each time: how it numbers cursors,
    and in which order some stages give what they found, also to a stage that fails (6.0.5)."""
    reply = plain(view)
    if UNORDERED.isdisjoint(names_in(step.command)):
        return CURSOR.sub("cursor", repr(reply))
    if "errmsg" in reply:
        return repr({**reply, "errmsg": SHOWN.sub("..", reply["errmsg"])})
    return _loose(reply)


def _loose(value: Any) -> str:
    if isinstance(value, dict):
        return repr({name: _loose(item) for name, item in value.items()})
    return repr(sorted(map(_loose, value)) if isinstance(value, list) else value)


@pytest.mark.parametrize("seed", SEEDS)
def test_others_are_not_noticed(proxy: Proxy, seed: int) -> None:
    with Observer(proxy) as observer:
        quiet = list(observer.see(seed))
    with bustle(proxy) as others, Observer(proxy) as observer:
        for expected, found in zip(quiet, observer.see(seed), strict=True):
            assert repr(found[0]) == repr(expected[0])  # a NaN equals nothing
            step, view = expected
            assert found[1] == view or unsettled(step, view) == unsettled(step, found[1]), (
                step.command, plain(view), plain(found[1]),
            )  # fmt: skip
    for other in others:
        assert other.done > other.refused > 0
