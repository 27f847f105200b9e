"""From a manifest to the kernel's `Scope`: what this app owns, may read and may ask. Pure."""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from mdb_engine.manifest.limits import limits_of
from mdb_engine.manifest.model import Manifest
from mdb_engine.scope.model import Features, Role, Scope
from mdb_engine.scope.names import longer_slugs


def scope_of(  # noqa: PLR0913 - each is a fact of its own that only the caller knows
    manifest: Manifest,
    *,
    database: str,
    slugs: Collection[str],
    role: Role,
    address: str,
    features: Features,
    aliases: Collection[str] = (),
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
        views: what every physical view reads.
    """
    readable = tuple(slug for slug in manifest.read_scopes if slug in slugs)
    former = (name for name in aliases if name not in manifest.homes)
    return Scope(
        slug=manifest.slug,
        database=database,
        home=(*manifest.homes, *former),
        readable=readable,
        longer=longer_slugs(manifest.slug, readable, slugs),
        pinned=manifest.databases == "home",
        role=role,
        expose_app_id=bool(manifest.data_access.expose_app_id),
        features=features,
        address=address,
        limits=limits_of(manifest.limits),
        views=views,
    )
