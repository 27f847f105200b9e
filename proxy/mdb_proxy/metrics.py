"""What is counted. Every label value comes from a table: no client can make up a new one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mdb_engine.exceptions import RefusedError
from mdb_engine.scope.commands import ALIASES, COMMANDS
from mdb_proxy.auth import MECHANISMS
from mdb_proxy.decisions import Backend
from mdb_proxy.local import ELSEWHERE, LOCAL

BUCKETS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Seconds."""

GONE: Final = Backend(up=False)
SIZES: Final = (0, 1, 10, 100, 1_000, 10_000)
"""Documents."""

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


Number = Callable[[str], int]
"""Something of an app."""


def _zero(_app: str) -> int:
    return 0


class Metrics:
    """The proxy's numbers, in a registry of their own.

    In a process that is told so (PROMETHEUS_MULTIPROC_DIR) the values live in files, of which
    another process makes the page.
    """

    def __init__(self, apps: Collection[str] = ()) -> None:
        self._apps = frozenset(apps)
        # A label's child is looked up once: that costs more than to count.
        self.registry, self._kept = CollectorRegistry(), dict[tuple[Any, ...], Any]()
        self._commands = self._made(Counter, "commands", "app", "command", "outcome")
        self._blocked = self._made(Counter, "blocked", "app", "reason")
        self._attempts = self._made(Counter, "auth_attempts", "mechanism", "outcome")
        self._connections = self._made(Gauge, "client_connections", "app")
        self._cursors = self._made(Gauge, "cursors_open", "app")
        self._suspensions = self._made(Counter, "suspensions", "app")
        self._indexes = self._made(Counter, "auto_indexes", "app", "outcome")
        self._unreadable = Gauge(
            "mdb_proxy_unreadable_credentials",
            "Stored documents that are no credentials.",
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self._came = self._made(Counter, "arrivals", "listener", "outcome")
        self._inside = self._made(Gauge, "listener_connections", "listener")
        self._dropped = self._made(Counter, "clients_dropped", "reason")
        self._malformed = self._made(Counter, "decoding_errors")
        self._throttled = self._made(Counter, "throttled_logins")
        self._received = self._made(Counter, "request_bytes", "app")
        self._sent = self._made(Counter, "response_bytes", "app")
        self._build = self._made(Gauge, "build_info", "version", mode="livemax")
        self._transactions = self._made(Gauge, "transactions_open", "app")
        self._up = self._made(Gauge, "backend_up", "backend", mode="livemin")
        self._pools = self._made(Gauge, "backend_pool_connections", "backend", "state")
        self._behind = self._timed("backend_duration", "The cluster's share of it.", "command")
        self._waits, self._overhead, self._returned = self._histograms()
        self._limited = self._made(Counter, "limited", "app", "limit")
        self._members: set[str] = set()
        self._backends: Callable[[], Mapping[str, Backend]] = dict
        self._look: tuple[tuple[Any, Number], ...] = ()
        self._connected: Number = _zero
        self._seconds = self._timed("command_duration", "To its answer.", "app", "command")

    def _timed(self, name: str, text: str, *labels: str) -> Histogram:
        name = f"mdb_proxy_{name}_seconds"
        return Histogram(name, text, labels, registry=self.registry, buckets=BUCKETS)

    def _histograms(self) -> tuple[Histogram, Histogram, Histogram]:
        name, text = "mdb_proxy_returned_documents", "Documents of a batch."
        return (
            self._timed("backend_pool_wait", "For a connection to the cluster."),
            self._timed("overhead", "What a command took beside the cluster's share of it."),
            Histogram(name, text, ("app",), registry=self.registry, buckets=SIZES),
        )

    def _made(self, kind: type[Any], name: str, *labels: str, mode: str = "livesum") -> Any:
        text = f"{name.replace('_', ' ').capitalize()}."
        # Of several processes the living ones are added up.
        more = {"multiprocess_mode": mode} if kind is Gauge else {}
        return kind(f"mdb_proxy_{name}", text, labels, registry=self.registry, **more)

    def built(self, version: str) -> None:
        """Say which version this is."""
        self._child(self._build, version).set(1)

    def know(self, apps: Collection[str]) -> None:
        """These apps have a label from now on; those before them keep theirs."""
        if not self._apps.issuperset(apps):
            self._apps = self._apps.union(apps)

    def command(self, app: str, name: str, outcome: str, seconds: float) -> None:
        """One command is done."""
        app, name = self._app(app), name if name in NAMES else OTHER
        self._child(self._commands, app, name, outcome).inc()
        self._child(self._seconds, app, name).observe(seconds)

    def answered(self, name: str, seconds: float, waited: float = 0.0) -> None:
        """The cluster has answered a command of ours, which had waited for a connection."""
        self._child(self._behind, name if name in NAMES else OTHER).observe(seconds)
        self._waits.observe(waited)

    def own(self, seconds: float) -> None:
        """What a command took beside the cluster's share of it."""
        self._overhead.observe(max(0.0, seconds))

    def limited(self, app: str, limits: Iterable[str]) -> None:
        """These limits were applied to a command."""
        for limit in limits:
            self._child(self._limited, self._app(app), limit).inc()

    def returned(self, app: str, documents: int) -> None:
        """A batch of so many documents was read."""
        self._child(self._returned, self._app(app)).observe(documents)

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

    def unreadable(self, documents: int) -> None:
        """So many documents among the credentials are none."""
        self._unreadable.set(documents)

    def throttled(self) -> None:
        """A login was not looked at, because others before it failed."""
        self._throttled.inc()

    def arrived(self, listener: str, outcome: str, inside: int) -> None:
        """Somebody came to a listener and was let in (OK) or not; so many are inside now."""
        self._child(self._came, listener, outcome).inc()
        self.inside(listener, inside)

    def inside(self, listener: str, count: int) -> None:
        """So many came by a listener and have not left."""
        self._child(self._inside, listener).set(count)

    def dropped(self, reason: str) -> None:
        """We closed a connection because of the time that it took; `reason` from a table."""
        self._child(self._dropped, reason).inc()

    def malformed(self) -> None:
        """What a client sent was not the protocol."""
        self._malformed.inc()

    def moved(self, app: str, received: int, sent: int) -> None:
        """A message and its answer, in bytes."""
        app = self._app(app)
        self._child(self._received, app).inc(received)
        self._child(self._sent, app).inc(sent)

    def watch(self, connections: Number, cursors: Number, transactions: Number = _zero) -> None:
        """Ask these for an app's numbers whenever somebody looks, from whatever thread."""
        self._connected = connections
        self._look = (
            (self._connections, connections),
            (self._cursors, cursors),
            (self._transactions, transactions),
        )

    def watch_backends(self, backends: Callable[[], Mapping[str, Backend]]) -> None:
        """Ask this for the cluster's members whenever somebody looks."""
        self._backends = backends

    def look(self) -> None:
        """Bring up to date what is asked for."""
        now = dict(self._backends())
        self._members |= now.keys()
        for name, backend in (dict.fromkeys(self._members, GONE) | now).items():
            self._child(self._up, name).set(backend.up)
            self._child(self._pools, name, "busy").set(backend.busy)
            self._child(self._pools, name, "open").set(backend.connections)
        for family, number in self._look:
            for app in self._apps:
                self._child(family, app).set(number(app))
        if self._look:
            self._child(self._connections, UNKNOWN_APP).set(self._connected(UNKNOWN_APP))

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
