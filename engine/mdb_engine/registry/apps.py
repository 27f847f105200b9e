"""The store of apps: the manifests that were registered, and which of their data was seeded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mdb_engine.registry.stores import Database, store
from mdb_engine.scope.names import APPS


async def save(database: Database, slug: str, status: str, manifest: Mapping[str, Any]) -> None:
    """Store a manifest under its slug, in the place of an older one."""
    fields = {
        "slug": slug,
        "status": status,
        "manifest": dict(manifest),
        "updated_at": datetime.now(UTC),
    }
    await store(database, APPS).update_one({"_id": slug}, {"$set": fields}, upsert=True)


async def active(database: Database) -> dict[str, dict[str, Any]]:
    """The manifests of all active apps by slug, as they were registered."""
    found = store(database, APPS).find({"status": "active"}).sort("_id", 1)
    return {each["_id"]: each["manifest"] async for each in found if "manifest" in each}


async def claim_seeding(database: Database, slug: str, collection: str) -> bool:
    """Whether the caller is the first, for ever, to seed a collection."""
    result = await store(database, APPS).update_one(
        {"_id": slug, "seeded": {"$ne": collection}}, {"$addToSet": {"seeded": collection}}
    )
    return result.modified_count == 1


async def release_seeding(database: Database, slug: str, collection: str) -> None:
    """The seeding failed: somebody may try again."""
    await store(database, APPS).update_one({"_id": slug}, {"$pull": {"seeded": collection}})
