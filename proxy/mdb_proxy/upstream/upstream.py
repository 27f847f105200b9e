"""The cluster as one thing that answers: choose a member, borrow a connection, exchange."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from mdb_engine import rawbson
from mdb_engine.exceptions import (
    BSONObjectTooLargeError,
    ConfigurationError,
    InitializationError,
    InvalidBSONError,
    UpstreamError,
)
from mdb_proxy.decisions import Answer, Exchange
from mdb_proxy.upstream.clock import ClusterClock
from mdb_proxy.upstream.connection import Connection
from mdb_proxy.upstream.discovery import ClusterFeatures, Discovery
from mdb_proxy.upstream.failures import labels
from mdb_proxy.upstream.handshake import connect
from mdb_proxy.upstream.lanes import Address, Lanes
from mdb_proxy.upstream.pool import PoolSettings
from mdb_proxy.upstream.preference import ANY, PRIMARY, Selector, selector
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
_OVERHEAD: Final = 1024
"""Bytes of a message besides body and sections: header, flags, section headers."""


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

    async def exchange(self, exchange: Exchange) -> Answer:
        """Send one command to a suitable member and give its reply.

        Cancellation closes the connection that was used.

        Raises:
            UpstreamError: it was not answered; carries the labels that drivers go by.
            OverloadedError: no connection became free in time.
            BSONObjectTooLargeError: the message is longer than a server takes.
            QueryValidationError: the read preference cannot be satisfied.
        """
        rule = selector(exchange.read_preference)
        try:
            member = await self._member(exchange, rule)
            return await self._ask(member, exchange, self._body(exchange, rule))
        except UpstreamError as error:
            raise UpstreamError(error.reason, labels(exchange.body)) from error

    async def check(self) -> None:
        """Connect to a member and log in; every known member must be recent enough.

        Raises:
            InitializationError: one clear sentence, without secrets.
        """
        try:
            member = await self._discovery.select(ANY)
        except UpstreamError:
            raise InitializationError(self._silence()) from None
        self._check_versions()
        pool = self._lanes.pool(member, awaited=False)
        try:
            pool.give(await pool.take(app=""))
        except UpstreamError as error:
            raise InitializationError(error.reason) from None

    def _silence(self) -> str:
        hosts = ", ".join(self._target.hosts)
        reason = f"no member of the cluster ({hosts}) answered in {self._selection_timeout:g} s"
        errors = [str(each.error) for each in self._discovery.members if each.error]
        # the driver appends its timeouts in brackets
        return f"{reason}: {errors[0].partition(' (configured')[0]}" if errors else reason

    def _check_versions(self) -> None:
        for member in self._discovery.description.known_servers:
            version = member.max_wire_version
            if version < OLDEST_WIRE_VERSION:
                release = _RELEASES.get(version, "an old release")
                host, port = member.address
                raise InitializationError(
                    f"{host}:{port} runs MongoDB {release}; every member must run 6.0 or newer"
                )

    async def _member(self, exchange: Exchange, rule: Selector) -> Address:
        if exchange.pin is not None:
            return self._discovery.pinned(exchange.pin)
        return await self._discovery.select(rule)

    def _body(self, exchange: Exchange, rule: Selector) -> bytes:
        extra = self._clock.element
        if rule is not PRIMARY and not self.features.standalone:
            extra += rawbson.element(b"$readPreference", exchange.read_preference)
        body = rawbson.splice_end(exchange.body, extra) if extra else exchange.body
        size = sum(len(each) for _, documents in exchange.sections for each in documents)
        if len(body) + size + _OVERHEAD > MAX_MESSAGE:
            raise BSONObjectTooLargeError(f"the message is longer than {MAX_MESSAGE} bytes")
        return body

    async def _ask(self, member: Address, exchange: Exchange, body: bytes) -> Answer:
        pool = self._lanes.pool(member, exchange.awaited)
        connection = await pool.take(exchange.app)
        try:
            async with asyncio.timeout(self._target.reply_seconds):
                reply = await connection.exchange(body, exchange.sections)
            self._clock.note(reply)
        except TimeoutError as error:
            raise UpstreamError(f"{connection.member} did not answer in time") from error
        except (OSError, WireError) as error:
            raise UpstreamError(f"the connection to {connection.member} broke") from error
        except InvalidBSONError as error:
            connection.abort()
            raise UpstreamError(f"{connection.member} sent what is no document") from error
        finally:
            pool.give(connection)
        return Answer(reply, connection.member)


@asynccontextmanager
async def open_upstream(
    uri: str, *, app_name: str, pool: PoolSettings, selection_timeout: float
) -> AsyncIterator[Upstream]:
    """Watch a cluster and connect to its members as needed; leaves no task and no socket behind.

    Does not wait for the cluster: call `check` to know whether it is there.

    Args:
        uri: a MongoDB URI.
        app_name: how the cluster's logs call us.
        pool: bounds of the connections per member.
        selection_timeout: seconds that a command waits for a suitable member.

    Raises:
        ConfigurationError: the URI is not usable.
        InitializationError: the URI's SRV name does not resolve.
    """
    target = await read_target(uri)

    async def reach(member: Address) -> Connection:
        return await connect(member, target, app_name)

    lanes = Lanes(reach, pool)
    client = _watcher(uri, app_name)
    try:
        try:
            await client.aconnect()
        except PyMongoError as error:
            raise InitializationError("the cluster cannot be looked up") from error
        discovery = Discovery(client, selection_timeout, lanes.busy)
        with lanes.pruning(lambda: discovery.addresses):
            yield Upstream(discovery, lanes, target, selection_timeout)
    finally:
        await lanes.close()
        await client.close()
        # a socket that was aborted just now is closed in the loop's next round
        await asyncio.sleep(0)


def _watcher(uri: str, app_name: str) -> AsyncMongoClient[Any]:
    """A client for its monitors alone: they do not log in, and it opens no other connection."""
    try:
        return AsyncMongoClient(uri, appname=app_name, minPoolSize=0)
    except (PyMongoError, ValueError):
        # `from None`: the driver's text may quote the URI
        raise ConfigurationError("the MongoDB URI is not usable") from None
