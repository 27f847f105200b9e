"""Who logs in without a stored credential, and by which rule: a token's, or a manifest's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Protocol

from mdb_engine.credentials import ROLES


@dataclass(frozen=True, slots=True)
class TokenRule:
    """Which tokens open what.

    Attributes:
        issuer, audience: what the token must say, in so many letters.
        source: where the issuer's keys are: a file, a URL, the address of its discovery document.
        algorithms: that it may be signed with; of public keys only.
        app: what it opens; "" for the slug that the claim names.
        claim, value: what it must say besides; "" for nothing, or for any app's slug.
        role: what it may do; with `role_claim` the token must name the role itself.
        client, scopes: what a person's client is told, so that it can ask the issuer; "" for
        nothing.
    """

    issuer: str
    audience: str
    source: str
    algorithms: tuple[str, ...]
    app: str = ""
    claim: str = ""
    value: str = ""
    role: str = "readWrite"
    role_claim: str = ""
    client: str = ""
    scopes: tuple[str, ...] = ()

    def opens(self, claims: Mapping[str, Any]) -> tuple[str, str] | None:
        """The app and the role that these claims have; None when the rule is not about them.

        Lists count where the standard has them (`aud`), nowhere else: who is in several groups
        would have several apps.
        """
        audience = claims.get("aud")
        heard = audience if isinstance(audience, list) else [audience]
        said = claims.get(self.claim) if self.claim else self.value
        role = claims.get(self.role_claim) if self.role_claim else self.role
        if claims.get("iss") != self.issuer or self.audience not in heard:
            return None
        if not isinstance(said, str) or not isinstance(role, str) or role not in ROLES:
            return None
        if self.app:
            return (self.app, role) if said == self.value else None
        return (said, role) if said else None


@dataclass(frozen=True, slots=True)
class Guest:
    """Who is logged in without a credential of ours.

    Attributes:
        name: no credential can be called so: it holds `#` (a token's) or `=` (a certificate's).
        rule: by which tokens are judged; None for a certificate.
        expires_at: when the token ends; None for a certificate.
    """

    name: str
    app: str
    role: str
    rule: TokenRule | None = None
    expires_at: datetime | None = None

    def over(self, now: datetime) -> bool:
        """Whether another token must be shown."""
        return self.expires_at is not None and now >= self.expires_at


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One of an issuer's keys: what verifies a signature, and what it may have signed with."""

    public: Any
    algorithms: frozenset[str]


class Keys(Protocol):
    """The keys of issuers."""

    def known(self, source: str) -> bool:
        """Whether they were ever read."""
        ...

    def find(self, source: str, kid: str | None) -> SigningKey | None:
        """The key of that name; without a name the only one."""
        ...

    def due(self, source: str) -> bool:
        """Whether reading them again is worth it now."""
        ...

    def renew(self, source: str) -> bytes:
        """Read them again; takes its time, never fails, gives nothing."""
        ...


class NoKeys:
    """There are no issuers."""

    def known(self, _source: str) -> bool:
        """No."""
        return False

    def find(self, _source: str, _kid: str | None) -> SigningKey | None:
        """None."""
        return None

    def due(self, _source: str) -> bool:
        """No."""
        return False

    def renew(self, _source: str) -> bytes:
        """Nothing."""
        return b""


_NO_SUBJECTS: Final[Mapping[str, Guest]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Doors:
    """The ways in besides credentials, and the hosts' names.

    Attributes:
        tokens: rules, by which tokens are judged. keys: of their issuers.
        subjects: of certificates, who shows one of them.
        domain: a client that asks for `<slug>.<domain>` (TLS) gets in there as that app only.
        nameless: so does one that asks for nothing, as any app.
    """

    tokens: tuple[TokenRule, ...] = ()
    subjects: Mapping[str, Guest] = field(default_factory=lambda: _NO_SUBJECTS)
    keys: Keys = field(default_factory=NoKeys)
    domain: str = ""
    nameless: bool = False

    def leads_to(self, server_name: str, slug: str) -> bool:
        """Whether the host that was asked for is the app's."""
        if not self.domain:
            return True
        if not server_name:
            return self.nameless
        return server_name.lower().removesuffix(".") == f"{slug}.{self.domain}".lower()
