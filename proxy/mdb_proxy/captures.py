"""When a newer slug takes names from an app: what the app still runs under them is ended.

The router honours the claim (it reports so, `registry/routers.py`) when this is done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

import structlog
from bson.int64 import Int64

from mdb_engine.exceptions import RefusedError, UpstreamError
from mdb_proxy import envelope
from mdb_proxy.cursors import Cursor, Cursors, Sessions
from mdb_proxy.decisions import Answer, Exchange
from mdb_proxy.lsids import lsid

GRACE_SECONDS: Final = 10.0
"""How long commands that began before may go on: nobody knows which names they touch."""

log = structlog.get_logger("mdb_proxy.captures")

Exchanging = Callable[[Exchange], Awaitable[Answer]]


def under(cursors: Mapping[int, Cursor], prefixes: tuple[str, ...]) -> dict[int, Cursor]:
    """Cursors on names that begin so, and change streams that would show them."""
    return {
        number: cursor
        for number, cursor in cursors.items()
        if cursor.physical.startswith(prefixes)
        or (cursor.stream and cursor.physical.startswith("$cmd"))
    }


async def kill(app: str, cursors: Mapping[int, Cursor], exchange: Exchanging) -> None:
    """End cursors in the cluster; what fails ends by the server's own limit."""
    for number, cursor in cursors.items():
        fields = {"killCursors": cursor.physical, "cursors": [Int64(number)]}
        made = envelope.exchange({**fields, "$db": cursor.database}, app, pin=cursor.member)
        await _quietly(exchange(made))
    log.info("cursors.killed", slug=app, cursors=len(cursors))


async def let_go(
    app: str,
    prefixes: tuple[str, ...],
    held: tuple[Cursors, Sessions],
    exchange: Exchanging,
) -> None:
    """End what an app holds open under names that are another's now.

    Args:
        app: the slug that loses the names.
        prefixes: how these begin.
        held: what the process remembers of the app's cursors and transactions.
        exchange: sends a command to the cluster.
    """
    cursors, sessions = held
    found = under(cursors.of(app), prefixes)
    cursors.close(found)
    if found:
        await kill(app, found, exchange)
    for session, _, member in sessions.transactions(app):
        # An abort must name the API version that the transaction began with (347, 6.0.5).
        fields = {"killSessions": [lsid(session)], "$db": "admin"}
        await _quietly(exchange(envelope.exchange(fields, app, pin=member)))
        sessions.ended(app, session)
    log.info("names.captured", slug=app, cursors=len(found))


async def _quietly(sent: Awaitable[Answer]) -> None:
    with suppress(UpstreamError, RefusedError):
        await sent
