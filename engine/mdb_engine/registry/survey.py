"""A look at what every app has stored: its collections, its bytes, and what views read. I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pymongo.errors import OperationFailure

from mdb_engine.manifest.model import Manifest
from mdb_engine.registry.stores import Database
from mdb_engine.scope.holdings import Holdings
from mdb_engine.scope.names import owner
from mdb_engine.scope.views import sources


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found. `views`: physical view -> what it reads."""

    holdings: Holdings = field(default_factory=Holdings)
    views: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


async def survey(
    database: Database, slugs: Collection[str], manifests: Mapping[str, Manifest]
) -> Survey:
    """Look at the whole database.

    Args:
        database: the physical one.
        slugs: all of the ledger; they own what is there.
        manifests: apps whose bytes are held against their `limits.storage_bytes`.

    Raises:
        PyMongoError: the cluster does not answer.
    """
    owned: dict[str, set[str]] = {}
    for name in await database.list_collection_names():
        slug = owner(name, slugs)
        if slug is not None:
            owned.setdefault(slug, set()).add(name)
    stored = await database.list_collections(filter={"type": "view"})
    views = {info["name"]: sources(info["options"]) async for info in stored}
    full = [
        slug
        for slug, manifest in manifests.items()
        if (most := manifest.limits.storage_bytes) is not None
        and await _stored(database, owned.get(slug, set())) > most
    ]
    collections = {slug: frozenset(names) for slug, names in owned.items()}
    return Survey(Holdings(collections, frozenset(full)), views)


async def _stored(database: Database, names: Collection[str]) -> int:
    """Bytes on disk of collections and their indexes; what has gone meanwhile has none."""
    total = 0
    pipeline: list[dict[str, Any]] = [{"$collStats": {"storageStats": {}}}]
    for name in names:
        with suppress(OperationFailure):
            async for found in await database[name].aggregate(pipeline):
                total += int(found["storageStats"].get("totalSize", 0))
    return total
