"""The listener and the loop: frames in, decisions carried out, answers back."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Protocol

import structlog

from mdb_engine.exceptions import OverloadedError, RefusedError, UpstreamError
from mdb_engine.indexes.traffic import Traffic
from mdb_engine.rawbson import Document, find
from mdb_engine.scope.model import Limits
from mdb_proxy import envelope
from mdb_proxy.bounds import Bounds
from mdb_proxy.captures import GRACE_SECONDS, kill, let_go
from mdb_proxy.chores import Chores
from mdb_proxy.client import CHUNK, Arrived, Client, plain
from mdb_proxy.decisions import (
    TRY_AGAIN,
    Answer,
    Ask,
    Backend,
    Chore,
    Close,
    Decision,
    Exchange,
    Forward,
    Reply,
    Run,
    Steps,
)
from mdb_proxy.departures import Departures, Guest
from mdb_proxy.directory import Directory, captured, withdrawn
from mdb_proxy.farewell import farewell
from mdb_proxy.metrics import ERROR, FAILED, OK, REFUSED, UNKNOWN_APP, Metrics
from mdb_proxy.neighbours import for_another
from mdb_proxy.pins import release, taken
from mdb_proxy.sasl import COMMANDS as SASL
from mdb_proxy.session import Refusal, Session, Tools
from mdb_proxy.talk import Done, Talk, log_of, note, tally
from mdb_proxy.wire.frames import WireError

DRAIN_SECONDS: Final = 30.0
LATE_SECONDS: Final = 0.05
"""How long a command goes on whose client has left."""

LINGER_SECONDS: Final = 1.0
"""How long a connection at rest stays open when the process ends."""
WATCH_SECONDS: Final = 1.0
OUTLAST_SECONDS: Final = 0.05
NO_LOGIN: Final = "it does not log in"
SILENT: Final = "it is silent"
EARLY_SECONDS: Final = 8.0
"""How long a login may wait for the cluster to come; drivers give up after 10 s and more."""

log = structlog.get_logger("mdb_proxy.server")


class Exchanger(Protocol):
    """The cluster, as far as conversations know it."""

    async def exchange(self, exchange: Exchange) -> Answer:
        """Send one command, give its reply."""
        ...

    @property
    def backends(self) -> Mapping[str, Backend]:
        """How each member is, by `host:port`."""
        ...

    @property
    def members(self) -> tuple[str, ...]:
        """Who holds data, as `host:port`, the primary first."""
        ...


Asker = Callable[[Ask], Awaitable[tuple[bytes, ...]]]
"""Asks the other workers; gives the replies of those that have a part in it."""


async def nobody(_ask: Ask) -> tuple[bytes, ...]:
    """There are no other workers."""
    return ()


@dataclass(slots=True)
class Listener:
    """All connections of one port.

    Attributes:
        group: where the conversations run.
        clients: every open connection and its conversation. apps: logged-in connections by app.
        busy: clients whose command is being carried out. unheard: those of them that wait for
            no answer.
        yielding: apps that end what they run under names that are another's now.
        building: one index build of an app at a time waits here. chores: are done elsewhere.
        read: the stores were read once, or we stop: logins are decided, until then they wait.
        peers: the other workers. bounds: how much and how long clients may take.
        sending: bytes of long answers that are on their way, by app.
        leaving: clients that may not stay for another command.
        departures: what clients that left had open is ended.
        traffic: watches queries for indexes that would serve them.
        stopping: who asks now is told that we go; new connections are closed at once.
        closing: each connection closes when it has its answer.
    """

    tools: Tools
    upstream: Exchanger
    group: asyncio.TaskGroup
    apps: Counter[str] = field(default_factory=Counter)
    metrics: Metrics = field(default_factory=Metrics)
    read: asyncio.Event = field(default_factory=asyncio.Event)
    peers: Asker = nobody
    bounds: Bounds = field(default_factory=Bounds)
    clients: dict[Client, asyncio.Task[None]] = field(default_factory=dict)
    talks: dict[Client, Talk] = field(default_factory=dict)
    leaving: set[Client] = field(default_factory=set)
    busy: set[Client] = field(default_factory=set)
    unheard: set[Client] = field(default_factory=set)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    sending: Counter[str] = field(default_factory=Counter)
    yielding: int = 0
    chores: Chores = field(default_factory=Chores)
    building: defaultdict[str, asyncio.Lock] = field(
        default_factory=lambda: defaultdict(asyncio.Lock)
    )
    stopping: bool = False
    closing: bool = False
    traffic: Traffic | None = None
    departures: Departures = field(init=False)

    def __post_init__(self) -> None:
        held = (self.tools.cursors, self.tools.sessions)
        self.departures = Departures(*held, self.upstream.exchange, self.group.create_task)

    def client(self, arrived: Arrived = plain) -> Client:
        """The protocol of a new connection; `arrived` says how it came."""
        return Client(self._began, self._ended, arrived)

    def _began(self, client: Client) -> None:
        client.bounds = self.bounds
        if client.came is None:
            client.came = self.tools.tick()
        if self.stopping:
            client.close()
        else:
            self.clients[client] = self.group.create_task(self._serve(client))

    def _ended(self, client: Client) -> None:
        """The client left: what it waits for is stopped, and its upstream connection closed.

        Not at once: of an answer that is on its way we learn which cursor it leaves open, and end
        that. Without it the cursor would stay for the server's own ten minutes.
        """
        task = self.clients.pop(client, None)
        if task is not None and client in self.busy - self.unheard:
            asyncio.get_running_loop().call_later(LATE_SECONDS, task.cancel)

    async def _serve(self, client: Client) -> None:
        number = next(self.numbers)
        served = log_of(connection_id=number, peer=client.channel.peer)
        noted = partial(note, served, self.metrics)
        talk = self.talks[client] = Talk(
            Session(self.tools, client.channel, number, noted), number, client.channel.address
        )
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
            self.leaving.discard(client)
            del self.talks[client]
            self._release(talk)
            self._count(talk, "")
            client.close()
        if client.broken is not None:
            if client.dropped:
                self.metrics.dropped(str(client.broken))
            else:
                self.metrics.malformed()
            served.warning("client.broken", reason=str(client.broken))

    async def _converse(self, client: Client, talk: Talk) -> None:
        """Serve one client until it leaves, breaks the protocol or the proxy stops."""
        while (frame := await client.frame()) is not None:
            if self.stopping:
                await client.send(farewell(frame))
                return
            began, before = self.tools.tick(), talk.session.refusals
            decision = talk.session.receive(frame)
            if talk.session.early:
                await self._until_read(client)
                before = talk.session.refusals
                decision = talk.session.receive(frame)
            self._known(client, talk)
            if isinstance(decision, Close):
                log.warning("client.closed", peer=client.channel.peer, reason=decision.reason)
                return
            quiet = not isinstance(decision, Reply) and decision.quiet
            if client.gone and not quiet:
                return
            self.busy.add(client)
            talk.commands, talk.heard = talk.commands + 1, began
            if quiet:
                self.unheard.add(client)
            done = await self._carried_out(decision, talk.session, frame.request_id)
            # A login may have ended only now.
            self._known(client, talk)
            if talk.session.refusals > before:
                done = done._replace(outcome=REFUSED)
            talk.tally(self.metrics, done, self.tools.tick() - began, len(frame.payload))
            await self._sent(client, talk.app, done.message)
            self.busy.discard(client)
            self.unheard.discard(client)
            if self.closing or client in self.leaving:
                return

    def _known(self, client: Client, talk: Talk) -> None:
        """Count a connection for its app; who is nobody may not send much."""
        self._count(talk, talk.session.app)
        client.trust(bool(talk.app))

    async def _sent(self, client: Client, app: str, answer: bytes) -> None:
        if len(answer) <= CHUNK:
            await client.send(answer)
            return
        self.sending[app] += len(answer)
        try:
            await client.send(answer)
        finally:
            self.sending[app] -= len(answer)

    async def _until_read(self, client: Client) -> None:
        """Let a login wait for the stores, but not so long that its client gives up."""
        self.busy.add(client)
        with suppress(TimeoutError):
            async with asyncio.timeout(EARLY_SECONDS):
                await self.read.wait()
        self.busy.discard(client)

    def _release(self, talk: Talk) -> None:
        """A client behind a balancer has gone, and with it all that it kept on its connection."""
        if not talk.session.balanced:
            return
        held = taken(talk.app, talk.number, self.tools.cursors, self.tools.sessions)
        if held is not None:
            self.group.create_task(release(held, self.upstream.exchange))

    def connections(self, app: str) -> int:
        """How many connections an app has; those of nobody under the name for that."""
        return self.apps[app] if app != UNKNOWN_APP else len(self.clients) - self.apps.total()

    def _count(self, talk: Talk, app: str) -> None:
        """Note which app a connection counts for; "" for none."""
        if talk.app != app:
            self.apps.subtract([talk.app] if talk.app else ())
            self.apps.update([app] if app else ())
            talk.app = app
        guest = Guest(app, talk.session.user, talk.address) if app else None
        if talk.guest != guest:
            before, talk.guest = talk.guest, guest
            if guest is not None:
                self.departures.came(guest)
            if before is not None:
                self.departures.left(before, talk.number)

    async def _carried_out(
        self, decision: Reply | Forward | Run, session: Session, request_id: int
    ) -> Done:
        """The bytes that answer a decision, and how it went."""
        if isinstance(decision, Reply):
            return Done(decision.message, OK)
        try:
            return await self._performed(decision)
        except UpstreamError as error:
            log.warning("upstream.failed", slug=session.app, reason=error.reason)
            return Done(envelope.late(request_id, envelope.failure(error), decision), FAILED)
        except RefusedError as error:
            session.refused(error)
            return Done(envelope.late(request_id, envelope.refusal(error), decision), REFUSED)

    async def _performed(self, decision: Forward | Run) -> Done:
        """The bytes that a decision leads to, and how it went."""
        if decision.turn:
            async with self.building[decision.turn]:
                return await self._performed(replace(decision, turn=""))
        if isinstance(decision, Run):
            message, behind = await self._driven(decision.steps)
            return Done(decision.finish(message), OK, behind)
        found = await self._exchanged(decision.exchange)
        outcome = OK if find(found.body, "ok") else ERROR
        return Done(decision.finish(decision.answer(found)), outcome, found.took)

    def for_another(self, ask: Ask) -> Coroutine[Any, Any, bytes] | None:
        """Our part in a command of another worker's client: its reply as BSON; None: no part."""
        try:
            decision = for_another(self.tools, ask)
        except RefusedError as error:
            return self._refused(ask, error)
        return None if decision is None else self._neighbourly(ask, decision)

    async def _refused(self, ask: Ask, error: RefusedError) -> bytes:
        command = Document(ask.command).first or ""
        note(log, self.metrics, Refusal(command, error.code, error.at, ask.app))
        return envelope.refusal(error)

    async def _neighbourly(self, ask: Ask, decision: Decision) -> bytes:
        try:
            if isinstance(decision, Forward | Run):
                return (await self._performed(decision)).message
            return decision.message if isinstance(decision, Reply) else b""
        except UpstreamError as error:
            log.warning("upstream.failed", slug=ask.app, reason=error.reason)
            return envelope.failure(error)
        except RefusedError as error:
            return await self._refused(ask, error)
        except Exception:
            # Who asked is told nothing, as if we had gone.
            log.exception("neighbour.failed", slug=ask.app)
            return b""

    async def _exchanged(self, exchange: Exchange) -> Answer:
        """One exchange with the cluster, within the app's share of them."""
        scope = self.tools.directory().scopes.get(exchange.app)
        limits = scope.limits if scope is not None else Limits()
        if self.sending[exchange.app] > self.bounds.max_buffered_bytes:
            # Its clients do not read what they have asked for already.
            raise OverloadedError(TRY_AGAIN)
        began = self.tools.tick()
        try:
            if exchange.awaited:
                return await self.upstream.exchange(exchange)
            end = began + (exchange.time_ms or limits.max_time_ms) / 1000
            with self.tools.quotas.flight(exchange.app, limits.max_in_flight, end):
                found = await self.upstream.exchange(exchange)
        except asyncio.CancelledError:
            # Nobody will read on where a batch was lost: the cursor was killed with it.
            number = find(exchange.body, "getMore")
            self.tools.cursors.close([number] if isinstance(number, int) else ())
            raise
        seconds = self.tools.tick() - began
        tally(self.metrics, exchange, found, seconds)
        return replace(found, took=seconds)

    async def _driven(self, steps: Steps) -> tuple[bytes, float]:
        """Several exchanges, one after the other; and the seconds that the cluster took."""
        behind = 0.0
        try:
            step = next(steps)
            while True:
                found = await self._stepped(step)
                behind += found.took
                step = steps.send(found)
        except StopIteration as stop:
            return bytes(stop.value), behind
        finally:
            steps.close()

    async def _stepped(self, step: Exchange | Ask | Chore) -> Answer:
        if isinstance(step, Chore):
            return Answer(await self.chores.done(step), "")
        if isinstance(step, Ask):
            return Answer(b"", "", await self.peers(step))
        return await self._exchanged(step)

    def changed(self, before: Directory, after: Directory) -> None:
        """There is another directory: who is not in it any more goes, and so do its cursors."""
        self.metrics.know(after.scopes)
        self.metrics.unreadable(after.unreadable)
        if not after.unread:
            self.read.set()
        if _who(before) != _who(after):
            self._show_out()
        for slug in withdrawn(before, after):
            self.tools.cursors.doubt(slug, self.tools.tick())
            found = self.tools.cursors.of(slug)
            self.tools.cursors.close(found)
            if found:
                self.group.create_task(kill(slug, found, self.upstream.exchange))
        for slug, prefixes in captured(before, after).items():
            self.tools.cursors.doubt(slug, self.tools.tick())
            self.yielding += 1
            self.group.create_task(self._let_go(slug, prefixes))

    def _show_out(self) -> None:
        """Close the connections of who may not stay: at once at rest, else after the answer."""
        for client, talk in self.talks.items():
            if talk.session.welcome:
                continue
            log.info("client.shown_out", peer=client.channel.peer, slug=talk.app)
            if client in self.busy:
                self.leaving.add(client)
            else:
                client.close()

    async def _let_go(self, slug: str, prefixes: tuple[str, ...]) -> None:
        held = (self.tools.cursors, self.tools.sessions)
        began = {c: talk.commands for c, talk in self.talks.items() if talk.app == slug}
        try:
            await let_go(slug, prefixes, held, self.upstream.exchange)
            await self._outlast(began)
        finally:
            self.yielding -= 1

    async def _outlast(self, began: Mapping[Client, int]) -> None:
        """Wait until commands that began before are done; in the end close their connections."""
        deadline = self.tools.tick() + GRACE_SECONDS
        while left := [
            c for c, n in began.items() if c in self.busy and self.talks[c].commands == n
        ]:
            if self.tools.tick() > deadline:
                for client in left:
                    client.abort()
                    if client in self.clients:
                        self.clients[client].cancel()
                return
            await asyncio.sleep(OUTLAST_SECONDS)

    async def watch(self) -> None:
        """Look every second for commands and clients that take longer than they may.

        Never ends. So no message has a timer of its own.
        """
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self.hurry()
            for slug in self.tools.quotas.overdue(self.tools.tick()):
                self.metrics.suspended(slug)
                log.error("app.suspended", slug=slug)

    def hurry(self) -> None:
        """Drop the clients whose time is over."""
        now = self.tools.tick()
        for client, talk in list(self.talks.items()):
            if client not in self.busy and (reason := client.late(now) or self._slow(client, talk)):
                client.drop(reason)

    def _slow(self, client: Client, talk: Talk) -> str:
        """Why a client that is not logged in may not stay so; "" while it may.

        Drivers watch us on connections of their own, which never log in.
        """
        if talk.app or client.came is None:
            return ""
        now, last = self.tools.tick(), talk.session.command
        if not talk.commands or last in SASL:
            return NO_LOGIN if now - client.came > self.bounds.login_seconds else ""
        return SILENT if now - talk.heard > self.bounds.unknown_seconds else ""

    async def drain(self, seconds: float = DRAIN_SECONDS) -> None:
        """Answer what is in flight, then close every connection; after so long at once.

        Before that a connection at rest is left open for a moment: a command that is on its way
        would be lost with it, and most drivers repeat what was refused, but not what was lost.
        """
        self.stopping = True
        self.departures.close()
        self.read.set()
        known = [each for each, talk in self.talks.items() if talk.app and each in self.clients]
        if known:
            await asyncio.wait([self.clients[each] for each in known], timeout=LINGER_SECONDS)
        self.closing = True
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


def _who(directory: Directory) -> tuple[object, ...]:
    """What decides who may be here."""
    doors = directory.doors
    return directory.credentials, directory.scopes.keys(), doors.tokens, doors.subjects
