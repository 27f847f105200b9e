"""From the settings to a port that serves, and to its end: the proxy as one process."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import Counter, defaultdict
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

import structlog

from mdb_engine.background import end
from mdb_engine.indexes.traffic import OFF, Traffic
from mdb_engine.manifest import load_folder
from mdb_engine.scope.model import Scope
from mdb_proxy.admin import Watch, admin_app, serving
from mdb_proxy.behind import UNKNOWN, Arrival, Behind, connected
from mdb_proxy.bounds import Bounds
from mdb_proxy.config import ProxySettings, format_address, parse_address
from mdb_proxy.cursors import Cursors, Sessions
from mdb_proxy.listeners import Listening
from mdb_proxy.metrics import Metrics, Reloads
from mdb_proxy.porters import Plan as Wanted
from mdb_proxy.porters import Porters
from mdb_proxy.reload import Household, Source, make_indexes, read_again, reload_at
from mdb_proxy.server import Asker, Exchanger, Listener, nobody
from mdb_proxy.session import Tools
from mdb_proxy.sweep import sweep
from mdb_proxy.throttles import Throttle

ALIVE_SECONDS: Final = 2.0
"""How long the event loop may take to answer before it counts as stuck."""

log = structlog.get_logger("mdb_proxy.startup")


@dataclass(frozen=True, slots=True)
class Ready:
    """Where the proxy listens and whom it serves.

    Attributes:
        host, port: of its first listener; the path and 0 for a Unix socket.
        homes: slug -> first home database. names: of all listeners.
    """

    host: str
    port: int
    slugs: tuple[str, ...]
    homes: Mapping[str, str]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is asked of a running proxy, from outside: to stop, to read its manifests again."""

    stop: asyncio.Event
    again: asyncio.Event


@asynccontextmanager
async def tasks() -> AsyncIterator[asyncio.TaskGroup]:
    """A TaskGroup whose only error comes out as it is, not as a group of one."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        if len(errors.exceptions) > 1:
            raise
        raise errors.exceptions[0] from None


async def until_ready(
    work: Callable[[Callable[[Ready], None]], Coroutine[Any, Any, None]],
    ready: Callable[[Ready], None],
    stop: asyncio.Event,
) -> None:
    """Run `work(ready)`; end it when `stop` is set before it was ready, later it ends by itself."""
    listening = asyncio.Event()

    def tell(now: Ready) -> None:
        listening.set()
        ready(now)

    async def abandon(job: asyncio.Task[None]) -> None:
        await stop.wait()
        if not listening.is_set():
            await end([job])

    async with tasks() as group:
        job = group.create_task(work(tell))
        watch = group.create_task(abandon(job))
        job.add_done_callback(lambda _: watch.cancel())


async def serve(
    settings: ProxySettings,
    *,
    ready: Callable[[Ready], None],
    stop: asyncio.Event,
    again: asyncio.Event | None = None,
) -> None:
    """Serve clients until `stop` is set; also when that happens before anybody is served.

    When `again` is set the manifests are read again.

    Raises:
        ConfigurationError, ManifestValidationError, InitializationError, OSError: it could not
            start; nothing is left behind.
    """
    wishes = Wishes(stop, again or asyncio.Event())
    await until_ready(lambda tell: _serve(settings, tell, wishes), ready, stop)


async def _serve(settings: ProxySettings, ready: Callable[[Ready], None], wishes: Wishes) -> None:
    manifests = load_folder(settings.manifests)
    source = Source(settings.manifests, settings.settle_seconds, settings.apply_indexes)
    porters = Porters(Wanted(settings.listening, settings.bounds))
    ports = Ports(porters, parse_address(settings.admin) if settings.admin else None)
    async with connected(settings.mongo_uri.get_secret_value(), settings.db_name) as behind:
        first = address_of(settings.listening[0])
        household = Household(
            behind.database, manifests, UNKNOWN, first, entrances=settings.entrances
        )
        arrival = Arrival(lambda: begin(behind, household, source))
        await arrival.attempt()
        async with tasks() as group:
            later = group.create_task(tidy(arrival, household))
            try:
                await listen(House(household, behind.upstream, ports, source), ready, wishes)
            finally:
                await end([later])


async def begin(behind: Behind, household: Household, source: Source) -> None:
    """What is done with the cluster before anybody is served: register, read, make indexes.

    Raises:
        ManifestValidationError: a slug or a home name cannot be had. Others: as `Behind.meet`.
    """
    household.cluster = await behind.meet()
    await household.open(source.settle)
    if source.indexes:
        await make_indexes(household.database, household.manifests.values())


async def tidy(
    arrival: Arrival, household: Household, arrived: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Wait for the cluster, tell that it is there, then sweep it every now and then."""
    await arrival.complete()
    if arrived is not None:
        await arrived()
    await sweep(household.database, lambda: household.manifests)


@dataclass(frozen=True, slots=True)
class Ports:
    """Where to listen: for clients, and for operators when they want it."""

    porters: Porters
    admin: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class House:
    """What one process serves: whom, from what, where, and where the manifests come from."""

    household: Household
    upstream: Exchanger
    ports: Ports
    source: Source


async def listen(house: House, ready: Callable[[Ready], None], wishes: Wishes) -> None:
    """Serve the ports until it is wished to stop."""
    household = house.household
    async with tasks() as group:
        bounds = house.ports.porters.plan.bounds
        listener = new_listener(household, house.upstream, group, bounds=bounds)
        reloads = Reloads(listener.metrics.registry, time.time())
        with admin_port(house.ports.admin, _watch(household, listener)):
            async with open_port(listener, household, house.ports.porters) as now:
                work = group.create_task(
                    reload_at(wishes.again, lambda: _reload(house), reloads.note)
                )
                try:
                    ready(now)
                    await wishes.stop.wait()
                finally:
                    await end([work])
    log.info("proxy.stopped")


async def _reload(house: House) -> int:
    await house.household.opened.wait()
    contexts = await asyncio.to_thread(house.ports.porters.prepared)
    plan = await read_again(house.household, house.source)
    house.household.swap(plan)
    house.ports.porters.swap(contexts)
    return len(plan.directory.scopes)


def new_listener(
    household: Household,
    upstream: Exchanger,
    group: asyncio.TaskGroup,
    peers: Asker = nobody,
    bounds: Bounds | None = None,
) -> Listener:
    """A listener that nobody has come to yet; it hears of every new directory."""
    apps: Counter[str] = Counter()
    metrics = Metrics(household.manifests)
    building: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
    traffic = _traffic(household, metrics, building)
    bounds = bounds or Bounds()
    tools = Tools(
        directory=lambda: household.current,
        cursors=Cursors(),
        sessions=Sessions(),
        now=lambda: datetime.now(UTC),
        tick=time.monotonic,
        random=secrets.token_bytes,
        started=datetime.now(UTC),
        clients=lambda app: apps.get(app, 0),
        peers=peers is not nobody,
        saw=traffic.saw,
        members=lambda: upstream.members,
        throttle=Throttle(bounds.login_failures, bounds.login_failures_per_second),
        service=secrets.token_bytes(12),
    )
    metrics.built(version("mdb-engine"))
    listener = Listener(
        tools,
        upstream,
        group,
        apps,
        metrics,
        peers=peers,
        bounds=bounds,
        building=building,
        traffic=traffic,
    )
    transactions = tools.sessions.open_transactions
    listener.metrics.watch(listener.connections, tools.cursors.count, transactions)
    metrics.watch_backends(lambda: upstream.backends)
    tools.throttle.heard = listener.metrics.throttled
    household.changed = listener.changed
    if not household.current.unread:
        listener.read.set()
    household.yielding = lambda: listener.yielding > 0
    return listener


def _traffic(
    household: Household, metrics: Metrics, building: defaultdict[str, asyncio.Lock]
) -> Traffic:
    """What watches the apps' queries for indexes that would serve them."""

    def mode(app: str) -> str:
        manifest = household.manifests.get(app)
        return OFF if manifest is None else manifest.proxy.auto_index

    def scope(app: str) -> Scope | None:
        return household.current.scopes.get(app)

    locks = building.__getitem__
    return Traffic(household.database, scope, mode, metrics.indexed, locks)


@contextmanager
def admin_port(address: tuple[str, int] | None, watch: Watch) -> Iterator[None]:
    """Serve the admin pages while the block runs, if they are wanted."""
    if address is None:
        yield
        return
    with serving(address, admin_app(watch)) as found:
        log.info("admin.listening", address=format_address(*found))
        yield


@asynccontextmanager
async def open_port(
    listener: Listener, household: Household, porters: Porters
) -> AsyncIterator[Ready]:
    """Take clients in while the block runs, then see them off."""
    working: list[asyncio.Task[None]] = []
    try:
        with porters.open(listener) as found:
            works = (household.follow(), household.tend(), listener.watch())
            working += [listener.group.create_task(work) for work in works]
            yield _ready(household, found)
    finally:
        await listener.drain()
        await end(working)
        if listener.traffic is not None:
            await listener.traffic.close()
        await household.leave()


def _ready(household: Household, found: Sequence[Listening]) -> Ready:
    household.moved(address_of(found[0]))
    scopes = household.current.scopes
    log.info("proxy.listening", address=[each.name for each in found], apps=len(scopes))
    return ready_at(found, scopes)


def address_of(listening: Listening) -> str:
    """What apps are told of where they are."""
    return listening.path or format_address(listening.host, listening.port)


def ready_at(listeners: Sequence[Listening], scopes: Mapping[str, Scope]) -> Ready:
    """What is told of a proxy that listens."""
    homes = {slug: scope.home[0] for slug, scope in scopes.items()}
    first, names = listeners[0], tuple(each.name for each in listeners)
    return Ready(first.host or first.path, first.port, tuple(homes), homes, names)


def answers(loop: asyncio.AbstractEventLoop) -> Callable[[], bool]:
    """Whether a loop still answers, asked from another thread."""

    def alive() -> bool:
        answered = threading.Event()
        loop.call_soon_threadsafe(answered.set)
        return answered.wait(ALIVE_SECONDS)

    return alive


def checks(household: Household, listener: Listener) -> dict[str, bool]:
    """What must hold before clients are sent to a process."""
    return {
        "primary": household.has_primary,
        "versions": household.recent,
        "stores": not (household.stale or household.current.unread),
        "apps": bool(household.current.scopes),
        "serving": not listener.stopping,
    }


def numbers(household: Household, listener: Listener) -> dict[str, int | str]:
    """What else is worth knowing of a process."""
    return {
        "apps": len(household.current.scopes),
        "connections": len(listener.clients),
        "cursors": listener.tools.cursors.total,
        "sessions": listener.tools.sessions.total,
        "cluster": household.cluster.version,
    }


def _watch(household: Household, listener: Listener) -> Watch:
    """What the admin pages may ask."""
    return Watch(
        answers(asyncio.get_running_loop()),
        lambda: checks(household, listener),
        lambda: numbers(household, listener),
        listener.metrics.page,
    )
