"""What is counted. Every label value comes from a table: no client can make up a new one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mdb_engine.exceptions import RefusedError
from mdb_engine.scope.commands import ALIASES, COMMANDS
from mdb_proxy.auth import MECHANISMS
from mdb_proxy.local import ELSEWHERE, LOCAL

BUCKETS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Seconds."""

UNKNOWN_APP: Final = "_unknown"
OTHER: Final = "other"
NAMES: Final = frozenset({*COMMANDS, *ALIASES, *LOCAL, *ELSEWHERE})
REASONS: Final = {error.code: error.code_name for error in RefusedError.__subclasses__()}

OK: Final = "ok"
ERROR: Final = "error"
REFUSED: Final = "refused"
FAILED: Final = "failed"
"""Outcomes: it worked; the cluster said no; our rules did; the cluster did not answer."""


class Metrics:
    """The proxy's numbers, in a registry of their own."""

    def __init__(self, apps: Collection[str] = ()) -> None:
        self._apps = frozenset(apps)
        self._registry = CollectorRegistry()
        # A label's child is looked up once: that costs more than to count.
        self._kept: dict[tuple[Any, ...], Any] = {}
        self._commands = self._made(Counter, "commands", "app", "command", "outcome")
        self._blocked = self._made(Counter, "blocked", "app", "reason")
        self._attempts = self._made(Counter, "auth_attempts", "mechanism", "outcome")
        self._connections = self._made(Gauge, "client_connections", "app")
        self._cursors = self._made(Gauge, "cursors_open", "app")
        self._seconds = Histogram(
            "mdb_proxy_command_duration_seconds",
            "From a command to its answer.",
            ("app", "command"),
            registry=self._registry,
            buckets=BUCKETS,
        )

    def _made(self, kind: type[Any], name: str, *labels: str) -> Any:
        text = f"{name.replace('_', ' ').capitalize()}."
        return kind(f"mdb_proxy_{name}", text, labels, registry=self._registry)

    def command(self, app: str, name: str, outcome: str, seconds: float) -> None:
        """One command is done."""
        app, name = self._app(app), name if name in NAMES else OTHER
        self._child(self._commands, app, name, outcome).inc()
        self._child(self._seconds, app, name).observe(seconds)

    def refusal(self, app: str, code: int) -> None:
        """Our rules refused a command."""
        self._child(self._blocked, self._app(app), REASONS.get(code, OTHER)).inc()

    def attempt(self, mechanism: str, code: int) -> None:
        """Somebody tried to log in; 0 is a success."""
        known = mechanism if mechanism in MECHANISMS else OTHER
        self._child(self._attempts, known, REASONS.get(code, OTHER) if code else OK).inc()

    def watch(self, connections: Callable[[str], int], cursors: Callable[[str], int]) -> None:
        """Ask these for an app's numbers whenever the page is read, from whatever thread."""
        for app in (*self._apps, UNKNOWN_APP):
            self._connections.labels(app).set_function(_asking(connections, app))
        for app in self._apps:
            self._cursors.labels(app).set_function(_asking(cursors, app))

    def page(self) -> bytes:
        """All numbers, as Prometheus reads them."""
        return generate_latest(self._registry)

    def _app(self, app: str) -> str:
        return app if app in self._apps else UNKNOWN_APP

    def _child(self, family: Any, *labels: str) -> Any:
        key = (family, *labels)
        child = self._kept.get(key)
        if child is None:
            child = self._kept[key] = family.labels(*labels)
        return child


def _asking(numbers: Callable[[str], int], app: str) -> Callable[[], float]:
    return lambda: float(numbers(app))
