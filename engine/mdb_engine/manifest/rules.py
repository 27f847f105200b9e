"""Rules of a manifest that one field cannot see: names, grants, limits, several manifests."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from mdb_engine.exceptions import ManifestValidationError, RefusedError
from mdb_engine.manifest.limits import contradictions, raised
from mdb_engine.manifest.model import Manifest
from mdb_engine.manifest.proxying import shared_login
from mdb_engine.scope.names import check_database, check_slug, fold, valid_collection

Broken = Iterator[tuple[str, str]]
"""(path, reason) of every rule that is broken."""


def _slug(manifest: Manifest) -> Broken:
    try:
        check_slug(manifest.slug)
    except RefusedError as error:
        yield "slug", error.reason


def _homes(manifest: Manifest) -> Broken:
    seen: dict[str, str] = {}
    for name in manifest.homes:
        try:
            check_database(name)
        except RefusedError:
            yield "database", f"'{name}' cannot be the name of a database with data"
        if name.lower() in seen:
            yield "database", f"'{seen[name.lower()]}' and '{name}' differ at most by case"
        seen[name.lower()] = name


def _scopes(manifest: Manifest) -> Broken:
    for position, slug in enumerate(manifest.data_access.read_scopes):
        at = f"data_access.read_scopes.{position}"
        if slug == "*":
            yield at, "'*' is not a scope; name each app"
            continue
        try:
            check_slug(slug)
        except RefusedError as error:
            yield at, error.reason
    if manifest.data_access.write_scope is not None:
        try:
            check_slug(manifest.data_access.write_scope)
        except RefusedError as error:
            yield "data_access.write_scope", error.reason


def _collections(manifest: Manifest) -> Broken:
    named: dict[str, Mapping[str, object]] = {
        "collection_settings": manifest.collection_settings,
        "data_api": manifest.data_api,
        "initial_data": manifest.initial_data,
        "managed_indexes": manifest.managed_indexes,
    }
    for section, names in named.items():
        for name in names:
            if not valid_collection(name):
                yield f"{section}.{name}", "this cannot be the name of a collection"


def _index_names(manifest: Manifest) -> Broken:
    for collection, definitions in manifest.managed_indexes.items():
        seen: set[str] = set()
        for position, definition in enumerate(definitions):
            if definition.name in seen:
                at = f"managed_indexes.{collection}.{position}.name"
                yield at, f"the name '{definition.name}' stands twice"
            seen.add(definition.name)


def _limits(manifest: Manifest) -> Broken:
    for key, reason in contradictions(manifest.limits):
        yield f"limits.{key}", reason


RULES: Final[tuple[Callable[[Manifest], Broken], ...]] = (
    _slug,
    _homes,
    _scopes,
    _collections,
    _index_names,
    _limits,
)


def check_manifest(manifest: Manifest, *, trusted: bool = False) -> None:
    """Hold one manifest against the rules between its sections.

    Raises:
        ManifestValidationError: the first rule that is broken; `trusted` lifts the rule that a
            manifest may only lower what protects others.
    """
    for rule in RULES:
        for path, reason in rule(manifest):
            raise ManifestValidationError(reason, path)
    if not trusted:
        for key, reason in raised(manifest.limits):
            raise ManifestValidationError(reason, f"limits.{key}")


def check_together(manifests: Mapping[str, Manifest]) -> None:
    """Hold manifests of one folder against each other.

    Raises:
        ManifestValidationError: two slugs that a collation could equate, or a login that would
            fit two apps. Names both slugs: the reader is the operator.
    """
    folds: dict[str, str] = {}
    for slug in sorted(manifests):
        other = folds.setdefault(fold(slug), slug)
        if other != slug:
            reason = f"the slug is too like '{other}': some languages sort them as equal"
            raise ManifestValidationError(reason, "slug", slug)
    slugs = sorted(manifests)
    for position, slug in enumerate(slugs):
        for other in slugs[position + 1 :]:
            path = shared_login(manifests[slug].proxy, manifests[other].proxy)
            if path is not None:
                reason = f"one login could fit this app and '{other}'"
                raise ManifestValidationError(reason, path, slug)
