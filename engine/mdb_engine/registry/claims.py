"""When a slug may be registered: rules over the ledger, the manifests and what the database holds.

Pure: `ledger.py` reads and writes.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bson import Timestamp

from mdb_engine.exceptions import ManifestValidationError
from mdb_engine.manifest.model import Manifest
from mdb_engine.scope.model import Scope
from mdb_engine.scope.names import fold, longer_slugs, owner, unphysical
from mdb_engine.scope.views import sources

CLAIMED: Final = "claimed"
LIVE: Final = "live"
_HOME: Final = ""
"""Stands for the home namespace: no logical database has this name."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A slug that was ever registered. It owns its names from the moment it is `claimed`.

    Attributes:
        slug: the app.
        state: "claimed" until the collections were listed, then "live".
        first_seen: when it was claimed.
        since: the cluster's operation time after that listing; None on a standalone.
        fold: what must be unique over all slugs (`names.fold`).
        home: every home name that the app ever had.
    """

    slug: str
    state: str
    first_seen: datetime
    since: Timestamp | None
    fold: str
    home: tuple[str, ...]


def from_document(document: Mapping[str, Any]) -> LedgerEntry:
    """The entry of a stored document."""
    return LedgerEntry(
        slug=document["_id"],
        state=document["state"],
        first_seen=document["first_seen"],
        since=document.get("since"),
        fold=document["fold"],
        home=tuple(document.get("home", ())),
    )


def claim(manifest: Manifest, now: datetime) -> dict[str, Any]:
    """The document that claims a new slug."""
    return {
        "_id": manifest.slug,
        "state": CLAIMED,
        "first_seen": now,
        "since": None,
        "fold": fold(manifest.slug),
        "home": list(manifest.homes),
    }


@dataclass(frozen=True, slots=True)
class Listing:
    """What the physical database holds: collection names, and the sources of each view."""

    collections: tuple[str, ...]
    views: Mapping[str, frozenset[str]]


def listing(infos: Iterable[Mapping[str, Any]]) -> Listing:
    """From the documents of listCollections."""
    names: list[str] = []
    views: dict[str, frozenset[str]] = {}
    for info in infos:
        names.append(info["name"])
        if info.get("type") == "view":
            views[info["name"]] = frozenset(sources(info.get("options", {})))
    return Listing(tuple(names), views)


def check_folds(manifests: Iterable[str], ledger: Mapping[str, LedgerEntry]) -> None:
    """Refuse a new slug that a collation could equate with a registered one.

    Raises:
        ManifestValidationError: names the manifest's slug only.
    """
    taken = {entry.fold: slug for slug, entry in ledger.items()}
    for slug in manifests:
        if taken.get(fold(slug), slug) != slug:
            raise too_like(slug)


def too_like(slug: str) -> ManifestValidationError:
    """The refusal of a slug whose fold another one has."""
    reason = "the slug is too like a registered one: some languages sort them as equal"
    return ManifestValidationError(reason, "slug", slug)


def check_capture(slug: str, known: Collection[str], found: Listing) -> None:
    """Refuse a new slug whose names another app holds until now.

    Args:
        slug: the new one.
        known: slugs that were registered before it.
        found: what the database holds.

    Raises:
        ManifestValidationError: names the manifest's slug only.
    """
    others = [other for other in known if other != slug]
    then = [*others, slug]
    captured = any(owner(n, others) and owner(n, then) == slug for n in found.collections)
    read = any(
        owner(view, others) and any(owner(source, then) == slug for source in sources)
        for view, sources in found.views.items()
    )
    if captured or read:
        reason = "the slug would take over names that another app uses; choose another slug"
        raise ManifestValidationError(reason, "slug", slug)


def check_names(manifest: Manifest, slugs: Collection[str], found: Listing) -> None:
    """Refuse home names and read scopes that would hide collections the app already has.

    Raises:
        ManifestValidationError: a home name that is also another logical database with
            collections, a scope that is no slug of the ledger, or one that shadows own names.
    """
    held = list(_held(manifest.slug, slugs, found))
    homes = {name.lower() for name in manifest.homes}
    for db, _ in held:
        if db.lower() in homes:
            reason = f"the database '{db}' already holds collections; it cannot become a home name"
            raise ManifestValidationError(reason, "database", manifest.slug)
    for scope in manifest.read_scopes:
        if scope not in slugs:
            reason = f"'{scope}' is not a registered app"
            raise ManifestValidationError(reason, "data_access.read_scopes", manifest.slug)
        if any(owner(name, (scope,)) for _, name in held):
            reason = f"own collections begin with '{scope}_'; the scope would hide them"
            raise ManifestValidationError(reason, "data_access.read_scopes", manifest.slug)


def _held(slug: str, slugs: Collection[str], found: Listing) -> Iterator[tuple[str, str]]:
    """(logical database, collection) of everything that the app owns."""
    scope = Scope(slug, "", (_HOME,), longer=longer_slugs(slug, (), slugs))
    for name in found.collections:
        place = unphysical(name, scope)
        if place is not None:
            yield place
