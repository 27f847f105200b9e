"""From manifests and stores to a `Directory`: built whole, then swapped in one step.

`Household` keeps the current one fresh; `read_again` is what SIGHUP asks for.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import structlog
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure, PyMongoError

from mdb_engine.exceptions import MongoDBEngineError
from mdb_engine.indexes import apply_indexes
from mdb_engine.manifest import Manifest, load_folder
from mdb_engine.manifest.scopes import scope_of
from mdb_engine.registry import credentials, ledger, routers, secrets
from mdb_engine.registry.claims import CLAIMED, LedgerEntry
from mdb_engine.registry.stores import SLUGS
from mdb_engine.registry.survey import survey
from mdb_engine.scope.holdings import Holdings
from mdb_engine.scope.model import Features, Role, Scope
from mdb_proxy.directory import Directory
from mdb_proxy.doors import Entrances, doors
from mdb_proxy.keyring import FETCH_SECONDS, KeyRing
from mdb_proxy.metrics import FAILED, OK
from mdb_proxy.quotas import shared
from mdb_proxy.upstream import OLDEST_WIRE_VERSION

Database = AsyncDatabase[dict[str, Any]]
FOLLOW_SECONDS: Final = 1.0
"""How often the stores are read again: a credential works within two seconds of its making."""

SURVEY_TURNS: Final = 5
"""Every so many of these what is stored is counted; until then an app may have some more."""

REPORT_TURNS: Final = 3
"""Every so many of these a process says that it lives; while a slug is claimed, each time."""

log = structlog.get_logger("mdb_proxy.reload")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the cluster told us of itself at the start."""

    version: str
    max_wire_version: int
    features: Features


async def has_search(database: Database) -> bool:
    """Whether the cluster has a search process: asked of a collection that is there."""
    try:
        await database[SLUGS].aggregate([{"$listSearchIndexes": {}}])
    except OperationFailure:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Plan:
    """Manifests, and the directory that they make."""

    manifests: Mapping[str, Manifest]
    directory: Directory


def _unheard(_before: Directory, _after: Directory) -> None:
    """Nobody has to know."""


@dataclass(slots=True)
class Household:
    """The current directory, and what it is made of.

    Attributes:
        opened: the stores were read once.
        stale: the last attempt to build it anew failed; the one before it serves.
        views: physical view -> what it reads.
        workers: processes that share what an app may hold at a time.
        changed: is told of every new directory, and of the one before it.
        yielding: whether something still runs under names that a claim took.
        entrances: the ways in that the settings know. ring: the keys of issuers.
        router: what this process is called where routers report. claimed: slugs that wait for it.
    """

    database: Database
    manifests: Mapping[str, Manifest]
    cluster: Cluster
    address: str
    secret: bytes = field(default=b"", repr=False)
    current: Directory = field(default_factory=lambda: Directory({}, {}, b"", unread=True))
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    stale: bool = False
    holdings: Holdings = field(default_factory=Holdings)
    views: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    workers: int = 1
    changed: Callable[[Directory, Directory], None] = _unheard
    yielding: Callable[[], bool] = bool
    entrances: Entrances = field(default_factory=Entrances)
    ring: KeyRing = field(default_factory=KeyRing)
    unreadable: tuple[str, ...] = ()
    router: str = field(default_factory=lambda: token_hex(8))
    claimed: frozenset[str] = frozenset()

    @property
    def has_primary(self) -> bool:
        """Whether the cluster has a member that takes writes, as far as the driver knows."""
        return self.database.client.topology_description.has_writable_server()

    @property
    def recent(self) -> bool:
        """Whether every member that the driver knows runs a version that we support."""
        known = self.database.client.topology_description.known_servers
        return all(each.max_wire_version >= OLDEST_WIRE_VERSION for each in known)

    async def open(self, settle: float) -> None:
        """Register the manifests' slugs and read the stores for the first time.

        New slugs wait so many seconds for other proxies to learn of them.

        Raises:
            ManifestValidationError: a slug or a home name cannot be had.
        """
        await ledger.register(self.database, self.manifests, wait=settle)
        await self.join()

    async def join(self) -> None:
        """Read the stores for the first time, where the slugs are registered already."""
        search = await has_search(self.database)
        features = replace(self.cluster.features, search=search)
        self.cluster = replace(self.cluster, features=features)
        self.secret = await secrets.proxy_secret(self.database)
        await self.survey()
        await self.refresh()
        with suppress(TimeoutError):
            async with asyncio.timeout(FETCH_SECONDS):
                await self.read_keys()
        await routers.prepare(self.database)
        await self.report()
        self.opened.set()

    async def report(self) -> None:
        """Say that this process lives, and which claims it honours."""
        honours = frozenset() if self.yielding() else self.claimed
        await routers.report(self.database, self.router, honours)

    async def leave(self) -> None:
        """Nobody has to wait for this process any more; if that cannot be said, a while longer."""
        if not self.opened.is_set():
            return
        with suppress(PyMongoError, TimeoutError):
            async with asyncio.timeout(FOLLOW_SECONDS):
                await routers.leave(self.database, self.router)

    async def refresh(self) -> None:
        """Build the directory anew."""
        plan = await self.plan(self.manifests)
        if plan.manifests is self.manifests:  # they may have been swapped meanwhile
            self.swap(plan)

    def swap(self, plan: Plan) -> None:
        """Serve by these manifests and this directory from now on."""
        before, self.current = self.current, plan.directory
        self.ring.want({rule.source for rule in plan.directory.doors.tokens})
        if plan.manifests is not self.manifests:
            self.ring.forget()
        self.manifests = plan.manifests
        self.changed(before, self.current)

    async def plan(self, manifests: Mapping[str, Manifest]) -> Plan:
        """What manifests would make of the stores as they are now; nothing is changed."""
        read = time.monotonic()
        entries = await ledger.entries(self.database)
        stored = await credentials.read_all(self.database)
        self._tell(stored.unreadable)
        self.claimed = frozenset(s for s, entry in entries.items() if entry.state == CLAIMED)
        scopes = {
            slug: self._scope(manifest, entries)
            for slug, manifest in manifests.items()
            if manifest.active
        }
        directory = Directory(
            scopes,
            stored.known,
            self.secret,
            self.address,
            self.cluster.version,
            self.cluster.max_wire_version,
            self.cluster.features,
            self.holdings,
            read,
            doors(self.entrances, (m for m in manifests.values() if m.active), self.ring),
            len(stored.unreadable),
        )
        return Plan(manifests, directory)

    def _tell(self, unreadable: tuple[str, ...]) -> None:
        """Log once what is stored among the credentials and is none."""
        for name in unreadable:
            if name not in self.unreadable:
                log.error("credential.unreadable", name=name)
        self.unreadable = unreadable

    async def read_keys(self) -> None:
        """Read the keys of issuers that have become old."""
        renewing = (asyncio.to_thread(self.ring.renew, source) for source in self.ring.stale())
        await asyncio.gather(*renewing)

    async def tend(self) -> None:
        """Keep the keys of issuers fresh. Never ends."""
        while True:
            await self.read_keys()
            await asyncio.sleep(FOLLOW_SECONDS)

    def _scope(self, manifest: Manifest, entries: Mapping[str, LedgerEntry]) -> Scope:
        slug = manifest.slug
        scope = scope_of(
            manifest,
            database=self.database.name,
            slugs=entries.keys(),
            role=Role.READ_WRITE,
            address=self.address,
            features=self.cluster.features,
            aliases=entries[slug].home if slug in entries else (),
            since={known: entry.since for known, entry in entries.items()},
            views=self.views,
        )
        return replace(scope, limits=shared(scope.limits, self.workers))

    async def survey(self) -> None:
        """Look at what every app has stored."""
        found = await survey(self.database, await ledger.entries(self.database), self.manifests)
        self.holdings, self.views = found.holdings, found.views

    def moved(self, address: str) -> None:
        """The listener has its address: port 0 took a free one."""
        self.address = address
        scopes = {s: replace(scope, address=address) for s, scope in self.current.scopes.items()}
        self.current = replace(self.current, address=address, scopes=scopes)

    async def follow(self) -> None:
        """Keep the directory fresh; while the stores cannot be read the last one serves."""
        await self.opened.wait()
        for turn in itertools.count(1):
            await asyncio.sleep(FOLLOW_SECONDS)
            try:
                if turn % SURVEY_TURNS == 0:
                    await self.survey()
                await self.refresh()
                if self.claimed or turn % REPORT_TURNS == 0:
                    await self.report()
            except (MongoDBEngineError, PyMongoError) as error:
                if not self.stale:
                    log.warning("directory.stale", reason=type(error).__name__)
                self.stale = True
            else:
                self.stale = False


@dataclass(frozen=True, slots=True)
class Source:
    """Where manifests come from, and what is done with new ones.

    Attributes:
        settle: seconds that new slugs wait. indexes: make those of the manifests.
    """

    folder: Path
    settle: float
    indexes: bool = False


async def make_indexes(database: Database, manifests: Iterable[Manifest]) -> None:
    """Make the indexes that manifests ask for."""
    for manifest in manifests:
        report = await apply_indexes(database, manifest)
        log.info("indexes.applied", slug=manifest.slug, created=len(report.created))


async def read_again(household: Household, source: Source) -> Plan:
    """Read the manifests again and prepare to serve by them; until then the last ones serve.

    Raises:
        ConfigurationError, ManifestValidationError: they are not usable; nothing has changed.
    """
    manifests = await asyncio.to_thread(load_folder, source.folder)
    await ledger.register(household.database, manifests, wait=source.settle)
    if source.indexes:
        before = household.manifests
        await make_indexes(
            household.database, [m for m in manifests.values() if before.get(m.slug) != m]
        )
    return await household.plan(manifests)


async def reload_at(
    again: asyncio.Event, work: Callable[[], Awaitable[int]], note: Callable[[str, float], None]
) -> None:
    """Do `work`, which gives the number of apps, each time that `again` is set. Never ends.

    What fails is logged and noted, and changes nothing.
    """
    while True:
        await again.wait()
        again.clear()
        try:
            apps = await work()
        except (MongoDBEngineError, PyMongoError, OSError) as error:
            log.warning("reload.failed", reason=str(error), error=type(error).__name__)
            note(FAILED, time.time())
        else:
            log.info("reload.done", apps=apps)
            note(OK, time.time())
