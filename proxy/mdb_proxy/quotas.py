"""How much of this process one app may use at a time: commands in flight, requests per second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from mdb_engine.exceptions import OverloadedError
from mdb_engine.scope.model import Limits

SHARED: Final = (
    "max_change_streams",
    "max_connections",
    "max_cursors",
    "max_in_flight",
    "max_sessions",
    "max_transactions",
)
"""Limits of which each process counts its own part."""

TRY_AGAIN: Final = "too many requests, try again"


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
        self._buckets: dict[str, tuple[float, float]] = {}

    @contextmanager
    def flight(self, app: str, most: int) -> Iterator[None]:
        """One command on its way to the cluster.

        Raises:
            OverloadedError: the app has `most` of them already.
        """
        if self._flying[app] >= most:
            raise OverloadedError(TRY_AGAIN)
        self._flying[app] += 1
        try:
            yield
        finally:
            self._flying[app] -= 1
            if not self._flying[app]:
                del self._flying[app]

    def spend(self, app: str, limits: Limits, now: float) -> None:
        """One request out of the app's token bucket; `now` in seconds.

        Raises:
            OverloadedError: the bucket is empty.
        """
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

    def in_flight(self, app: str) -> int:
        """Commands of an app that are on their way."""
        return self._flying.get(app, 0)
