"""Older manifests in today's form: one pure function per step, chained by `MIGRATIONS`."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from mdb_engine.exceptions import ManifestValidationError

NEWEST: Final = "2.0"
OLDEST: Final = "1.0"
Document = dict[str, Any]

_MOVED_IN_2_0: Final = {"auth_policy": "policy", "sub_auth": "users"}
"""Root key of 1.0 -> key below `auth`."""


def version_of(document: Mapping[str, Any]) -> str:
    """The version that a manifest is written in.

    Without `schema_version` it is 2.0, unless it has keys that only 1.0 knew and no `auth`.

    Raises:
        ManifestValidationError: the version is not one of ours.
    """
    version = document.get("schema_version")
    if version is None:
        old = any(key in document for key in _MOVED_IN_2_0) and "auth" not in document
        return OLDEST if old else NEWEST
    if not isinstance(version, str) or version not in (NEWEST, *MIGRATIONS):
        reason = f"the version is unknown; this release reads {', '.join((*MIGRATIONS, NEWEST))}"
        raise ManifestValidationError(reason, "schema_version")
    return version


def migrate(document: Mapping[str, Any]) -> Document:
    """The manifest in the newest form; the input is left alone.

    >>> migrate({"slug": "shop", "sub_auth": {"enabled": True}})["auth"]
    {'users': {'enabled': True}}
    """
    version = version_of(document)
    migrated = dict(document)
    while version != NEWEST:
        migrated = MIGRATIONS[version](migrated)
        version = migrated["schema_version"]
    return migrated


def migrate_1_0_to_2_0(document: Mapping[str, Any]) -> Document:
    """`auth_policy` becomes `auth.policy`, `sub_auth` becomes `auth.users`."""
    migrated = {key: value for key, value in document.items() if key not in _MOVED_IN_2_0}
    migrated["schema_version"] = "2.0"
    moved = {new: document[old] for old, new in _MOVED_IN_2_0.items() if old in document}
    if not moved:
        return migrated
    auth = migrated.get("auth", {})
    if not isinstance(auth, Mapping):
        raise ManifestValidationError("auth is not an object", "auth")
    for old, new in _MOVED_IN_2_0.items():
        if old in document and new in auth:
            reason = f"{old} and auth.{new} say the same thing; write one of them"
            raise ManifestValidationError(reason, old)
    migrated["auth"] = {**auth, **moved}
    return migrated


MIGRATIONS: Final[Mapping[str, Callable[[Mapping[str, Any]], Document]]] = {
    "1.0": migrate_1_0_to_2_0,
}
