"""The listener and the loop: frames in, decisions carried out, answers back."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from pymongo import AsyncMongoClient

from mdb_engine.exceptions import InitializationError, RefusedError, UpstreamError
from mdb_engine.indexes import apply_indexes
from mdb_engine.manifest import load_folder
from mdb_engine.scope.model import Features
from mdb_proxy import envelope
from mdb_proxy.client import Client
from mdb_proxy.config import ProxySettings, format_address, parse_address
from mdb_proxy.cursors import Cursors
from mdb_proxy.decisions import Close, Decision, Forward, Reply, Run
from mdb_proxy.reload import Cluster, Household
from mdb_proxy.session import Refusal, Session, Tools
from mdb_proxy.upstream import PoolSettings, Upstream, open_upstream
from mdb_proxy.wire.frames import WireError

APP_NAME: Final = "mdb-proxy"
SELECTION_SECONDS: Final = 10.0
DRAIN_SECONDS: Final = 10.0
MAX_WIRE_VERSION: Final = 17
"""The newest that the kernel knows (6.0): what later servers added is not in its tables."""

log = structlog.get_logger("mdb_proxy.server")


@dataclass(frozen=True, slots=True)
class Ready:
    """Where the proxy listens and whom it serves; `homes`: slug -> first home database."""

    host: str
    port: int
    slugs: tuple[str, ...]
    homes: Mapping[str, str]


@dataclass(slots=True)
class Listener:
    """All connections of one port."""

    tools: Tools
    upstream: Upstream
    group: asyncio.TaskGroup
    clients: dict[Client, asyncio.Task[None]] = field(default_factory=dict)
    busy: set[Client] = field(default_factory=set)
    apps: Counter[str] = field(default_factory=Counter)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    stopping: bool = False

    def client(self) -> Client:
        """The protocol of a new connection."""
        return Client(self._began, self._ended)

    def _began(self, client: Client) -> None:
        self.clients[client] = self.group.create_task(self._serve(client))

    def _ended(self, client: Client) -> None:
        """The client left: what it asked for is stopped, its upstream connection is closed."""
        task = self.clients.pop(client, None)
        if task is not None and client in self.busy:
            task.cancel()

    async def _serve(self, client: Client) -> None:
        number = next(self.numbers)
        session = Session(self.tools, client.peer, number, refused)
        served = log.bind(connection_id=number, peer=client.peer)
        try:
            await self._converse(client, session)
        except WireError as error:
            served.warning("client.broken", reason=str(error))
        except Exception:  # noqa: BLE001 - a named catcher
            # One of the three catchers: a bug in one conversation must not end the others.
            served.exception("client.failed")
        finally:
            self.busy.discard(client)
            if session.credential is not None:
                self.apps[session.credential.app] -= 1
            client.close()
        if client.broken is not None:
            served.warning("client.broken", reason=str(client.broken))

    async def _converse(self, client: Client, session: Session) -> None:
        """Serve one client until it leaves, breaks the protocol or the proxy stops."""
        known = False
        async for frame in client.frames():
            self.busy.add(client)
            decision = session.receive(frame)
            if isinstance(decision, Close):
                log.warning("client.closed", peer=client.peer, reason=decision.reason)
                return
            await client.send(await self._carried_out(decision, frame.request_id))
            self.busy.discard(client)
            if not known and session.credential is not None:
                known = True
                self.apps[session.credential.app] += 1
                client.logged_in()
            if self.stopping:
                return

    async def _carried_out(self, decision: Decision, request_id: int) -> bytes:
        """The bytes that answer a decision."""
        try:
            match decision:
                case Reply(message):
                    return message
                case Forward(exchange, answer, finish):
                    return finish(answer(await self.upstream.exchange(exchange)))
                case Run(steps, finish):
                    return finish(await self._driven(steps))
        except UpstreamError as error:
            log.warning("upstream.failed", reason=error.reason)
            return envelope.late(request_id, envelope.failure(error), decision)
        except RefusedError as error:
            return envelope.late(request_id, envelope.refusal(error), decision)
        msg = f"no way to carry out {type(decision).__name__}"
        raise AssertionError(msg)

    async def _driven(self, steps: Any) -> bytes:
        """Several exchanges, one after the other."""
        try:
            exchange = next(steps)
            while True:
                exchange = steps.send(await self.upstream.exchange(exchange))
        except StopIteration as stop:
            return bytes(stop.value)
        finally:
            steps.close()

    async def drain(self) -> None:
        """Answer what is in flight, then close every connection."""
        self.stopping = True
        for client in set(self.clients) - self.busy:
            client.close()
        working = [task for client, task in self.clients.items() if client in self.busy]
        if working:
            _, late = await asyncio.wait(working, timeout=DRAIN_SECONDS)
            if late:
                log.warning("drain.cut", clients=len(late))
        for client, task in list(self.clients.items()):
            client.close()
            task.cancel()


def refused(refusal: Refusal) -> None:
    """Note a refused command: which rule and where, never what it held."""
    log.info(
        "command.refused",
        slug=refusal.app,
        command=refusal.command,
        code=refusal.code,
        at=refusal.at,
    )


async def serve(
    settings: ProxySettings, *, ready: Callable[[Ready], None], stop: asyncio.Event
) -> None:
    """Serve clients until `stop` is set.

    Raises:
        ConfigurationError, ManifestValidationError, InitializationError, OSError: it could not
            start; nothing is left behind.
    """
    manifests = load_folder(settings.manifests)
    uri = settings.mongo_uri.get_secret_value()
    host, port = parse_address(settings.listen)
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
        household = Household(database, manifests, await _cluster(control, upstream), "")
        household.address = format_address(host, port)
        await household.open()
        if settings.apply_indexes:
            for manifest in manifests.values():
                report = await apply_indexes(database, manifest)
                log.info("indexes.applied", slug=manifest.slug, created=len(report.created))
        if len(settings.db_name) < MIN_DATABASE_NAME:
            log.warning("database.short_name", length=len(settings.db_name))
        await _listen(household, upstream, (host, port), ready, stop)


MIN_DATABASE_NAME: Final = 8
"""A shorter physical name is more likely to occur in texts that are not about it."""


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


async def _listen(
    household: Household,
    upstream: Upstream,
    address: tuple[str, int],
    ready: Callable[[Ready], None],
    stop: asyncio.Event,
) -> None:
    async with asyncio.TaskGroup() as group:
        listener = Listener(_tools(household), upstream, group)
        listener.tools = _tools(household, listener)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(listener.client, *address, reuse_address=True)
        follower = group.create_task(household.follow())
        bound = server.sockets[0].getsockname()
        household.moved(format_address(bound[0], bound[1]))
        directory = household.current
        homes = {slug: scope.home[0] for slug, scope in directory.scopes.items()}
        log.info("proxy.listening", address=directory.address, apps=len(homes))
        ready(Ready(bound[0], bound[1], tuple(homes), homes))
        try:
            await stop.wait()
        finally:
            server.close()
            await listener.drain()
            follower.cancel()
    log.info("proxy.stopped")


def _tools(household: Household, listener: Listener | None = None) -> Tools:
    return Tools(
        directory=lambda: household.current,
        cursors=Cursors(),
        now=lambda: datetime.now(UTC),
        tick=time.monotonic,
        random=secrets.token_bytes,
        started=datetime.now(UTC),
        clients=lambda app: listener.apps[app] if listener is not None else 1,
    )
