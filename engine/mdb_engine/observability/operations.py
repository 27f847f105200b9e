"""What apps do through the engine: counted, timed, and for Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, Final, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric

from mdb_engine.exceptions import RefusedError

RECENT: Final = 1_000
"""Durations that are kept of each operation, for the 95th percentile."""

BOUNDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Upper bounds of the buckets, in seconds."""

log = structlog.get_logger("mdb_engine.operations")


class Observer(Protocol):
    """Who is told of what handles do."""

    def refused(self, slug: str, command: str, error: RefusedError) -> None:
        """A command was refused."""

    def done(self, slug: str, operation: str, seconds: float, *, failed: bool) -> None:
        """An operation came to its end."""

    def tally(self, slug: str, operation: str) -> Tally:
        """Where an operation's ends are counted; to be kept by who counts often."""

    def capped(self, slug: str, limit: str) -> None:
        """A limit was applied."""

    def indexed(self, slug: str, outcome: str) -> None:
        """An automatic index was created, suggested or dropped, or could not be."""

    def saw(self, command: Mapping[str, Any]) -> None:
        """A logical command is about to be sent."""

    def met(self, place: Any, condition: Mapping[str, Any], command: Mapping[str, Any]) -> None:
        """A plain filter (`scope.plain`) is about to be sent."""


@dataclass(slots=True)
class Tally:
    """One operation's numbers; durations in seconds.

    Attributes:
        buckets: how many took at most each of BOUNDS, and longer; not summed up.
    """

    count: int = 0
    errors: int = 0
    total: float = 0.0
    slowest: float = 0.0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    def add(self, seconds: float, failed: bool) -> None:
        """Count one more."""
        self.count += 1
        if failed:
            self.errors += 1
        self.total += seconds
        self.slowest = max(self.slowest, seconds)
        self.recent.append(seconds)
        self.buckets[bisect_left(BOUNDS, seconds)] += 1

    def join(self, other: Tally) -> None:
        """Add the numbers of another app's."""
        self.count += other.count
        self.errors += other.errors
        self.total += other.total
        self.slowest = max(self.slowest, other.slowest)
        self.recent.extend(other.recent)

    @property
    def histogram(self) -> list[tuple[str, int]]:
        """As Prometheus wants it: upper bound as text, how many took at most that."""
        bounds = [*map(str, BOUNDS), "+Inf"]
        return list(zip(bounds, accumulate(self.buckets), strict=True))

    def summary(self) -> dict[str, Any]:
        """`{count, errors, avg_ms, p95_ms, max_ms}`."""
        ranked = sorted(self.recent)
        late = ranked[min(len(ranked) - 1, int(len(ranked) * 0.95))] if ranked else 0.0
        return {
            "count": self.count,
            "errors": self.errors,
            "avg_ms": 1000 * self.total / self.count if self.count else 0.0,
            "p95_ms": 1000 * late,
            "max_ms": 1000 * self.slowest,
        }


class Operations:
    """All operations of one engine; its own registry, so that several engines can live."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._tallies: dict[tuple[str, str], Tally] = {}
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self._blocked = Counter(
            "mdb_engine_blocked", "Commands that were refused",
            ["app", "reason"], registry=self.registry,
        )  # fmt: skip
        self._capped = Counter(
            "mdb_engine_capped", "Limits that were applied",
            ["app", "limit"], registry=self.registry,
        )  # fmt: skip
        self._indexed = Counter(
            "mdb_engine_auto_indexes", "What became of automatic indexes",
            ["app", "outcome"], registry=self.registry,
        )  # fmt: skip
        self._granted = Counter(
            "mdb_engine_explicit_scopes", "Handles with read scopes that no manifest grants",
            ["app"], registry=self.registry,
        )  # fmt: skip

    def refused(self, slug: str, command: str, error: RefusedError) -> None:
        """Log and count a refusal: which rule and where, never a document."""
        log.warning("command.refused", slug=slug, command=command, code=error.code, at=error.at)
        self._blocked.labels(slug, error.code_name).inc()

    def done(self, slug: str, operation: str, seconds: float, *, failed: bool) -> None:
        """Count and time an operation."""
        self.tally(slug, operation).add(seconds, failed)

    def tally(self, slug: str, operation: str) -> Tally:
        """The numbers of an app's operation."""
        return self._tallies.setdefault((slug, operation), Tally())

    def collect(self) -> Iterator[Metric]:
        """What Prometheus is told of the tallies."""
        labels = ["app", "operation"]
        seconds = HistogramMetricFamily(
            "mdb_engine_operation_seconds", "Time of operations", labels=labels
        )
        failed = CounterMetricFamily(
            "mdb_engine_operation_errors", "Operations that failed", labels=labels
        )
        for key, tally in self._tallies.items():
            seconds.add_metric(key, buckets=tally.histogram, sum_value=tally.total)
            if tally.errors:
                failed.add_metric(key, tally.errors)
        yield from (seconds, failed)

    def capped(self, slug: str, limit: str) -> None:
        """Count a limit that was applied."""
        self._capped.labels(slug, limit).inc()

    def indexed(self, slug: str, outcome: str) -> None:
        """Count what became of an automatic index."""
        self._indexed.labels(slug, outcome).inc()

    def saw(self, command: Mapping[str, Any]) -> None:
        """Commands are only counted."""

    def met(self, place: Any, condition: Mapping[str, Any], command: Mapping[str, Any]) -> None:
        """Commands are only counted."""

    def granted(self, slug: str) -> None:
        """Count a handle that reads other apps because the code says so."""
        self._granted.labels(slug).inc()

    def summary(self) -> dict[str, Any]:
        """`{timestamp, total_operations, summary: {operation: {...}}}`, all apps together."""
        together: dict[str, Tally] = {}
        for (_, operation), tally in self._tallies.items():
            together.setdefault(operation, Tally()).join(tally)
        return {
            "timestamp": self._now().isoformat(),
            "total_operations": sum(tally.count for tally in together.values()),
            "summary": {name: t.summary() for name, t in sorted(together.items())},
        }

    def prometheus(self) -> str:
        """The same for Prometheus."""
        return generate_latest(self.registry).decode()
