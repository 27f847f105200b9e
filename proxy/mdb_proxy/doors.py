"""The ways in besides credentials: from the settings, and from what the manifests say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mdb_engine.manifest import Manifest
from mdb_engine.manifest.proxying import keys_of
from mdb_proxy.auth import Doors, Guest, Keys, TokenRule


@dataclass(frozen=True, slots=True)
class Entrances:
    """What the settings say of logins: rules for tokens, and the hosts' names."""

    tokens: tuple[TokenRule, ...] = ()
    domain: str = ""
    nameless: bool = False

    def packed(self) -> dict[str, Any]:
        """As JSON can carry it."""
        return asdict(self)

    @classmethod
    def unpacked(cls, packed: Mapping[str, Any]) -> Entrances:
        """From what `packed` gave."""
        rules = (_rule(**each) for each in packed.get("tokens", ()))
        return cls(tuple(rules), packed.get("domain", ""), packed.get("nameless", False))


def _rule(**fields: Any) -> TokenRule:
    lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    return TokenRule(**(fields | lists))


def doors(entrances: Entrances, manifests: Iterable[Manifest], keys: Keys) -> Doors:
    """All ways in. No two manifests have one in common: together they would be refused."""
    tokens, subjects = list(entrances.tokens), dict[str, Guest]()
    for manifest in manifests:
        tokens += _tokens(manifest)
        for entry in manifest.proxy.x509:
            subjects[entry.subject] = Guest(entry.subject, manifest.slug, entry.role)
    return Doors(tuple(tokens), subjects, keys, entrances.domain, entrances.nameless)


def _tokens(manifest: Manifest) -> list[TokenRule]:
    return [
        TokenRule(
            issuer=entry.issuer,
            audience=entry.audience,
            source=keys_of(entry.issuer, entry.jwks),
            algorithms=entry.algorithms,
            app=manifest.slug,
            claim=entry.claim or "",
            value=(manifest.slug if entry.value is None else entry.value) if entry.claim else "",
            role=entry.role,
        )
        for entry in manifest.proxy.oidc
    ]
