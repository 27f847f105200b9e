"""What the proxy knows at one moment: apps, credentials, the cluster. Replaced as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from mdb_engine.credentials import Credential
from mdb_engine.scope.model import Features, Role, Scope


@dataclass(frozen=True, slots=True)
class Directory:
    """One consistent picture; a reload builds a new one.

    Attributes:
        scopes: by slug, of active apps. credentials: by name.
        secret: key of the proxy (session ids, unknown users); never shown.
        address: `host:port` that replies name. version: the cluster's, as text.
        max_wire_version: what `hello` may advertise.
    """

    scopes: Mapping[str, Scope]
    credentials: Mapping[str, Credential]
    secret: bytes = field(repr=False)
    address: str = "localhost:27018"
    version: str = "6.0.0"
    max_wire_version: int = 17
    features: Features = field(default_factory=Features)

    def credential(self, name: str, now: datetime) -> Credential | None:
        """The credential that may log in under that name; None when there is none."""
        found = self.credentials.get(name)
        if found is None or not found.live(now) or found.app not in self.scopes:
            return None
        return found

    def scope(self, credential: Credential) -> Scope | None:
        """The scope of a logged-in client; None when its app or credential has gone."""
        current = self.credentials.get(credential.name)
        scope = self.scopes.get(credential.app)
        if scope is None or current is None or current.disabled or current.app != credential.app:
            return None
        return replace(scope, role=Role(current.role))
