"""The listeners at work: accept, refuse or let in; who is let in becomes a client of the proxy.

A connection that is one too many is closed before anything is read from it or computed for it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final

import structlog

from mdb_proxy.admission import FILES, HANDSHAKE, HEADER, UNTRUSTED, Admission
from mdb_proxy.bounds import Bounds
from mdb_proxy.certificates import client_subject, context_of, server_name
from mdb_proxy.channel import Channel
from mdb_proxy.client import Client
from mdb_proxy.listeners import Listening, format_address
from mdb_proxy.metrics import OK
from mdb_proxy.ports import listening_at
from mdb_proxy.server import Listener
from mdb_proxy.wire.frames import WireError
from mdb_proxy.wire.preamble import FIXED, origin_of, rest_of

AT_ONCE: Final = 64
"""So many connections are accepted before anything else has its turn."""

BREATH_SECONDS: Final = 1.0
"""How long we do not accept when the process may open no more files."""

PROBES: Final = 3
PROBE_SECONDS: Final = 10
"""How often, and how far apart, TCP asks a silent client before it gives up."""

log = structlog.get_logger("mdb_proxy.porters")

Contexts = Mapping[int, ssl.SSLContext]
"""By the number of the listener."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The listeners, how they are bound, what clients may take of them.

    Attributes:
        shared: other processes listen at the same ports.
        handed: descriptors of sockets that listen already, by the listener's number.
    """

    listeners: Sequence[Listening]
    bounds: Bounds = field(default_factory=Bounds)
    shared: bool = False
    handed: Mapping[int, int] = field(default_factory=dict)


class Porters:
    """All listeners of a process."""

    def __init__(self, plan: Plan) -> None:
        """Read the certificates.

        Raises:
            ConfigurationError: one of them is not usable.
        """
        self.plan = plan
        self._contexts = self.prepared()
        self.porters: list[Porter] = []

    def prepared(self) -> Contexts:
        """Read the certificates as they are now; nothing is changed.

        Raises:
            ConfigurationError: one of them is not usable.
        """
        return contexts_of(self.plan.listeners)

    def swap(self, contexts: Contexts) -> None:
        """Handshakes that begin from now on use these certificates."""
        self._contexts = contexts

    def context(self, number: int) -> ssl.SSLContext | None:
        """What the next handshake of a listener uses; None: it has no TLS."""
        return self._contexts.get(number)

    @contextmanager
    def open(self, listener: Listener) -> Iterator[Sequence[Listening]]:
        """Take clients in while the block runs; gives the listeners with their real ports.

        Raises:
            OSError: a place is taken or cannot be had.
        """
        with ExitStack() as stack:
            found = []
            for number, each in enumerate(self.plan.listeners):
                handed = self.plan.handed.get(number)
                sockets = stack.enter_context(listening_at(each, handed, shared=self.plan.shared))
                bound = _bound(each, sockets)
                porter = Porter(self, number, bound, listener)
                self.porters.append(porter)
                stack.callback(porter.close)
                porter.open(sockets)
                found.append(bound)
            yield found


def contexts_of(listeners: Sequence[Listening]) -> Contexts:
    """Read the certificates of all listeners.

    Raises:
        ConfigurationError: one of them is not usable.
    """
    return {n: context_of(each.keys) for n, each in enumerate(listeners) if each.tls}


def _bound(listening: Listening, sockets: Sequence[socket.socket]) -> Listening:
    if listening.path:
        return listening
    return listening.model_copy(update={"port": sockets[0].getsockname()[1]})


@dataclass(slots=True)
class Visit:
    """A connection on its way in.

    Attributes:
        host, port: where the client is; "" at a Unix socket.
        to: host and port that it connected to. came: when. claimed: counted for its host.
    """

    host: str
    port: int
    to: tuple[str, int]
    came: float
    claimed: bool = False

    @property
    def peer(self) -> str:
        """As it stands in logs."""
        return f"{self.host}:{self.port}" if self.host else "local"


class Porter:
    """One listener."""

    def __init__(
        self, porters: Porters, number: int, listening: Listening, listener: Listener
    ) -> None:
        self.listening, self.admission = (
            listening,
            Admission(porters.plan.bounds, listening.max_connections),
        )
        self._porters, self._number, self._listener = porters, number, listener
        self._bounds = porters.plan.bounds
        self._loop = asyncio.get_running_loop()
        self._sockets: Sequence[socket.socket] = ()
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        self._coming: set[asyncio.Task[None]] = set()

    def open(self, sockets: Sequence[socket.socket]) -> None:
        """Accept connections at these from now on."""
        self._sockets = sockets
        for each in sockets:
            self._loop.add_reader(each, self._accept, each)

    def close(self) -> None:
        """Accept nobody any more; who is on the way in is sent away."""
        for each in self._sockets:
            self._loop.remove_reader(each)
        for timer in self._pauses.values():
            timer.cancel()
        for task in self._coming:
            task.cancel()
        self._sockets = ()

    def _rest(self, listening: socket.socket, seconds: float) -> None:
        self._loop.remove_reader(listening)
        self._pauses[listening] = self._loop.call_later(seconds, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        del self._pauses[listening]
        self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(AT_ONCE):
            now = self._loop.time()
            seconds = self.admission.pause(now)
            if seconds:
                self._rest(listening, seconds)
                return
            try:
                found, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self.refused(FILES, str(error))
                self._rest(listening, BREATH_SECONDS)
                return
            self._met(found, now)

    def _met(self, found: socket.socket, now: float) -> None:
        """Somebody is at the door: refuse at once, or have a task let him in."""
        found.setblocking(False)
        try:
            visit = _visit(found, now)
        except OSError as error:  # it has left already
            log.debug("client.left", reason=str(error))
            found.close()
            return
        reason = self._objection(visit)
        if reason:
            found.close()
            self.refused(reason, visit.peer)
            return
        task = self._listener.group.create_task(self._let_in(found, visit))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    def _objection(self, visit: Visit) -> str:
        listening = self.listening
        proxied = listening.proxy_protocol
        if proxied and visit.host and not listening.trusts(ip_address(visit.host)):
            return UNTRUSTED
        reason = self.admission.enter()
        if reason or proxied:
            return reason
        return self._claim(visit)

    def _claim(self, visit: Visit) -> str:
        reason = self.admission.claim(visit.host)
        if reason:
            self.admission.leave(None)
        else:
            visit.claimed = True
        return reason

    def _left(self, visit: Visit) -> None:
        self.admission.leave(visit.host if visit.claimed else None)
        self._listener.metrics.inside(self.listening.name, self.admission.inside)

    def refused(self, reason: str, peer: str) -> None:
        """Note that somebody was not let in."""
        name, inside = self.listening.name, self.admission.inside
        self._listener.metrics.arrived(name, reason, inside)
        log.debug("client.refused", listener=self.listening.name, reason=reason, peer=peer)

    async def _let_in(self, found: socket.socket, visit: Visit) -> None:
        try:
            if self.listening.proxy_protocol:
                await self._introduced(found, visit)
            else:
                _be_careful(found, self._bounds.keepalive_seconds)
        except (WireError, OSError) as error:
            found.close()
            self._left(visit)
            self.refused(HEADER, f"{visit.peer}: {error}")
            return
        except asyncio.CancelledError:
            found.close()
            raise
        if not visit.claimed and (reason := self._claim(visit)):
            found.close()
            self.refused(reason, visit.peer)
            return
        await self._joined(found, visit)

    async def _introduced(self, found: socket.socket, visit: Visit) -> None:
        """Read the balancer's header; the client is where that says."""
        async with asyncio.timeout(self._bounds.first_byte_seconds):
            fixed = await self._exactly(found, FIXED.size)
            rest = await self._exactly(found, rest_of(fixed))
        _be_careful(found, self._bounds.keepalive_seconds)
        origin = origin_of(fixed, rest)
        if origin is not None:
            visit.host, visit.port, visit.to = *origin.source, origin.destination

    async def _exactly(self, found: socket.socket, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = await self._loop.sock_recv(found, size - len(data))
            if not part:
                msg = "the connection ended within its PROXY header"
                raise WireError(msg)
            data += part
        return data

    async def _joined(self, found: socket.socket, visit: Visit) -> None:
        """Shake hands when the listener wants that; then it is a client like any other."""
        context = self._porters.context(self._number)
        client = self._listener.client(lambda transport: self._channel(transport, visit))
        client.came, client.left = visit.came, lambda: self._left(visit)
        options: dict[str, Any] = {}
        if context is not None:
            options = {"ssl": context, "ssl_handshake_timeout": self._bounds.login_seconds}
        try:
            await self._loop.connect_accepted_socket(lambda: client, found, **options)
        except OSError as error:
            self.refused(HANDSHAKE, f"{visit.peer}: {error}")
            self._never(client)
        except asyncio.CancelledError:
            self._never(client)
            raise

    def _never(self, client: Client) -> None:
        """The handshake failed; who has become a client leaves as one."""
        if not client.met:
            client.left()

    def _channel(self, transport: asyncio.BaseTransport, visit: Visit) -> Channel:
        """What is known of a connection when its first byte may come."""
        self._listener.metrics.arrived(self.listening.name, OK, self.admission.inside)
        connection = transport.get_extra_info("ssl_object")
        name = server_name(connection) if connection is not None else ""
        host, port = visit.to
        to = self.listening.advertise or format_address(name or host, port)
        return Channel(
            visit.peer,
            secure=connection is not None,
            server_name=name,
            subject=client_subject(connection) if connection is not None else "",
            replica_set=self.listening.replica_set,
            balanced=self.listening.balanced,
            here=to,
        )


def _visit(found: socket.socket, now: float) -> Visit:
    if found.family == socket.AF_UNIX:
        return Visit("", 0, ("", 0), now)
    peer, here = found.getpeername(), found.getsockname()
    return Visit(peer[0], peer[1], (here[0], here[1]), now)


def _be_careful(found: socket.socket, seconds: int) -> None:
    """Have TCP notice that a client is gone, be it silent or not taking what it asked for."""
    if found.family == socket.AF_UNIX:
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    wanted = {
        "TCP_KEEPIDLE": seconds,
        "TCP_KEEPINTVL": PROBE_SECONDS,
        "TCP_KEEPCNT": PROBES,
        "TCP_USER_TIMEOUT": (seconds + PROBES * PROBE_SECONDS) * 1000,
    }
    for name, value in wanted.items():
        if hasattr(socket, name):  # the last one is Linux's
            found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
