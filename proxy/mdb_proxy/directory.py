"""What the proxy knows at one moment: apps, credentials, the cluster. Replaced as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import inf
from typing import Final

from mdb_engine.credentials import Credential
from mdb_engine.scope.holdings import Holdings
from mdb_engine.scope.model import Features, Limits, Role, Scope

UNLIMITED: Final = 2**31 - 1
"""As many results as a count on the wire can say."""


@dataclass(frozen=True, slots=True)
class Directory:
    """One consistent picture; a reload builds a new one.

    Attributes:
        scopes: by slug, of active apps. credentials: by name.
        secret: key of the proxy (session ids, unknown users); never shown.
        address: `host:port` that replies name. version: the cluster's, as text.
        max_wire_version: what `hello` may advertise. holdings: what the apps have stored.
        confirmed: when the ledger was read, in seconds of the process's clock.
    """

    scopes: Mapping[str, Scope]
    credentials: Mapping[str, Credential] = field(repr=False)
    secret: bytes = field(repr=False)
    address: str = "localhost:27018"
    version: str = "6.0.0"
    max_wire_version: int = 17
    features: Features = field(default_factory=Features)
    holdings: Holdings = field(default_factory=Holdings)
    confirmed: float = inf

    def credential(self, name: str, now: datetime) -> Credential | None:
        """The credential that may log in under that name; None when there is none."""
        found = self.credentials.get(name)
        if found is None or not found.live(now) or found.app not in self.scopes:
            return None
        return found

    def scope(self, credential: Credential, now: datetime) -> Scope | None:
        """The scope of a logged-in client; None when its app or its credential has gone.

        A credential that was made anew under the same name is another one. The role and the
        lifted limits are those that it has now.
        """
        current = self.credential(credential.name, now)
        if current is None or (current.app, current.scram) != (credential.app, credential.scram):
            return None
        scope = self.scopes[current.app]
        limits = _lifted(scope.limits) if current.unlimited else scope.limits
        return replace(scope, role=Role(current.role), limits=limits)


def captured(before: Directory, after: Directory) -> dict[str, tuple[str, ...]]:
    """By slug, how the names begin that newer slugs took from the app, or from what it reads."""
    found = {
        slug: tuple(f"{longer}_" for longer in now.longer if longer not in scope.slugs)
        for slug, scope in before.scopes.items()
        if (now := after.scopes.get(slug)) is not None and now.longer != scope.longer
    }
    return {slug: prefixes for slug, prefixes in found.items() if prefixes}


def withdrawn(before: Directory, after: Directory) -> tuple[str, ...]:
    """The apps of which open cursors show what the app may no longer see, or not so."""
    return tuple(
        slug
        for slug, scope in before.scopes.items()
        if (now := after.scopes.get(slug)) is None
        or not set(scope.readable) <= set(now.readable)
        or scope.home[0] != now.home[0]
    )


def _lifted(limits: Limits) -> Limits:
    return replace(limits, max_results=UNLIMITED, max_batch=UNLIMITED)
