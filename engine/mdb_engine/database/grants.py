"""Who may read and write as whom: what a handle asks for, held against the manifest. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mdb_engine.exceptions import ConfigurationError, RefusedError
from mdb_engine.manifest.model import Manifest
from mdb_engine.manifest.scopes import scope_of
from mdb_engine.registry.claims import LedgerEntry
from mdb_engine.scope.model import Features, Role, Scope
from mdb_engine.scope.names import check_slug, longer_slugs


@dataclass(frozen=True, slots=True)
class Known:
    """What the process knows of all apps; swapped whole.

    Attributes:
        database: the physical one.
        manifests: of active apps by slug. entries: of the ledger. views: what each reads.
    """

    database: str
    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    entries: Mapping[str, LedgerEntry] = field(default_factory=dict)
    features: Features = field(default_factory=Features)
    views: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a handle was made for.

    Attributes:
        slug: whose manifest decides.
        writes: whose names and tag it writes.
        reads: other apps whose documents it reads, besides `writes`.
        explicit: code asked for them, no manifest does.
    """

    slug: str
    writes: str
    reads: tuple[str, ...]
    explicit: bool = False


def grant(manifest: Manifest, read_scopes: Any, write_scope: Any) -> Grant:
    """Hold what is asked for against the app's manifest.

    Raises:
        ConfigurationError: no list of slugs, or more than the manifest grants (a ValueError).
    """
    slug = manifest.slug
    writes = _write_scope(manifest, write_scope)
    granted = (slug, *manifest.read_scopes)
    if read_scopes is None:
        return Grant(slug, writes, tuple(s for s in granted if s != writes))
    asked = _slugs(read_scopes)
    beyond = [s for s in asked if s not in granted and s != writes]
    if beyond and "data_access" in manifest.model_fields_set:
        reason = f"the manifest of '{slug}' does not grant the read scope '{beyond[0]}'"
        raise ConfigurationError(reason)
    return Grant(slug, writes, tuple(s for s in asked if s != writes), explicit=bool(beyond))


def _write_scope(manifest: Manifest, asked: Any) -> str:
    slug, other = manifest.slug, manifest.data_access.write_scope
    if asked is None:
        return other or slug
    if not isinstance(asked, str) or asked not in (slug, other):
        reason = f"write_scope is '{slug}', or what data_access.write_scope of the manifest names"
        raise ConfigurationError(reason)
    return asked


def _slugs(value: Any) -> tuple[str, ...]:
    """A copy of a list of slugs.

    Raises:
        ConfigurationError: not a list, empty, or something in it that is no slug ("*", "").
    """
    if not isinstance(value, list | tuple | set | frozenset) or not value:
        raise ConfigurationError("read_scopes is a list of slugs that is not empty")
    for slug in value:
        try:
            check_slug(slug if isinstance(slug, str) else "")
        except RefusedError:
            raise ConfigurationError(f"read_scopes: {slug!r} is not the slug of an app") from None
    return tuple(dict.fromkeys(value))


def scope_for(given: Grant, known: Known, unregistered: Manifest | None = None) -> Scope:
    """The kernel's scope of a handle, by what is known now.

    A read scope that is no slug of the ledger grants nothing: nobody has such documents.

    Args:
        given: what the handle was made for.
        known: all apps.
        unregistered: stands for an app without a manifest, where the engine allows that.

    Raises:
        ConfigurationError: the app is not registered, or not active any more.
    """
    manifest = known.manifests.get(given.slug) or unregistered
    if manifest is None:
        raise ConfigurationError(f"the app '{given.slug}' is not registered")
    entries = known.entries
    home = known.manifests.get(given.writes, manifest)
    base = scope_of(
        manifest,
        database=known.database,
        slugs=entries.keys(),
        role=Role.READ_WRITE,
        address="",
        features=known.features,
        aliases=entries[given.slug].home if given.slug in entries else (),
        views=known.views,
    )
    readable = tuple(slug for slug in given.reads if slug in entries)
    shown = manifest.data_access.expose_app_id
    since = {s: entries[s].since for s in (given.writes, *readable) if s in entries}
    return replace(
        base,
        slug=given.writes,
        home=base.home if given.writes == given.slug else home.homes,
        readable=readable,
        longer=longer_slugs(given.writes, readable, entries),
        since={slug: time for slug, time in since.items() if time is not None},
        expose_app_id=shown is not False,
        address="localhost:27017",
    )
