"""From the settings to a port that serves, and to its end: the proxy as one process."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from mdb_engine.exceptions import InitializationError
from mdb_engine.indexes.traffic import OFF, Traffic
from mdb_engine.manifest import load_folder
from mdb_engine.scope.model import Features, Scope
from mdb_proxy.admin import Watch, admin_app, serving
from mdb_proxy.config import ProxySettings, format_address, parse_address
from mdb_proxy.cursors import Cursors, Sessions
from mdb_proxy.metrics import Metrics, Reloads
from mdb_proxy.reload import Cluster, Household, Source, make_indexes, read_again, reload_at
from mdb_proxy.server import Asker, Exchanger, Listener, nobody
from mdb_proxy.session import Tools
from mdb_proxy.sweep import sweep
from mdb_proxy.upstream import PoolSettings, Upstream, open_upstream

APP_NAME: Final = "mdb-proxy"
SELECTION_SECONDS: Final = 10.0
MAX_WIRE_VERSION: Final = 17
"""The newest that the kernel knows (6.0): what later servers added is not in its tables."""

ALIVE_SECONDS: Final = 2.0
"""How long the event loop may take to answer before it counts as stuck."""

log = structlog.get_logger("mdb_proxy.startup")


@dataclass(frozen=True, slots=True)
class Ready:
    """Where the proxy listens and whom it serves; `homes`: slug -> first home database."""

    host: str
    port: int
    slugs: tuple[str, ...]
    homes: Mapping[str, str]


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
            job.cancel()

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
    ports = Ports(
        parse_address(settings.listen), parse_address(settings.admin) if settings.admin else None
    )
    async with connected(settings.mongo_uri.get_secret_value(), settings.db_name) as behind:
        household = Household(
            behind.database, manifests, behind.cluster, format_address(*ports.wire)
        )
        await household.open(source.settle)
        if source.indexes:
            await make_indexes(behind.database, manifests.values())
        async with tasks() as group:
            sweeper = group.create_task(sweep(behind.database, lambda: household.manifests))
            try:
                await listen(House(household, behind.upstream, ports, source), ready, wishes)
            finally:
                sweeper.cancel()


@dataclass(frozen=True, slots=True)
class Behind:
    """The cluster: for clients' commands, for our own, and what it says of itself."""

    upstream: Upstream
    database: AsyncDatabase[dict[str, Any]]
    cluster: Cluster


@asynccontextmanager
async def connected(uri: str, db_name: str) -> AsyncIterator[Behind]:
    """Connect to a cluster that is there and recent enough.

    Raises:
        ConfigurationError: the URI is not usable. InitializationError: no cluster, or an old one.
    """
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(
            open_upstream(
                uri,
                app_name=APP_NAME,
                pool=PoolSettings(),
                selection_timeout=SELECTION_SECONDS,
            )
        )
        await upstream.check()
        control: AsyncMongoClient[dict[str, Any]] = await stack.enter_async_context(
            AsyncMongoClient(uri, appname=APP_NAME, serverSelectionTimeoutMS=10_000)
        )
        yield Behind(upstream, control[db_name], await _cluster(control, upstream))


async def _cluster(control: AsyncMongoClient[dict[str, Any]], upstream: Upstream) -> Cluster:
    info = await control.server_info()
    features = upstream.features
    numbers = tuple(info["versionArray"][:2])
    if features.max_wire_version < MAX_WIRE_VERSION:
        msg = "the cluster must run MongoDB 6.0 or newer"
        raise InitializationError(msg)
    return Cluster(
        info["version"],
        min(features.max_wire_version, MAX_WIRE_VERSION),
        Features(version=(numbers[0], numbers[1]), standalone=features.standalone),
    )


@dataclass(frozen=True, slots=True)
class Ports:
    """Where to listen: for clients, and for operators when they want it."""

    wire: tuple[str, int]
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
        listener = new_listener(household, house.upstream, group)
        reloads = Reloads(listener.metrics.registry, time.time())
        with admin_port(house.ports.admin, _watch(household, listener)):
            async with open_port(listener, household, house.ports.wire) as now:
                work = group.create_task(
                    reload_at(wishes.again, lambda: _reload(house), reloads.note)
                )
                try:
                    ready(now)
                    await wishes.stop.wait()
                finally:
                    work.cancel()
    log.info("proxy.stopped")


async def _reload(house: House) -> int:
    plan = await read_again(house.household, house.source)
    house.household.swap(plan)
    return len(plan.directory.scopes)


def new_listener(
    household: Household, upstream: Exchanger, group: asyncio.TaskGroup, peers: Asker = nobody
) -> Listener:
    """A listener that nobody has come to yet; it hears of every new directory."""
    apps: Counter[str] = Counter()
    metrics = Metrics(household.manifests)
    building: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
    traffic = _traffic(household, metrics, building)
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
    )
    listener = Listener(
        tools, upstream, group, apps, metrics, peers, building=building, traffic=traffic
    )
    listener.metrics.watch(listener.connections, tools.cursors.count)
    household.changed = listener.changed
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
    listener: Listener, household: Household, wire: tuple[str, int], *, shared: bool = False
) -> AsyncIterator[Ready]:
    """Take clients in while the block runs, then see them off. `shared`: with other processes."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(listener.client, *wire, reuse_address=True, reuse_port=shared)
    working = [listener.group.create_task(work) for work in (household.follow(), listener.watch())]
    try:
        yield _ready(household, server.sockets[0].getsockname())
    finally:
        server.close()
        await listener.drain()
        for task in working:
            task.cancel()
        if listener.traffic is not None:
            await listener.traffic.close()
        await household.leave()


def _ready(household: Household, bound: tuple[Any, ...]) -> Ready:
    host, port = bound[:2]
    household.moved(format_address(host, port))
    directory = household.current
    log.info("proxy.listening", address=directory.address, apps=len(directory.scopes))
    return ready_at((host, port), directory.scopes)


def ready_at(address: tuple[str, int], scopes: Mapping[str, Scope]) -> Ready:
    """What is told of a proxy that listens."""
    homes = {slug: scope.home[0] for slug, scope in scopes.items()}
    return Ready(*address, tuple(homes), homes)


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
        "stores": not household.stale,
        "apps": bool(household.current.scopes),
        "serving": not listener.stopping,
    }


def numbers(household: Household, listener: Listener) -> dict[str, int | str]:
    """What else is worth knowing of a process."""
    return {
        "apps": len(household.current.scopes),
        "connections": len(listener.clients),
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
