"""Conversations without a network: a session's world, a client's words, a cluster that is told."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from types import MappingProxyType
from typing import Any

import bson
from scramp import ScramClient

from mdb_engine import rawbson
from mdb_engine.credentials import (
    SCRAM_SHA_1,
    SCRAM_SHA_256,
    Credential,
    ScramKeys,
    derive,
    derive_sha_1,
)
from mdb_engine.rawbson import Document
from mdb_engine.scope.model import Limits, Scope
from mdb_proxy.auth import Doors, Gate
from mdb_proxy.channel import Channel
from mdb_proxy.chores import Chores
from mdb_proxy.client import Arrived, plain
from mdb_proxy.cursors import Cursors, Sessions
from mdb_proxy.decisions import (
    Answer,
    Ask,
    Backend,
    Chore,
    Decision,
    Exchange,
    Forward,
    Reply,
    Run,
)
from mdb_proxy.directory import Directory
from mdb_proxy.neighbours import for_another
from mdb_proxy.quotas import Quotas
from mdb_proxy.server import Listener
from mdb_proxy.session import Event, Session, Tools
from mdb_proxy.throttles import Throttle
from mdb_proxy.wire import (
    OP_MSG,
    OP_QUERY,
    OP_REPLY,
    Frame,
    Frames,
    Message,
    encode_message,
    frame,
    parse_message,
    unwrap,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = bytes(range(32))
PASSWORD = "correct horse"  # noqa: S105 - of nobody
MEMBER = "m1:27017"
CHANNEL = Channel("127.0.0.1:50000")
CLIENT_NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = "3rfcNHYJY1ZVvWVs7j"
SLUGS = ("crm", "shop")

Fields = Mapping[str, Any]


@cache
def keys() -> ScramKeys:
    """Give the keys of PASSWORD; deriving them is slow, once is enough."""
    return derive(PASSWORD, b"salt" * 7, 4096)


def credential(name: str = "shop", app: str = "", role: str = "readWrite", **more: Any):
    """Give a credential; the app is the name unless told otherwise."""
    return Credential(name, app or name, role, {SCRAM_SHA_256: keys()}, **more)


def old_keys(name: str) -> dict[str, ScramKeys]:
    """Give the keys of PASSWORD of a credential that old clients use too."""
    return {SCRAM_SHA_1: derive_sha_1(name, PASSWORD, b"salt" * 4), SCRAM_SHA_256: keys()}


def gate(known: Mapping[str, Credential] = MappingProxyType({}), **more: Any) -> Gate:
    """Give what a login is judged by; nobody comes by certificate unless told otherwise."""
    return Gate(known.get, **{"nonce": SERVER_NONCE, "secret": SECRET, "now": NOW, **more})


def scope(slug: str = "shop", **more: Any) -> Scope:
    """Give an app's scope."""
    return Scope(slug, "appdata", (slug,), **more)


def lossless(command: Fields) -> dict[str, Any]:
    """Give a command as it comes off the wire."""
    return dict(Document(bson.encode(command)))


class World:
    """One process of the proxy: its directory, clocks and memory. Time stands until moved."""

    def __init__(self, *more: Credential, slugs: Iterable[str] = SLUGS, **limits: Any) -> None:
        made = [*(credential(slug) for slug in slugs), *more]
        self.directory = Directory(
            {slug: scope(slug, limits=Limits(**limits)) for slug in slugs},
            {each.name: each for each in made},
            SECRET,
        )
        self.now = NOW
        self.cursors = Cursors()
        self.sessions = Sessions()
        self.quotas = Quotas()
        self.throttle = Throttle()
        self.apps: Counter[str] = Counter()
        self.events: list[Event] = []
        self._numbers = count(1)

    def tools(self, **more: Any) -> Tools:
        """Give what a session needs; randomness counts up."""
        return Tools(
            directory=lambda: self.directory,
            cursors=self.cursors,
            sessions=self.sessions,
            now=lambda: self.now,
            tick=self.tick,
            random=lambda size: next(self._numbers).to_bytes(size, "big"),
            started=NOW - timedelta(seconds=90),
            clients=lambda app: self.apps[app],
            quotas=self.quotas,
            throttle=self.throttle,
            **more,
        )

    def tick(self) -> float:
        """Give the seconds that have passed."""
        return (self.now - NOW).total_seconds()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    def change(self, name: str, **fields: Any) -> None:
        """Change a credential."""
        kept = dict(self.directory.credentials)
        kept[name] = replace(kept[name], **fields)
        self.directory = replace(self.directory, credentials=kept)

    def open(self, **doors: Any) -> None:
        """Have other ways in."""
        self.directory = replace(self.directory, doors=Doors(**doors))

    def forget(self, *, name: str = "", app: str = "") -> None:
        """Remove a credential or an app."""
        self.directory = replace(
            self.directory,
            credentials={n: c for n, c in self.directory.credentials.items() if n != name},
            scopes={s: c for s, c in self.directory.scopes.items() if s != app},
        )


# What a client writes and reads.


def message(command: Fields | bytes, *, flags: int = 0, number: int = 7, **sections: Any) -> bytes:
    """Give an OP_MSG; sections are sequences of documents by name."""
    body = command if isinstance(command, bytes) else bson.encode(command)
    parts = tuple((n, tuple(bson.encode(d) for d in found)) for n, found in sections.items())
    return encode_message(Message(number, 0, flags, body, parts))


def query(command: Fields | bytes, namespace: str = "admin.$cmd", number: int = 7) -> bytes:
    """Give an OP_QUERY."""
    body = command if isinstance(command, bytes) else bson.encode(command)
    text = bytes(4) + namespace.encode() + b"\0" + bytes(4) + b"\xff\xff\xff\xff"
    return frame(OP_QUERY, number, 0, (text, body))


def one_frame(data: bytes) -> Frame:
    """Give the only frame of some bytes."""
    (found,) = Frames().feed(data)
    return found


@dataclass(frozen=True, slots=True)
class Heard:
    """A message that the client got."""

    opcode: int
    response_to: int
    flags: int
    body: dict[str, Any]
    raw: bytes


def heard(found: Frame) -> Heard:
    """Read an answer, whatever its opcode."""
    opcode, inner = found.opcode, found
    if opcode not in (OP_MSG, OP_REPLY):
        inner = unwrap(found)
    if inner.opcode == OP_MSG:
        parsed = parse_message(inner)
        return Heard(opcode, parsed.response_to, parsed.flags, decoded(parsed.body), parsed.body)
    flags = int.from_bytes(found.payload[:4], "little")
    body = found.payload[20:]
    return Heard(opcode, found.response_to, flags, decoded(body), body)


def decoded(body: bytes) -> dict[str, Any]:
    """Give BSON as plain values, times aware."""
    options: Any = bson.CodecOptions(tz_aware=True, uuid_representation=4)
    return bson.decode(body, options)


def told(exchange: Exchange) -> dict[str, Any]:
    """Give what the cluster is sent, its document sequences among the fields."""
    fields = decoded(exchange.body)
    sections = {name: [decoded(d) for d in found] for name, found in exchange.sections}
    assert not fields.keys() & sections.keys()
    return fields | sections


# A pure conversation: what the session decides.


class Talk:
    """One connection, as far as its session: decisions, without a loop."""

    def __init__(
        self, world: World, user: str = "", channel: Channel = CHANNEL, **tools: Any
    ) -> None:
        self.world = world
        self.session = Session(world.tools(**tools), channel, 3, world.events.append)
        if user:
            self.log_in(user)

    def decide(self, command: Fields | bytes, **more: Any) -> Decision:
        """Give the decision about one OP_MSG."""
        return self.session.receive(one_frame(message(command, **more)))

    def forward(self, command: Fields, **more: Any) -> Forward:
        """Give the decision about a command that must be forwarded."""
        decision = self.decide(command, **more)
        refused = isinstance(decision, Reply) and heard(one_frame(decision.message)).body
        assert isinstance(decision, Forward), refused
        return decision

    def ask(self, command: Fields, *answers: Fields, **more: Any) -> dict[str, Any]:
        """Give the reply to a command; `answers` are the cluster's, in turn."""
        data = carry_out(self.decide(command, **more), answers)
        return heard(one_frame(data)).body

    def log_in(self, user: str, password: str = PASSWORD) -> None:
        """Log in as drivers do."""
        scram = ScramClient([SCRAM_SHA_256], user, password, c_nonce=CLIENT_NONCE)
        first = {"saslStart": 1, "mechanism": SCRAM_SHA_256, "$db": "admin"}
        options = {"skipEmptyExchange": True}
        reply = self.ask({**first, "payload": scram.get_client_first(), "options": options})
        if not reply["ok"]:
            raise AssertionError(reply)
        scram.set_server_first(reply["payload"].decode())
        final = {"saslContinue": 1, "conversationId": reply["conversationId"], "$db": "admin"}
        reply = self.ask({**final, "payload": scram.get_client_final()})
        if not reply["ok"]:
            raise AssertionError(reply)
        scram.set_server_final(reply["payload"].decode())
        assert reply["done"] is True


def carry_out(
    decision: Decision,
    answers: Iterable[Fields] = (),
    member: str = MEMBER,
    peers: Iterable["World"] = (),
) -> bytes:
    """Give the bytes for the client; the cluster says what it is told to say, all of it."""
    left = iter(answers)
    try:
        return _carry_out(decision, left, member, tuple(peers))
    finally:
        assert next(left, None) is None, "the cluster was asked less than expected"


def _carry_out(
    decision: Decision, left: Iterator[Fields], member: str, peers: "tuple[World, ...]"
) -> bytes:
    if isinstance(decision, Forward):
        return decision.finish(decision.answer(_said(left, member)))
    if isinstance(decision, Run):
        return decision.finish(_run(decision, left, member, peers))
    assert isinstance(decision, Reply), decision
    return decision.message


def _said(answers: Iterator[Fields], member: str) -> Answer:
    found = next(answers, None)
    assert found is not None, "the cluster was asked more than expected"
    return Answer(bson.encode(found), member)


def _run(
    decision: Run, answers: Iterator[Fields], member: str, peers: "tuple[World, ...]" = ()
) -> bytes:
    try:
        step = next(decision.steps)
        while True:
            if isinstance(step, Chore):
                step = decision.steps.send(Answer(step.work(), ""))
            elif isinstance(step, Ask):
                parts = [for_another(world.tools(), step) for world in peers]
                said = [_carry_out(part, answers, member, ()) for part in parts if part is not None]
                step = decision.steps.send(Answer(b"", "", tuple(said)))
            else:
                step = decision.steps.send(_said(answers, member))
    except StopIteration as stop:
        return bytes(stop.value)


def steps_of(decision: Decision, *answers: Fields) -> list[dict[str, Any]]:
    """Give what a plan sends to the cluster, when that answers so."""
    assert isinstance(decision, Run)
    sent, left = [], iter(answers)
    try:
        exchange = next(decision.steps)
        while True:
            assert isinstance(exchange, Exchange)
            sent.append(told(exchange))
            exchange = decision.steps.send(_said(left, MEMBER))
    except StopIteration:
        return sent


# A whole connection: a client's bytes go in, a listener serves, a cluster answers as it is told.


class Wire(asyncio.Transport):
    """The transport of one connection, without a socket."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": ("127.0.0.1", 50000)})
        self.protocol = protocol
        self.written = bytearray()
        self.closed = self.aborted = self.reading = False
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        self.written += data

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self.close()


Told = Answer | Exception | asyncio.Future[Answer]


@dataclass(slots=True)
class Cluster:
    """The cluster: notes what it is asked, says what it was told to say, at once or in time."""

    asked: list[Exchange] = field(default_factory=list)
    answers: deque[Told] = field(default_factory=deque)
    cut: int = 0
    members: tuple[str, ...] = (MEMBER,)
    backends: Mapping[str, Backend] = field(default_factory=dict)

    def will_say(self, *documents: Fields, member: str = MEMBER) -> None:
        """Say these next."""
        self.answers.extend(Answer(bson.encode(each), member) for each in documents)

    def will_think(self) -> asyncio.Future[Answer]:
        """Say nothing next until the future is told."""
        found: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.answers.append(found)
        return found

    async def exchange(self, exchange: Exchange) -> Answer:
        self.asked.append(exchange)
        answer = self.answers.popleft() if self.answers else Answer(bson.encode({"ok": 1}), MEMBER)
        try:
            await asyncio.sleep(0)
            if isinstance(answer, asyncio.Future):
                answer = await answer
        except asyncio.CancelledError:
            self.cut += 1
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer


class Connection:
    """One client of a listener."""

    def __init__(self, listener: Listener, arrived: Arrived = plain) -> None:
        self.client = listener.client(arrived)
        self.wire = Wire(self.client)
        self.client.connection_made(self.wire)
        self._frames = Frames()
        self.got: list[Heard] = []

    async def send(self, data: bytes) -> None:
        """Send bytes and let everybody act."""
        self.client.data_received(data)
        await settle()
        self.read()

    def read(self) -> None:
        """Read what came."""
        data, self.wire.written = bytes(self.wire.written), bytearray()
        if data and not data.startswith(b"HTTP"):
            self.got += map(heard, self._frames.feed(data))

    async def ask(self, command: Fields, **more: Any) -> dict[str, Any]:
        """Give the answer to a command."""
        return (await self.hear(message(command, **more))).body

    async def hear(self, data: bytes) -> Heard:
        """Give the one message that answers these bytes."""
        before = len(self.got)
        await self.send(data)
        assert len(self.got) == before + 1, (self.got[before:], self.wire.closed)
        return self.got[-1]

    async def log_in(self, user: str) -> None:
        """Log in as drivers do."""
        scram = ScramClient([SCRAM_SHA_256], user, PASSWORD, c_nonce=CLIENT_NONCE)
        first = {"saslStart": 1, "mechanism": SCRAM_SHA_256, "$db": "admin"}
        options = {"skipEmptyExchange": True}
        reply = await self.ask({**first, "payload": scram.get_client_first(), "options": options})
        scram.set_server_first(reply["payload"].decode())
        final = {"saslContinue": 1, "conversationId": reply["conversationId"], "$db": "admin"}
        reply = await self.ask({**final, "payload": scram.get_client_final()})
        assert reply["ok"], reply

    async def leave(self) -> None:
        """Close from the client's side."""
        self.wire.closed = True
        self.client.connection_lost(None)
        await settle()


async def settle() -> None:
    """Let everything happen that can happen without time."""
    for _ in range(20):
        await asyncio.sleep(0)


class AtOnce(Chores):
    """Slow work is done by the loop itself, which tests have time for."""

    async def done(self, chore: Chore) -> bytes:
        await asyncio.sleep(0)
        return chore.work()


@dataclass(slots=True)
class House:
    """A listener with its world and its cluster."""

    world: World
    cluster: Cluster
    listener: Listener

    async def visitor(self, user: str = "", channel: Channel | None = None) -> Connection:
        """Give a new connection, logged in when there is a name."""
        found = Connection(self.listener)
        found.client.channel = channel or found.client.channel
        if user:
            await found.log_in(user)
        return found


@asynccontextmanager
async def house(world: World | None = None, **tools: Any) -> AsyncIterator[House]:
    """Run a listener; everybody is shown out at the end."""
    world = world or World()
    cluster = Cluster()
    async with asyncio.TaskGroup() as group:
        listener = Listener(world.tools(**tools), cluster, group, world.apps, chores=AtOnce())
        yield House(world, cluster, listener)
        await listener.drain(0.05)


def wire_value(value: Any) -> Any:
    """Give a plain value as it comes off the wire."""
    return rawbson.Document(bson.encode({"v": value}))["v"]
