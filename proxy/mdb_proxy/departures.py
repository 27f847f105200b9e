"""What clients that left had open is ended: cursors, transactions, the sessions that held them.

A cursor outside a session goes with the connection that it was opened on. Sessions belong to no
connection, drivers continue them on any: they go when no connection of the same credential and
client address has been left in any worker for a while. Until then the server's own limits count.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import structlog

from mdb_engine.exceptions import RefusedError, UpstreamError
from mdb_proxy import envelope
from mdb_proxy.captures import kill
from mdb_proxy.cursors import Cursors, Sessions
from mdb_proxy.decisions import Answer, Exchange
from mdb_proxy.lsids import lsid

PATIENCE_SECONDS: Final = 2.0
"""How long nobody may be there; drivers that lost all connections are back in less."""

MOST_TIMES: Final = 5
"""So often a worker may fail to say whether somebody is left; then nobody is."""

MANY: Final = 1_000
"""Sessions that one command names."""

log = structlog.get_logger("mdb_proxy.departures")


class Guest(NamedTuple):
    """Who may have gone for good: a credential at a client's address, without its port."""

    app: str
    user: str
    address: str


async def _nobody(_guest: Guest) -> Sequence[bool | None]:
    """There are no other workers."""
    return ()


async def _unheard(_guest: Guest) -> None:
    """Nobody has to know."""


@dataclass(slots=True)
class Departures:
    """Who is there, by connections, and the end of what the others left.

    Attributes:
        spawn: runs something in the background. others: whether other workers have such a guest;
            None of one that does not say. tell: has them end what it left with them.
        closing: the process ends; another one, or another host, may go on with what is open.
    """

    cursors: Cursors
    sessions: Sessions
    exchange: Callable[[Exchange], Awaitable[Answer]]
    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
    others: Callable[[Guest], Awaitable[Sequence[bool | None]]] = _nobody
    tell: Callable[[Guest], Awaitable[None]] = _unheard
    closing: bool = False
    _guests: Counter[Guest] = field(default_factory=Counter)
    _watched: dict[Guest, asyncio.Task[None]] = field(default_factory=dict)
    _leaves: Counter[Guest] = field(default_factory=Counter)

    def came(self, guest: Guest) -> None:
        """A connection has logged in."""
        self._guests[guest] += 1

    def left(self, guest: Guest, connection: int) -> None:
        """A connection has gone, or is somebody else's now."""
        self._guests[guest] -= 1
        if self._guests[guest] <= 0:
            del self._guests[guest]
        if self.closing:
            return
        born = self.cursors.born(connection)
        if born:
            self.cursors.close(born)
            self.spawn(kill(guest.app, born, self.exchange))
        if guest in self._guests:
            return
        if guest in self._watched:
            self._leaves[guest] += 1
        elif self._holds(guest):
            self._watched[guest] = self.spawn(self._watch(guest))

    def has(self, guest: Guest) -> bool:
        """Whether a connection of such a guest is here."""
        return guest in self._guests

    def close(self) -> None:
        """End nothing any more."""
        self.closing = True
        for task in self._watched.values():
            task.cancel()

    def _holds(self, guest: Guest) -> bool:
        """Whether there is anything to end; with other workers they may have it."""
        if self.others is not _nobody:
            return True
        return bool(self.sessions.at(*guest))

    async def _watch(self, guest: Guest) -> None:
        try:
            if await self._has_gone(guest):
                await self.clear(guest)
                await self.tell(guest)
        finally:
            self._watched.pop(guest, None)
            self._leaves.pop(guest, None)

    async def _has_gone(self, guest: Guest) -> bool:
        """Wait; whether nobody is there then. Who came and left meanwhile begins the wait anew."""
        silences = 0
        while silences < MOST_TIMES:
            leaves = self._leaves[guest]
            await asyncio.sleep(PATIENCE_SECONDS)
            if self.has(guest):
                return False
            if self._leaves[guest] != leaves:
                continue
            said = await self.others(guest)
            if any(said):
                return False
            if None not in said:
                break
            silences += 1
        return not self.has(guest)

    async def clear(self, guest: Guest) -> None:
        """End what a guest has left with us, unless it is back."""
        if self.has(guest):
            return
        found = self.sessions.at(*guest)
        self.sessions.end(guest.app, found)
        self.cursors.close_in(frozenset(found))
        for name in ("killSessions", "endSessions"):
            for first in range(0, len(found), MANY):
                ids = [lsid(each) for each in found[first : first + MANY]]
                made = envelope.exchange({name: ids, "$db": "admin"}, guest.app)
                with suppress(UpstreamError, RefusedError):
                    await self.exchange(made)
        if found:
            log.info("client.left", slug=guest.app, sessions=len(found))
