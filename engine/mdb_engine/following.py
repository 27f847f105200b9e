"""Keeps what a process knows of the ledger and the stores fresh, and lets go of what others took.

The engine is a router as the proxy is: it says that it lives, and which claimed slugs it honours,
that is, by which it resolves names while nothing that began before still runs under them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from secrets import token_hex
from time import monotonic
from typing import Any, Final

import structlog
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from mdb_engine.background import Supervisor
from mdb_engine.database.grants import Known
from mdb_engine.database.house import Calls, House
from mdb_engine.exceptions import MongoDBEngineError
from mdb_engine.registry import ledger, routers
from mdb_engine.registry.claims import CLAIMED, LedgerEntry
from mdb_engine.registry.survey import survey

FOLLOW_SECONDS: Final = 1.0
"""How often the ledger is read again: slugs that others register own their names."""

HASTE_SECONDS: Final = 0.1
"""The same while this process registers an app, and others wait for it."""

SURVEY_SECONDS: Final = 5.0
"""How often what is stored is counted; until then an app may have some more."""

REPORT_SECONDS: Final = 3.0
"""How often a process says that it lives; while a slug is claimed, each time."""

OUTLAST_SECONDS: Final = 0.05

log = structlog.get_logger("mdb_engine.following")


@dataclass(slots=True)
class Following:
    """What one engine knows, and the loop that keeps it fresh.

    Attributes:
        known: swapped whole. house: what its apps hold. jobs: where its work runs.
        router: what this process is called where routers report.
        claimed: slugs that wait for it. yielding: how many times something is let go of now.
        haste: somebody waits for this process.
    """

    known: Known
    jobs: Supervisor
    house: House = field(default_factory=House)
    router: str = field(default_factory=lambda: token_hex(8))
    claimed: frozenset[str] = frozenset()
    yielding: int = 0
    haste: int = 0
    clock: Callable[[], float] = monotonic
    client: AsyncMongoClient[dict[str, Any]] | None = None

    async def open(self, client: AsyncMongoClient[dict[str, Any]]) -> None:
        """Read everything for the first time, and go on doing so.

        Raises:
            PyMongoError: the cluster does not answer.
        """
        self.client = client
        await self.read()
        await self.survey()
        await routers.prepare(self._database)
        await self.report()
        self.jobs.start("ledger.follow", self.follow, lasting=True)

    async def close(self) -> None:
        """Nobody has to wait for this process any more; if that cannot be said, a while longer."""
        if self.client is not None:
            with suppress(PyMongoError, TimeoutError):
                async with asyncio.timeout(FOLLOW_SECONDS):
                    await routers.leave(self._database, self.router)
        self.client = None

    @property
    def _database(self) -> AsyncDatabase[dict[str, Any]]:
        if self.client is None:
            msg = "the engine is not open"
            raise RuntimeError(msg)
        return self.client[self.known.database]

    async def read(self) -> None:
        """Read the ledger; what newer slugs took is let go of in the background."""
        began = self.clock()
        entries = await ledger.entries(self._database)
        self.claimed = frozenset(s for s, entry in entries.items() if entry.state == CLAIMED)
        before = self.known.entries
        if entries != before:
            self.known = replace(self.known, entries=entries)
            self._let_go(before, entries)
        self.house.confirmed = began

    def _let_go(self, before: Mapping[str, LedgerEntry], after: Mapping[str, LedgerEntry]) -> None:
        taken = captured(before, after)
        if taken:
            self.yielding += 1
            self.jobs.start("names.let_go", lambda: self._yielded(taken))

    async def _yielded(self, taken: tuple[str, ...]) -> None:
        try:
            await let_go(self.house, taken, self._kill)
        finally:
            self.yielding -= 1

    async def _kill(self, session: Mapping[str, Any]) -> None:
        with suppress(PyMongoError):
            await self._database.client.admin.command({"killSessions": [session]})

    async def survey(self) -> None:
        """Look at what every app has stored."""
        found = await survey(self._database, self.known.entries, self.known.manifests)
        self.house.holdings = found.holdings
        if found.views != self.known.views:
            self.known = replace(self.known, views=found.views)

    async def report(self) -> None:
        """Say that this process lives, and which claims it honours."""
        honours: Collection[str] = () if self.yielding else self.claimed
        await routers.report(self._database, self.router, honours)

    async def follow(self) -> None:
        """Read again and again; while that fails what was known counts, for a while."""
        surveyed = reported = self.clock()
        while True:
            await asyncio.sleep(HASTE_SECONDS if self.haste else FOLLOW_SECONDS)
            try:
                await self.read()
                if self.claimed or self.clock() - reported >= REPORT_SECONDS:
                    await self.report()
                    reported = self.clock()
                if self.clock() - surveyed >= SURVEY_SECONDS:
                    await self.survey()
                    surveyed = self.clock()
            except (MongoDBEngineError, PyMongoError) as error:
                log.warning("ledger.stale", reason=type(error).__name__)


def captured(before: Collection[str], after: Collection[str]) -> tuple[str, ...]:
    """How the names begin that slugs which are new took from older ones."""
    stems = tuple(f"{slug}_" for slug in before)
    return tuple(f"{slug}_" for slug in after if slug not in before and slug.startswith(stems))


async def let_go(
    house: House, taken: tuple[str, ...], kill: Callable[[Mapping[str, Any]], Any]
) -> None:
    """End what is open under names that are another app's now, and outlast what is on its way.

    Which names a call touches is not noted, so all calls are waited for, and every open
    transaction of the process ends. Nobody's call is broken off: who claims waits, or gives up.

    Args:
        house: what is open.
        taken: how the names begin.
        kill: ends a session in the cluster.
    """
    going = list(house.calls.values())
    house.calls.clear()
    for feed in [each for hand in list(house.cursors.values()) for each in hand]:
        if feed.held and feed.physical.startswith(taken):
            await feed.end()
    for stream in [each for hand in list(house.streams.values()) for each in hand]:
        await stream.refresh()
    for session in [each for hand in list(house.transactions.values()) for each in hand]:
        if session.held:
            await kill(session.session_id)
    await _outlast(going)
    log.info("names.captured", taken=list(taken))


async def _outlast(going: Collection[Calls]) -> None:
    while left := [calls for calls in going if calls.going]:
        log.debug("calls.awaited", calls=sum(calls.going for calls in left))
        await asyncio.sleep(OUTLAST_SECONDS)
