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
from mdb_proxy.auth import Doors, Guest, Holder

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
        doors: the ways in besides credentials. unreadable: stored documents that are none.
        unread: it was not read yet: nobody can be told from anybody.
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
    doors: Doors = field(default_factory=Doors)
    unreadable: int = 0
    unread: bool = False

    def credential(self, name: str, now: datetime) -> Credential | None:
        """The credential that may log in under that name; None when there is none."""
        found = self.credentials.get(name)
        if found is None or not found.live(now) or found.app not in self.scopes:
            return None
        return found

    def subject(self, subject: str, now: datetime) -> Holder | None:
        """Who a certificate of that subject opens the door for; None for nobody.

        What is stored has the last word over what manifests say: it can be disabled.
        """
        if not subject:
            return None
        stored = [each for each in self.credentials.values() if each.x509 == subject]
        if stored:
            return self.credential(stored[0].name, now) if len(stored) == 1 else None
        guest = self.doors.subjects.get(subject)
        return guest if guest is not None and guest.app in self.scopes else None

    def scope(self, holder: Holder, now: datetime) -> Scope | None:
        """The scope of a logged-in client; None when its app or its credential has gone.

        A credential that was made anew under the same name is another one. The role and the
        lifted limits are those that it has now.
        """
        if isinstance(holder, Guest):
            return self._of_guest(holder, now)
        current = self.credential(holder.name, now)
        if current is None or not current.same(holder):
            return None
        scope = self.scopes[current.app]
        limits = _lifted(scope.limits) if current.unlimited else scope.limits
        return replace(scope, role=Role(current.role), limits=limits)

    def _of_guest(self, guest: Guest, now: datetime) -> Scope | None:
        """While the rule stands that let the guest in; when a token ends is looked at elsewhere."""
        if guest.rule is None:
            stands = self.subject(guest.name, now) == guest
        else:
            stands = guest.rule in self.doors.tokens
        scope = self.scopes.get(guest.app)
        return replace(scope, role=Role(guest.role)) if stands and scope is not None else None


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
