"""What apps do through the engine: counted, timed, and for Prometheus."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from mdb_engine.exceptions import RefusedError

RECENT: Final = 1_000
"""Durations that are kept of each operation, for the 95th percentile."""

log = structlog.get_logger("mdb_engine.operations")


class Observer(Protocol):
    """Who is told of what handles do."""

    def refused(self, slug: str, command: str, error: RefusedError) -> None:
        """A command was refused."""

    def done(self, slug: str, operation: str, seconds: float, *, failed: bool) -> None:
        """An operation came to its end."""

    def capped(self, slug: str, limit: str) -> None:
        """A limit was applied."""

    def saw(self, command: Mapping[str, Any]) -> None:
        """A logical command is about to be sent."""


@dataclass(slots=True)
class Tally:
    """One operation's numbers; durations in seconds."""

    count: int = 0
    errors: int = 0
    total: float = 0.0
    slowest: float = 0.0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def add(self, seconds: float, *, failed: bool) -> None:
        """Count one more."""
        self.count += 1
        self.errors += failed
        self.total += seconds
        self.slowest = max(self.slowest, seconds)
        self.recent.append(seconds)

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
        self._tallies: dict[str, Tally] = {}
        self.registry = CollectorRegistry()
        self._seconds = Histogram(
            "mdb_engine_operation_seconds", "Time of operations",
            ["app", "operation"], registry=self.registry,
        )  # fmt: skip
        self._failed = Counter(
            "mdb_engine_operation_errors", "Operations that failed",
            ["app", "operation"], registry=self.registry,
        )  # fmt: skip
        self._blocked = Counter(
            "mdb_engine_blocked", "Commands that were refused",
            ["app", "reason"], registry=self.registry,
        )  # fmt: skip
        self._capped = Counter(
            "mdb_engine_capped", "Limits that were applied",
            ["app", "limit"], registry=self.registry,
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
        self._tallies.setdefault(operation, Tally()).add(seconds, failed=failed)
        self._seconds.labels(slug, operation).observe(seconds)
        if failed:
            self._failed.labels(slug, operation).inc()

    def capped(self, slug: str, limit: str) -> None:
        """Count a limit that was applied."""
        self._capped.labels(slug, limit).inc()

    def saw(self, command: Mapping[str, Any]) -> None:
        """Commands are only counted."""

    def granted(self, slug: str) -> None:
        """Count a handle that reads other apps because the code says so."""
        self._granted.labels(slug).inc()

    def summary(self) -> dict[str, Any]:
        """`{timestamp, total_operations, summary: {operation: {...}}}`."""
        return {
            "timestamp": self._now().isoformat(),
            "total_operations": sum(tally.count for tally in self._tallies.values()),
            "summary": {name: t.summary() for name, t in sorted(self._tallies.items())},
        }

    def prometheus(self) -> str:
        """The same for Prometheus."""
        return generate_latest(self.registry).decode()
