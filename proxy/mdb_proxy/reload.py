"""From manifests and stores to a `Directory`: built whole, then swapped in one step."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

import structlog
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure, PyMongoError

from mdb_engine.exceptions import MongoDBEngineError
from mdb_engine.manifest import Manifest
from mdb_engine.manifest.scopes import scope_of
from mdb_engine.registry import credentials, ledger, secrets
from mdb_engine.scope.model import Features, Role
from mdb_engine.scope.names import owner
from mdb_proxy.directory import Directory
from mdb_proxy.holdings import Holdings
from mdb_proxy.upstream import OLDEST_WIRE_VERSION

Database = AsyncDatabase[dict[str, Any]]
FOLLOW_SECONDS: Final = 1.0
"""How often the stores are read again: a credential works within two seconds of its making."""

SURVEY_TURNS: Final = 5
"""Every so many of these what is stored is counted; until then an app may have some more."""

log = structlog.get_logger("mdb_proxy.reload")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the cluster told us of itself at the start."""

    version: str
    max_wire_version: int
    features: Features


@dataclass(slots=True)
class Household:
    """The current directory, and what it is made of.

    Attributes:
        stale: the last attempt to build it anew failed; the one before it serves.
    """

    database: Database
    manifests: Mapping[str, Manifest]
    cluster: Cluster
    address: str
    secret: bytes = field(default=b"", repr=False)
    current: Directory = field(default_factory=lambda: Directory({}, {}, b""))
    stale: bool = False
    holdings: Holdings = field(default_factory=Holdings)

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
        self.secret = await secrets.proxy_secret(self.database)
        await self.survey()
        await self.refresh()

    async def refresh(self) -> None:
        """Build the directory anew."""
        entries = await ledger.entries(self.database)
        known = await credentials.read_all(self.database)
        scopes = {
            slug: scope_of(
                manifest,
                database=self.database.name,
                slugs=entries.keys(),
                role=Role.READ_WRITE,
                address=self.address,
                features=self.cluster.features,
                aliases=entries[slug].home if slug in entries else (),
                since={known: entry.since for known, entry in entries.items()},
            )
            for slug, manifest in self.manifests.items()
            if manifest.active
        }
        self.current = Directory(
            scopes,
            known,
            self.secret,
            self.address,
            self.cluster.version,
            self.cluster.max_wire_version,
            self.cluster.features,
            self.holdings,
        )

    async def survey(self) -> None:
        """Look at what every app has stored."""
        entries = await ledger.entries(self.database)
        owned: dict[str, set[str]] = {}
        for name in await self.database.list_collection_names():
            slug = owner(name, entries)
            if slug is not None:
                owned.setdefault(slug, set()).add(name)
        full = [
            slug
            for slug, manifest in self.manifests.items()
            if (most := manifest.limits.storage_bytes) is not None
            and await self._stored(owned.get(slug, set())) > most
        ]
        collections = {slug: frozenset(names) for slug, names in owned.items()}
        self.holdings = Holdings(collections, frozenset(full))

    async def _stored(self, names: Collection[str]) -> int:
        """Bytes on disk of collections and their indexes; what has gone meanwhile has none."""
        total = 0
        pipeline: list[dict[str, Any]] = [{"$collStats": {"storageStats": {}}}]
        for name in names:
            with suppress(OperationFailure):
                async for found in await self.database[name].aggregate(pipeline):
                    total += int(found["storageStats"].get("totalSize", 0))
        return total

    def moved(self, address: str) -> None:
        """The listener has its address: port 0 took a free one."""
        self.address = address
        scopes = {s: replace(scope, address=address) for s, scope in self.current.scopes.items()}
        self.current = replace(self.current, address=address, scopes=scopes)

    async def follow(self) -> None:
        """Keep the directory fresh; while the stores cannot be read the last one serves."""
        for turn in itertools.count(1):
            await asyncio.sleep(FOLLOW_SECONDS)
            try:
                if turn % SURVEY_TURNS == 0:
                    await self.survey()
                await self.refresh()
            except (MongoDBEngineError, PyMongoError) as error:
                if not self.stale:
                    log.warning("directory.stale", reason=type(error).__name__)
                self.stale = True
            else:
                self.stale = False
