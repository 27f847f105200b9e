"""How much of this process one app may use at a time: commands in flight, requests per second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from math import inf
from typing import Final

from mdb_engine.exceptions import OverloadedError
from mdb_engine.scope.holdings import TRY_AGAIN
from mdb_engine.scope.model import Limits

OVERDUE_SECONDS: Final = 10.0
"""How much longer than allowed a command may take before its app is suspended."""

SEARCHES_PER_SECOND: Final = 20
"""For cursors that nobody on this host knows; each may cost a question to every member."""

SHARED: Final = (
    "max_change_streams",
    "max_connections",
    "max_cursors",
    "max_in_flight",
    "max_sessions",
    "max_transactions",
)
"""Limits of which each process counts its own part."""


def shared(limits: Limits, workers: int) -> Limits:
    """The part of one of several processes in what an app may hold or ask at a time.

    Nothing becomes nothing: a limit of one is one in every process.
    """
    parts = {name: max(1, getattr(limits, name) // workers) for name in SHARED}
    rate, burst = limits.requests_per_second, limits.burst
    return replace(
        limits,
        **parts,
        requests_per_second=None if rate is None else rate / workers,
        burst=None if burst is None else max(1, burst // workers),
    )


class Quotas:
    """Counters by app; nothing is kept of an app that is at rest."""

    def __init__(self) -> None:
        self._flying: Counter[str] = Counter()
        self._ends: dict[int, tuple[str, float]] = {}
        self._late: dict[int, str] = {}
        self._numbers = count()
        self._buckets: dict[str, tuple[float, float]] = {}
        self._searches: dict[str, tuple[float, int]] = {}

    @contextmanager
    def flight(self, app: str, most: int, end: float = inf) -> Iterator[None]:
        """One command on its way to the cluster, which must be back at `end` (seconds).

        Raises:
            OverloadedError: the app has `most` of them already.
        """
        if self._flying[app] >= most:
            raise OverloadedError(TRY_AGAIN)
        self._flying[app] += 1
        number = next(self._numbers)
        self._ends[number] = (app, end)
        try:
            yield
        finally:
            self._ends.pop(number, None)
            self._late.pop(number, None)
            self._flying[app] -= 1
            if not self._flying[app]:
                del self._flying[app]

    def overdue(self, now: float) -> list[str]:
        """Apps with a command that the cluster works on long after its time was over.

        Each is told once, and suspended until the command ends. Some work cannot be interrupted
        (one expression over one large document, planning; 6.0.5), and it is everybody's server.
        """
        found = {n: app for n, (app, end) in self._ends.items() if now > end + OVERDUE_SECONDS}
        for number in found:
            del self._ends[number]
        self._late |= found
        return sorted(set(found.values()))

    def spend(self, app: str, limits: Limits, now: float) -> None:
        """One request out of the app's token bucket; `now` in seconds.

        Raises:
            OverloadedError: the bucket is empty, or the app is suspended.
        """
        if self._late and app in self._late.values():
            raise OverloadedError(TRY_AGAIN)
        rate = limits.requests_per_second
        if rate is None:
            return
        size = float(limits.burst or max(1.0, rate))
        left, since = self._buckets.get(app, (size, now))
        left = min(size, left + (now - since) * rate)
        if left < 1.0:
            self._buckets[app] = (left, now)
            raise OverloadedError(TRY_AGAIN)
        self._buckets[app] = (left - 1.0, now)

    def search(self, app: str, now: float) -> bool:
        """Whether an app may have the members asked for a cursor once more; `now` in seconds."""
        since, count = self._searches.get(app, (now, 0))
        if now - since >= 1.0:
            since, count = now, 0
        self._searches[app] = (since, count + 1)
        return count < SEARCHES_PER_SECOND

    def in_flight(self, app: str) -> int:
        """Commands of an app that are on their way."""
        return self._flying.get(app, 0)
