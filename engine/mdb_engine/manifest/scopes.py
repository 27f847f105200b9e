"""From a manifest to the kernel's `Scope`: what this app owns, may read and may ask. Pure."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from bson import Timestamp

from mdb_engine.exceptions import RefusedError
from mdb_engine.manifest.indexes import IndexDefinition
from mdb_engine.manifest.limits import limits_of
from mdb_engine.manifest.model import Manifest
from mdb_engine.scope.model import Features, Role, Scope, VectorIndex, Where
from mdb_engine.scope.names import longer_slugs, resolve
from mdb_engine.scope.search_definitions import vector_index
from mdb_engine.scope.search_plans import managed_id


def scope_of(  # noqa: PLR0913 - each is a fact of its own that only the caller knows
    manifest: Manifest,
    *,
    database: str,
    slugs: Collection[str],
    role: Role,
    address: str,
    features: Features,
    aliases: Collection[str] = (),
    since: Mapping[str, Timestamp | None] | None = None,
    views: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> Scope:
    """The scope of an app's client on the wire.

    Args:
        manifest: the app.
        database: the physical database.
        slugs: every slug of the ledger. A read scope that is not in it grants nothing.
        role: of the credential.
        address: `host:port` that replies name.
        features: of the cluster.
        aliases: home names that earlier manifests had (`home` of the ledger entry).
        since: by slug, when its names became its own (`since` of the ledger entries).
        views: what every physical view reads.
    """
    readable = tuple(slug for slug in manifest.read_scopes if slug in slugs)
    former = (name for name in aliases if name not in manifest.homes)
    scope = Scope(
        slug=manifest.slug,
        database=database,
        home=(*manifest.homes, *former),
        readable=readable,
        longer=longer_slugs(manifest.slug, readable, slugs),
        since={s: t for s in (manifest.slug, *readable) if (t := (since or {}).get(s)) is not None},
        pinned=manifest.databases == "home",
        role=role,
        expose_app_id=bool(manifest.data_access.expose_app_id),
        features=features,
        address=address,
        limits=limits_of(manifest.limits),
        views=views,
    )
    return replace(scope, vectors=_managed_vectors(manifest, scope))


def _managed_vectors(manifest: Manifest, scope: Scope) -> Mapping[tuple[str, str], VectorIndex]:
    """The manifest's vector indexes; what is no index, or of a name that is not the app's, not."""
    found = {}
    for collection, definitions in manifest.managed_indexes.items():
        for name, definition in (pair for each in definitions for pair in vector_definitions(each)):
            where = Where("createSearchIndexes", scope.home[0], path=("managed_indexes", name))
            try:
                physical = resolve(collection, scope, where, write=True).physical
                id_ = managed_id(physical, name)
                index = vector_index(definition, where, id_=id_, managed=True)
            except RefusedError:
                continue
            found[physical, name] = index
    return found


def vector_definitions(index: IndexDefinition) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(name, definition) of the vector index that a definition asks for, if it does."""
    if index.type in ("vector", "vectorSearch"):
        yield index.name, index.definition or {}
    elif index.hybrid is not None:
        part = index.hybrid.vector_index
        yield part.name or f"{index.name}_vector", part.definition
