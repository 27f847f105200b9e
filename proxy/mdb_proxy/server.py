"""The listener and the loop: frames in, decisions carried out, answers back."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Protocol

import structlog
from pymongo import AsyncMongoClient

from mdb_engine.exceptions import InitializationError, RefusedError, UpstreamError
from mdb_engine.indexes import apply_indexes
from mdb_engine.manifest import load_folder
from mdb_engine.rawbson import find
from mdb_engine.scope.model import Features, Limits
from mdb_proxy import envelope
from mdb_proxy.admin import Watch, admin_app, serving
from mdb_proxy.client import Client
from mdb_proxy.config import ProxySettings, format_address, parse_address
from mdb_proxy.cursors import Cursors, Sessions
from mdb_proxy.decisions import Answer, Close, Exchange, Forward, Reply, Run, Steps
from mdb_proxy.metrics import ERROR, FAILED, OK, REFUSED, UNKNOWN_APP, Metrics
from mdb_proxy.reload import Cluster, Household
from mdb_proxy.session import Event, Refusal, Session, Tools
from mdb_proxy.sweep import sweep
from mdb_proxy.upstream import PoolSettings, Upstream, open_upstream
from mdb_proxy.wire.frames import WireError

APP_NAME: Final = "mdb-proxy"
SELECTION_SECONDS: Final = 10.0
DRAIN_SECONDS: Final = 30.0
MAX_WIRE_VERSION: Final = 17
"""The newest that the kernel knows (6.0): what later servers added is not in its tables."""

ALIVE_SECONDS: Final = 2.0
"""How long the event loop may take to answer before it counts as stuck."""

log = structlog.get_logger("mdb_proxy.server")


class Exchanger(Protocol):
    """The cluster, as far as conversations know it."""

    async def exchange(self, exchange: Exchange) -> Answer:
        """Send one command, give its reply."""
        ...


@dataclass(frozen=True, slots=True)
class Ready:
    """Where the proxy listens and whom it serves; `homes`: slug -> first home database."""

    host: str
    port: int
    slugs: tuple[str, ...]
    homes: Mapping[str, str]


@dataclass(slots=True)
class Listener:
    """All connections of one port.

    Attributes:
        group: where the conversations run.
        clients: every open connection and its conversation. apps: logged-in connections by app.
        busy: clients whose command is being carried out. unheard: those of them that wait for
            no answer.
        stopping: each connection closes when it has its answer; new ones at once.
    """

    tools: Tools
    upstream: Exchanger
    group: asyncio.TaskGroup
    apps: Counter[str] = field(default_factory=Counter)
    metrics: Metrics = field(default_factory=Metrics)
    clients: dict[Client, asyncio.Task[None]] = field(default_factory=dict)
    busy: set[Client] = field(default_factory=set)
    unheard: set[Client] = field(default_factory=set)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    stopping: bool = False

    def client(self) -> Client:
        """The protocol of a new connection."""
        return Client(self._began, self._ended)

    def _began(self, client: Client) -> None:
        if self.stopping:
            client.close()
        else:
            self.clients[client] = self.group.create_task(self._serve(client))

    def _ended(self, client: Client) -> None:
        """The client left: what it waits for is stopped, and its upstream connection closed."""
        task = self.clients.pop(client, None)
        if task is not None and client in self.busy - self.unheard:
            task.cancel()

    async def _serve(self, client: Client) -> None:
        number = next(self.numbers)
        served = log.bind(connection_id=number, peer=client.peer)
        note = partial(_note, served, self.metrics)
        talk = _Talk(Session(self.tools, client.peer, number, note))
        try:
            await self._converse(client, talk)
        except WireError as error:
            client.broken = error
        except Exception:  # noqa: BLE001 - a named catcher
            # One of the three catchers: a bug in one conversation must not end the others.
            served.exception("client.failed")
        finally:
            self.busy.discard(client)
            self.unheard.discard(client)
            self._count(talk, "")
            client.close()
        if client.broken is not None:
            served.warning("client.broken", reason=str(client.broken))

    async def _converse(self, client: Client, talk: _Talk) -> None:
        """Serve one client until it leaves, breaks the protocol or the proxy stops."""
        while (frame := await client.frame()) is not None:
            began, before = self.tools.tick(), talk.session.refusals
            decision = talk.session.receive(frame)
            self._count(talk, talk.session.app)
            client.trust(bool(talk.app))
            if isinstance(decision, Close):
                log.warning("client.closed", peer=client.peer, reason=decision.reason)
                return
            quiet = not isinstance(decision, Reply) and decision.quiet
            if client.gone and not quiet:
                return
            self.busy.add(client)
            if quiet:
                self.unheard.add(client)
            answer, outcome = await self._carried_out(decision, talk.session, frame.request_id)
            if talk.session.refusals > before:
                outcome = REFUSED
            seconds = self.tools.tick() - began
            self.metrics.command(talk.session.app, talk.session.command, outcome, seconds)
            await client.send(answer)
            self.busy.discard(client)
            self.unheard.discard(client)
            if self.stopping:
                return

    def _count(self, talk: _Talk, app: str) -> None:
        """Note which app a connection counts for; "" for none."""
        if talk.app != app:
            self.apps.subtract([talk.app] if talk.app else ())
            self.apps.update([app] if app else ())
            talk.app = app

    async def _carried_out(
        self, decision: Reply | Forward | Run, session: Session, request_id: int
    ) -> tuple[bytes, str]:
        """The bytes that answer a decision, and how it went."""
        if isinstance(decision, Reply):
            return decision.message, OK
        try:
            if isinstance(decision, Run):
                return decision.finish(await self._driven(decision.steps)), OK
            found = await self._exchanged(decision.exchange)
            outcome = OK if find(found.body, "ok") else ERROR
            return decision.finish(decision.answer(found)), outcome
        except UpstreamError as error:
            log.warning("upstream.failed", slug=session.app, reason=error.reason)
            return envelope.late(request_id, envelope.failure(error), decision), FAILED
        except RefusedError as error:
            session.refused(error)
            return envelope.late(request_id, envelope.refusal(error), decision), REFUSED

    async def _exchanged(self, exchange: Exchange) -> Answer:
        """One exchange with the cluster, within the app's share of them."""
        scope = self.tools.directory().scopes.get(exchange.app)
        limits = scope.limits if scope is not None else Limits()
        if exchange.awaited:
            return await self.upstream.exchange(exchange)
        with self.tools.quotas.flight(exchange.app, limits.max_in_flight):
            return await self.upstream.exchange(exchange)

    async def _driven(self, steps: Steps) -> bytes:
        """Several exchanges, one after the other."""
        try:
            exchange = next(steps)
            while True:
                exchange = steps.send(await self._exchanged(exchange))
        except StopIteration as stop:
            return bytes(stop.value)
        finally:
            steps.close()

    async def drain(self, seconds: float = DRAIN_SECONDS) -> None:
        """Answer what is in flight, then close every connection; after so long at once."""
        self.stopping = True
        for client in set(self.clients) - self.busy:
            client.close()
        tasks = dict(self.clients)
        if not tasks:
            return
        _, late = await asyncio.wait(tasks.values(), timeout=seconds)
        if late:
            log.warning("drain.cut", clients=len(late))
        for client, task in tasks.items():
            if task in late:
                client.abort()
                task.cancel()


@dataclass(slots=True)
class _Talk:
    """A conversation, and the app that its connection counts for."""

    session: Session
    app: str = ""


def _note(served: structlog.typing.FilteringBoundLogger, metrics: Metrics, event: Event) -> None:
    """Log a refused command (which rule and where, never what it held), or a login."""
    if isinstance(event, Refusal):
        metrics.refusal(event.app, event.code)
        served.info(
            "command.refused", slug=event.app, command=event.command, code=event.code, at=event.at
        )
        return
    metrics.attempt(event.mechanism, event.code)
    fields = {"name": event.name, "mechanism": event.mechanism}
    if event.code:
        served.warning("login.failed", code=event.code, **fields)
    else:
        served.debug("login.succeeded", slug=event.app, **fields)


@asynccontextmanager
async def _tasks() -> AsyncIterator[asyncio.TaskGroup]:
    """A TaskGroup whose only error comes out as it is, not as a group of one."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        if len(errors.exceptions) > 1:
            raise
        raise errors.exceptions[0] from None


async def serve(
    settings: ProxySettings, *, ready: Callable[[Ready], None], stop: asyncio.Event
) -> None:
    """Serve clients until `stop` is set; also when that happens before anybody is served.

    Raises:
        ConfigurationError, ManifestValidationError, InitializationError, OSError: it could not
            start; nothing is left behind.
    """
    listening = asyncio.Event()

    def tell(now: Ready) -> None:
        listening.set()
        ready(now)

    async with _tasks() as group:
        work = group.create_task(_serve(settings, tell, stop))
        watch = group.create_task(_abandon(work, listening, stop))
        work.add_done_callback(lambda _: watch.cancel())


async def _abandon(work: asyncio.Task[None], listening: asyncio.Event, stop: asyncio.Event) -> None:
    """End the start when nobody wants it any more; what listens ends by itself."""
    await stop.wait()
    if not listening.is_set():
        work.cancel()


async def _serve(
    settings: ProxySettings, ready: Callable[[Ready], None], stop: asyncio.Event
) -> None:
    manifests = load_folder(settings.manifests)
    uri = settings.mongo_uri.get_secret_value()
    ports = Ports(
        parse_address(settings.listen), parse_address(settings.admin) if settings.admin else None
    )
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
        database = control[settings.db_name]
        cluster = await _cluster(control, upstream)
        household = Household(database, manifests, cluster, format_address(*ports.wire))
        await household.open(settings.settle_seconds)
        if settings.apply_indexes:
            for manifest in manifests.values():
                report = await apply_indexes(database, manifest)
                log.info("indexes.applied", slug=manifest.slug, created=len(report.created))
        async with _tasks() as group:
            sweeper = group.create_task(sweep(database, manifests))
            try:
                await _listen(household, upstream, ports, ready, stop)
            finally:
                sweeper.cancel()


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


async def _listen(
    household: Household,
    upstream: Exchanger,
    ports: Ports,
    ready: Callable[[Ready], None],
    stop: asyncio.Event,
) -> None:
    """Serve the ports until `stop` is set."""
    apps: Counter[str] = Counter()
    tools = _tools(household, apps)
    async with _tasks() as group:
        listener = Listener(tools, upstream, group, apps, Metrics(household.manifests))
        with ExitStack() as stack:
            if ports.admin is not None:
                pages = admin_app(_watch(household, listener))
                found = stack.enter_context(serving(ports.admin, pages))
                log.info("admin.listening", address=format_address(*found))
            loop = asyncio.get_running_loop()
            server = await loop.create_server(listener.client, *ports.wire, reuse_address=True)
            follower = group.create_task(household.follow())
            try:
                ready(_ready(household, server.sockets[0].getsockname()))
                await stop.wait()
            finally:
                server.close()
                await listener.drain()
                follower.cancel()
    log.info("proxy.stopped")


def _ready(household: Household, bound: tuple[Any, ...]) -> Ready:
    host, port = bound[:2]
    household.moved(format_address(host, port))
    directory = household.current
    homes = {slug: scope.home[0] for slug, scope in directory.scopes.items()}
    log.info("proxy.listening", address=directory.address, apps=len(homes))
    return Ready(host, port, tuple(homes), homes)


def _watch(household: Household, listener: Listener) -> Watch:
    """What the admin pages may ask."""
    loop = asyncio.get_running_loop()

    def alive() -> bool:
        answered = threading.Event()
        loop.call_soon_threadsafe(answered.set)
        return answered.wait(ALIVE_SECONDS)

    def connections(app: str) -> int:
        known = listener.apps
        return known[app] if app != UNKNOWN_APP else len(listener.clients) - known.total()

    def checks() -> dict[str, bool]:
        return {
            "primary": household.has_primary,
            "versions": household.recent,
            "stores": not household.stale,
            "apps": bool(household.current.scopes),
            "serving": not listener.stopping,
        }

    def numbers() -> dict[str, int | str]:
        return {
            "apps": len(household.current.scopes),
            "connections": len(listener.clients),
            "cluster": household.cluster.version,
        }

    listener.metrics.watch(connections, listener.tools.cursors.count)
    return Watch(alive, checks, numbers, listener.metrics.page)


def _tools(household: Household, apps: Mapping[str, int]) -> Tools:
    return Tools(
        directory=lambda: household.current,
        cursors=Cursors(),
        sessions=Sessions(),
        now=lambda: datetime.now(UTC),
        tick=time.monotonic,
        random=secrets.token_bytes,
        started=datetime.now(UTC),
        clients=lambda app: apps.get(app, 0),
    )
