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


class Reloads:
    """How often the manifests were read again, and when it worked last."""

    def __init__(self, registry: CollectorRegistry, now: float) -> None:
        name = "mdb_proxy_manifest_reloads"
        self._count = Counter(name, "Manifest reloads.", ("outcome",), registry=registry)
        name = "mdb_proxy_manifest_last_reload_timestamp_seconds"
        self._last = Gauge(name, "When the manifests were read.", registry=registry)
        self._last.set(now)

    def note(self, outcome: str, now: float) -> None:
        """One more; `now` in seconds since 1970."""
        self._count.labels(outcome).inc()
        if outcome == OK:
            self._last.set(now)


Look = tuple[Callable[[str], int], Callable[[str], int]]


class Metrics:
    """The proxy's numbers, in a registry of their own.

    In a process that is told so (PROMETHEUS_MULTIPROC_DIR) the values live in files, of which
    another process makes the page.
    """

    def __init__(self, apps: Collection[str] = ()) -> None:
        self._apps = frozenset(apps)
        self.registry = CollectorRegistry()
        # A label's child is looked up once: that costs more than to count.
        self._kept: dict[tuple[Any, ...], Any] = {}
        self._commands = self._made(Counter, "commands", "app", "command", "outcome")
        self._blocked = self._made(Counter, "blocked", "app", "reason")
        self._attempts = self._made(Counter, "auth_attempts", "mechanism", "outcome")
        self._connections = self._made(Gauge, "client_connections", "app")
        self._cursors = self._made(Gauge, "cursors_open", "app")
        self._suspensions = self._made(Counter, "suspensions", "app")
        self._indexes = self._made(Counter, "auto_indexes", "app", "outcome")
        self._look: Look | None = None
        self._seconds = Histogram(
            "mdb_proxy_command_duration_seconds",
            "From a command to its answer.",
            ("app", "command"),
            registry=self.registry,
            buckets=BUCKETS,
        )

    def _made(self, kind: type[Any], name: str, *labels: str) -> Any:
        text = f"{name.replace('_', ' ').capitalize()}."
        # Of several processes the living ones are added up.
        mode = {"multiprocess_mode": "livesum"} if kind is Gauge else {}
        return kind(f"mdb_proxy_{name}", text, labels, registry=self.registry, **mode)

    def know(self, apps: Collection[str]) -> None:
        """These apps have a label from now on; those before them keep theirs."""
        if not self._apps.issuperset(apps):
            self._apps = self._apps.union(apps)

    def command(self, app: str, name: str, outcome: str, seconds: float) -> None:
        """One command is done."""
        app, name = self._app(app), name if name in NAMES else OTHER
        self._child(self._commands, app, name, outcome).inc()
        self._child(self._seconds, app, name).observe(seconds)

    def refusal(self, app: str, code: int) -> None:
        """Our rules refused a command."""
        self._child(self._blocked, self._app(app), REASONS.get(code, OTHER)).inc()

    def suspended(self, app: str) -> None:
        """An app has a command that does not end."""
        self._child(self._suspensions, self._app(app)).inc()

    def indexed(self, app: str, outcome: str) -> None:
        """Something became of an automatic index."""
        self._child(self._indexes, self._app(app), outcome).inc()

    def attempt(self, mechanism: str, code: int) -> None:
        """Somebody tried to log in; 0 is a success."""
        known = mechanism if mechanism in MECHANISMS else OTHER
        self._child(self._attempts, known, REASONS.get(code, OTHER) if code else OK).inc()

    def watch(self, connections: Callable[[str], int], cursors: Callable[[str], int]) -> None:
        """Ask these for an app's numbers whenever somebody looks, from whatever thread."""
        self._look = (connections, cursors)

    def look(self) -> None:
        """Bring up to date what is asked for."""
        if self._look is None:
            return
        connections, cursors = self._look
        for app in (*self._apps, UNKNOWN_APP):
            self._child(self._connections, app).set(connections(app))
        for app in self._apps:
            self._child(self._cursors, app).set(cursors(app))

    def page(self) -> bytes:
        """All numbers, as Prometheus reads them."""
        self.look()
        return generate_latest(self.registry)

    def _app(self, app: str) -> str:
        return app if app in self._apps else UNKNOWN_APP

    def _child(self, family: Any, *labels: str) -> Any:
        key = (family, *labels)
        child = self._kept.get(key)
        if child is None:
            child = self._kept[key] = family.labels(*labels)
        return child
