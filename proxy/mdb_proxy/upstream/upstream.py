"""The cluster as one thing that answers: choose a member, borrow a connection, exchange."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from mdb_engine import rawbson
from mdb_engine.exceptions import (
    BSONObjectTooLargeError,
    ConfigurationError,
    InitializationError,
    InvalidBSONError,
    OverloadedError,
    UnreachableError,
    UpstreamError,
)
from mdb_proxy.decisions import Answer, Backend, Exchange
from mdb_proxy.upstream.clock import ClusterClock
from mdb_proxy.upstream.connection import Connection
from mdb_proxy.upstream.discovery import NO_MEMBER, ClusterFeatures, Discovery
from mdb_proxy.upstream.failures import is_final, labels
from mdb_proxy.upstream.handshake import connect
from mdb_proxy.upstream.lanes import Address, Lanes
from mdb_proxy.upstream.pool import Pool, PoolSettings
from mdb_proxy.upstream.preference import ANY, PRIMARY, Selector, selector
from mdb_proxy.upstream.resending import TELLING, Setback, nature, setback, state_change
from mdb_proxy.upstream.target import Target, read_target
from mdb_proxy.wire import MAX_MESSAGE, WireError

OLDEST_WIRE_VERSION: Final = 17
"""MongoDB 6.0."""
_RELEASES: Final = {
    6: "3.6",
    7: "4.0",
    8: "4.2",
    9: "4.4",
    13: "5.0",
    14: "5.1",
    15: "5.2",
    16: "5.3",
}
MOST_LOST: Final = 2
"""How many answers of one command may get lost; drivers repeat a command once as well."""
FIRST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 0.25
"""Seconds between two attempts; before the second one there is none."""
ABANDON_SECONDS: Final = 1.0
_OVERHEAD: Final = 1024
"""Bytes of a message besides body and sections: header, flags, section headers."""


@dataclass(slots=True)
class Errand:
    """One command on its way.

    Attributes:
        body: with our fields; made once, so that every attempt sends the same bytes.
        waited: seconds, for connections.
    """

    exchange: Exchange
    rule: Selector
    body: bytes = b""
    waited: float = 0.0


class Upstream:
    """Made by `open_upstream`."""

    def __init__(
        self, discovery: Discovery, lanes: Lanes, target: Target, selection_timeout: float
    ) -> None:
        self._discovery, self._lanes, self._target = discovery, lanes, target
        self._selection_timeout = selection_timeout
        self._clock = ClusterClock()

    @property
    def features(self) -> ClusterFeatures:
        """What all known members can do, now."""
        return self._discovery.features

    @property
    def members(self) -> tuple[str, ...]:
        """Who holds data, as `host:port`, the primary first."""
        known = [each for each in self._discovery.description.known_servers if each.is_readable]
        known.sort(key=lambda each: not each.is_writable)
        return tuple(f"{host}:{port}" for host, port in (each.address for each in known))

    @property
    def backends(self) -> dict[str, Backend]:
        """How each member is, by `host:port`."""
        known = self._discovery.description.server_descriptions()
        return {
            f"{host}:{port}": Backend(each.is_readable, *self._lanes.sizes((host, port or 0)))
            for (host, port), each in known.items()
        }

    async def exchange(self, exchange: Exchange) -> Answer:
        """Send one command to a suitable member and give its reply.

        A failure that passes (an election, a broken connection) is waited for, at most the
        selection timeout and the command's own time, where sending again can do no harm.
        Cancellation closes the connection that was used.

        Raises:
            UpstreamError: it was not answered; carries the labels that drivers go by.
            OverloadedError: no connection became free in time.
            BSONObjectTooLargeError: the message is longer than a server takes.
            QueryValidationError: the read preference cannot be satisfied.
        """
        try:
            return await self._exchange(exchange)
        except asyncio.CancelledError:
            if rawbson.Document(exchange.body).first == "getMore":
                await self._abandon(exchange)
            raise

    async def _exchange(self, exchange: Exchange) -> Answer:
        errand = Errand(exchange, selector(exchange.read_preference))
        began = asyncio.get_running_loop().time()
        outcome = await self._first(errand)
        if isinstance(outcome, Answer):
            return outcome
        seconds = self._selection_timeout
        if exchange.time_ms is not None:
            seconds = min(seconds, exchange.time_ms / 1000)
        found = await self._persist(errand, outcome, began + seconds)
        if isinstance(found, UpstreamError):
            raise UpstreamError(found.reason, labels(exchange.body)) from found
        return found

    async def check(self, seconds: float | None = None) -> None:
        """Connect to a member and log in; every known member must be recent enough.

        Args:
            seconds: how long to wait for a member; None: as commands do.

        Raises:
            UnreachableError: it may be there later. InitializationError: it does not want us, or
                is too old. One clear sentence, without secrets.
        """
        seconds = self._selection_timeout if seconds is None else seconds
        try:
            async with asyncio.timeout(seconds):
                member = await self._discovery.next(ANY)
        except TimeoutError:
            self._check_versions()
            raise self._silence(seconds) from None
        self._check_versions()
        pool = self._lanes.pool(member, awaited=False)
        try:
            pool.give(await pool.take(app=""))
        except UpstreamError as error:
            raise _start_error(error, error.reason) from None

    def _silence(self, seconds: float) -> InitializationError:
        hosts = ", ".join(self._target.hosts)
        reason = f"no member of the cluster ({hosts}) answered in {seconds:g} s"
        errors = [each.error for each in self._discovery.members if each.error]
        if not errors:
            return UnreachableError(reason)
        error = next(filter(is_final, errors), errors[0])
        # the driver appends its timeouts in brackets
        return _start_error(error, f"{reason}: {str(error).partition(' (configured')[0]}")

    def _check_versions(self) -> None:
        for member in self._discovery.description.known_servers:
            version = member.max_wire_version
            if version < OLDEST_WIRE_VERSION:
                release = _RELEASES.get(version, "an old release")
                host, port = member.address
                raise InitializationError(
                    f"{host}:{port} runs MongoDB {release}; every member must run 6.0 or newer"
                )

    async def _abandon(self, exchange: Exchange) -> None:
        """Kill the cursor of a `getMore` that nobody waits for any more; its batch is lost.

        Closing the connection is not enough: the server goes on working or waiting, for as long as
        it was asked to (6.0.5). Of a killed one it ends the wait with the next write of anybody.
        """
        command = rawbson.Document(exchange.body)
        kill = {
            "killCursors": command["collection"],
            "cursors": [command["getMore"]],
            "$db": command["$db"],
        }
        again = replace(exchange, body=rawbson.encode(kill), awaited=False)
        with suppress(UpstreamError, OverloadedError, TimeoutError):
            async with asyncio.timeout(ABANDON_SECONDS):
                await self._first(Errand(again, PRIMARY))

    async def _first(self, errand: Errand) -> Answer | Setback:
        """The first attempt: to whom it belongs, if that is known."""
        try:
            pin = errand.exchange.pin
            member = self._discovery.pinned(pin) if pin else self._discovery.suitable(errand.rule)
            if member is None:
                return Setback(UpstreamError(NO_MEMBER), sent=False)
            pool, connection = await self._taken(member, errand)
        except UpstreamError as error:
            return Setback(error, sent=False)
        return await self._ask(member, pool, connection, errand)

    async def _persist(
        self, errand: Errand, setback: Setback, deadline: float
    ) -> Answer | UpstreamError:
        """Attempt after attempt until one succeeds, would do harm, or the time is over."""
        kind, pinned = nature(errand.exchange.body), errand.exchange.pin is not None
        kept, pause, lost = setback, 0.0, int(setback.lost)
        while lost < MOST_LOST and kind.may_follow(setback, pinned):
            try:
                async with asyncio.timeout_at(deadline):
                    await asyncio.sleep(pause)
                    member = await self._discovery.next(errand.rule)
                    pool, connection = await self._taken(member, errand)
            except UpstreamError as error:
                outcome: Answer | Setback = Setback(error, sent=False)
            except TimeoutError:
                return kept.outcome
            else:
                outcome = await self._ask(member, pool, connection, errand)
            if isinstance(outcome, Answer):
                return outcome
            setback = outcome
            # The first word of a member; but what may have been executed is not told as refused.
            kept = setback if setback.harmful or not kept.sent else kept
            lost += setback.lost
            pause = min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE)
        return setback.outcome

    async def _taken(self, member: Address, errand: Errand) -> tuple[Pool, Connection]:
        """A connection to a member, and where it goes back."""
        if not errand.body:
            errand.body = self._body(errand.exchange, errand.rule)
        pool = self._lanes.pool(member, errand.exchange.awaited)
        now = asyncio.get_running_loop().time
        began = now()
        try:
            connection = await pool.take(errand.exchange.app)
        except UpstreamError:
            self._discovery.doubt(member, firm=False)
            raise
        errand.waited += now() - began
        return pool, connection

    def _body(self, exchange: Exchange, rule: Selector) -> bytes:
        extra = self._clock.element
        if rule is not PRIMARY and not self.features.standalone:
            extra += rawbson.element(b"$readPreference", exchange.read_preference)
        body = rawbson.splice_end(exchange.body, extra) if extra else exchange.body
        size = sum(len(each) for _, documents in exchange.sections for each in documents)
        if len(body) + size + _OVERHEAD > MAX_MESSAGE:
            raise BSONObjectTooLargeError(f"the message is longer than {MAX_MESSAGE} bytes")
        return body

    async def _ask(
        self, member: Address, pool: Pool, connection: Connection, errand: Errand
    ) -> Answer | Setback:
        """Send it once."""
        try:
            async with asyncio.timeout(self._target.reply_seconds):
                reply = await connection.exchange(errand.body, errand.exchange.sections)
            names = self._clock.note(reply)
        except TimeoutError:
            return self._lost(member, f"{connection.member} did not answer in time")
        except (OSError, WireError):
            return self._lost(member, f"the connection to {connection.member} broke")
        except InvalidBSONError:
            connection.abort()
            return self._lost(member, f"{connection.member} sent what is no document")
        finally:
            pool.give(connection)
        answer = Answer(reply, connection.member, waited=errand.waited)
        if TELLING.isdisjoint(names):
            return answer
        return self._looked_into(answer, member, errand.exchange)

    def _lost(self, member: Address, reason: str) -> Setback:
        """The connection is gone, and with it perhaps every other one to this member."""
        self._discovery.doubt(member, firm=False)
        self._lanes.forget(member)
        return Setback(UpstreamError(reason))

    def _looked_into(self, answer: Answer, member: Address, exchange: Exchange) -> Answer | Setback:
        """The reply holds an error: the client's, or one of the member's state."""
        found = setback(answer, exchange)
        if found is None:
            return answer
        self._discovery.doubt(member, state_change(answer.body), firm=True)
        return found


def _start_error(error: Exception, reason: str) -> InitializationError:
    return (InitializationError if is_final(error) else UnreachableError)(reason)


@asynccontextmanager
async def open_upstream(
    uri: str, *, app_name: str, pool: PoolSettings, selection_timeout: float
) -> AsyncIterator[Upstream]:
    """Watch a cluster and connect to its members as needed; leaves no task and no socket behind.

    Does not wait for the cluster: call `check` to know whether it is there.

    Args:
        uri: a MongoDB URI.
        app_name: how the cluster's logs call us.
        pool: bounds of the connections per member; `maxPoolSize` of the URI comes before it.
        selection_timeout: seconds that a command waits for a suitable member.

    Raises:
        ConfigurationError: the URI is not usable.
        InitializationError: the URI's SRV name does not resolve.
    """
    target = await read_target(uri)

    async def reach(member: Address) -> Connection:
        return await connect(member, target, app_name)

    lanes = Lanes(reach, replace(pool, max_size=target.pool_size or pool.max_size))
    client = _watcher(uri, app_name, target.heartbeat_seconds)
    try:
        try:
            await client.aconnect()
        except PyMongoError as error:
            raise InitializationError("the cluster cannot be looked up") from error
        discovery = Discovery(client, selection_timeout, lanes.busy)
        with lanes.pruning(lambda: discovery.addresses, lambda: discovery.silent):
            yield Upstream(discovery, lanes, target, selection_timeout)
    finally:
        await lanes.close()
        await client.close()
        # a socket that was aborted just now is closed in the loop's next round
        await asyncio.sleep(0)


def _watcher(uri: str, app_name: str, seconds: float) -> AsyncMongoClient[Any]:
    """A client for its monitors alone: they do not log in, and it opens no other connection."""
    try:
        return AsyncMongoClient(
            uri, appname=app_name, minPoolSize=0, heartbeatFrequencyMS=round(seconds * 1000)
        )
    except (PyMongoError, ValueError):
        # `from None`: the driver's text may quote the URI
        raise ConfigurationError("the MongoDB URI is not usable") from None
