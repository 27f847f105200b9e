"""What a client behind a balancer had open ends with its connection, at once.

Such a client asks for its cursors and transactions nowhere else: the balancer would choose a
process for it. Other clients may continue on any connection, theirs are ended in `departures`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from mdb_engine.exceptions import RefusedError, UpstreamError
from mdb_proxy import envelope
from mdb_proxy.captures import kill
from mdb_proxy.cursors import Cursor, Cursors, Sessions
from mdb_proxy.decisions import Answer, Exchange
from mdb_proxy.lsids import lsid

log = structlog.get_logger("mdb_proxy.pins")


@dataclass(frozen=True, slots=True)
class Pinned:
    """What one connection held of an app: cursors by number, sessions with an open transaction."""

    app: str
    cursors: Mapping[int, Cursor]
    sessions: Sequence[tuple[bytes, str | None]]


def taken(app: str, connection: int, cursors: Cursors, sessions: Sessions) -> Pinned | None:
    """Take what a connection held out of the tables; None: nothing."""
    found = cursors.opened(connection)
    cursors.close(found)
    begun = sessions.begun(app, connection)
    for session, _ in begun:
        sessions.ended(app, session)
    return Pinned(app, found, begun) if found or begun else None


async def release(pinned: Pinned, exchange: Callable[[Exchange], Awaitable[Answer]]) -> None:
    """End it in the cluster; what fails ends by the server's own limit."""
    app = pinned.app
    for session, member in pinned.sessions:
        # An abort must name the API version that the transaction began with (347, 6.0.5).
        made = envelope.exchange({"killSessions": [lsid(session)], "$db": "admin"}, app, pin=member)
        with suppress(UpstreamError, RefusedError):
            await exchange(made)
    if pinned.cursors:
        await kill(app, pinned.cursors, exchange)
    log.info("client.released", slug=app, transactions=len(pinned.sessions))
