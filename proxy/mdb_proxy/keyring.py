"""The public keys of issuers: read from files and addresses, kept while these cannot be read.

Source: RFC 7517; OpenID Connect Discovery, section 4. What blocks is called in threads.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from mdb_engine.exceptions import ConfigurationError
from mdb_engine.manifest.proxying import ADDRESSES, DISCOVERY, check_address
from mdb_proxy.auth import SigningKey

FETCH_SECONDS: Final = 5.0
FRESH_SECONDS: Final = 300.0
"""So old keys may become; what an issuer has withdrawn opens nothing after that."""

RETRY_SECONDS: Final = 30.0
"""No issuer is asked more often, however many tokens name keys that nobody knows."""

_CURVES: Final[Mapping[str, str]] = MappingProxyType(
    {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
)
_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})

log = structlog.get_logger("mdb_proxy.keyring")


@dataclass(slots=True)
class _Bundle:
    """The keys of one source.

    Attributes:
        keys: by name; None until they were read. read, tried: when, in seconds of the clock.
        turn: held by who reads them.
    """

    keys: Mapping[str, SigningKey] | None = None
    read: float = float("-inf")
    tried: float = float("-inf")
    turn: threading.Lock = field(default_factory=threading.Lock)


class KeyRing:
    """All sources of a process, which come and go with the manifests."""

    def __init__(self, tick: Callable[[], float] = time.monotonic) -> None:
        self._tick = tick
        self._bundles: Mapping[str, _Bundle] = {}

    def want(self, sources: Iterable[str]) -> None:
        """These are the sources from now on."""
        self._bundles = {name: self._bundles.get(name) or _Bundle() for name in sources}

    def forget(self) -> None:
        """Have everything read again soon; until then what is known holds."""
        for bundle in self._bundles.values():
            bundle.read = bundle.tried = float("-inf")

    def stale(self) -> list[str]:
        """The sources that should be read now, used or not."""
        now = self._tick()
        return [
            name
            for name, bundle in self._bundles.items()
            if now - bundle.read >= FRESH_SECONDS and now - bundle.tried >= RETRY_SECONDS
        ]

    def known(self, source: str) -> bool:
        """Whether its keys were ever read."""
        bundle = self._bundles.get(source)
        return bundle is not None and bundle.keys is not None

    def find(self, source: str, kid: str | None) -> SigningKey | None:
        """The key of that name; without a name the only one."""
        bundle = self._bundles.get(source)
        keys = {} if bundle is None or bundle.keys is None else bundle.keys
        if kid is None:
            return next(iter(keys.values())) if len(keys) == 1 else None
        return keys.get(kid)

    def due(self, source: str) -> bool:
        """Whether it may be asked now, or is being asked."""
        bundle = self._bundles.get(source)
        if bundle is None:
            return False
        return bundle.turn.locked() or self._tick() - bundle.tried >= RETRY_SECONDS

    def renew(self, source: str) -> bytes:
        """Read a source; who comes while another reads it waits for that. Never fails."""
        bundle = self._bundles.get(source)
        if bundle is None:
            return b""
        asked = self._tick()
        with bundle.turn:
            if bundle.tried >= asked or self._tick() - bundle.tried < RETRY_SECONDS:
                return b""
            bundle.tried = self._tick()
            try:
                bundle.keys = read_keys(source)
            except (OSError, ValueError, jwt.PyJWTError, RecursionError) as error:
                log.warning("keys.failed", source=source, error=type(error).__name__)
            else:
                bundle.read = self._tick()
                log.debug("keys.read", source=source, keys=len(bundle.keys))
        return b""


def read_keys(source: str) -> dict[str, SigningKey]:
    """The usable keys of a source, by name. Blocks, for some seconds at most.

    Raises:
        OSError, ValueError, jwt.PyJWTError: it cannot be read, or holds no keys.
    """
    if urlsplit(source).scheme not in ADDRESSES:
        return _usable(json.loads(Path(source).read_text("utf-8")))
    found = _fetched(source)
    if source.endswith(DISCOVERY):
        issuer, address = found.get("issuer"), found.get("jwks_uri")
        if issuer not in _spellings(source) or not isinstance(address, str):
            raise ConfigurationError(f"{source}: that is not the issuer's own document")
        if urlsplit(address).scheme not in ADDRESSES:
            raise ConfigurationError(f"{source}: its keys have no address")
        found = _fetched(check_address(address))
    return _usable(found)


def _spellings(source: str) -> tuple[str, str]:
    """The issuer with and without the slash at its end."""
    issuer = source.removesuffix(DISCOVERY)
    return issuer, f"{issuer}/"


def _fetched(address: str) -> dict[str, Any]:
    """A JSON document; redirects are not followed."""
    client = jwt.PyJWKClient(address, cache_jwk_set=False, timeout=FETCH_SECONDS)
    found: dict[str, Any] = client.fetch_data()
    return found


def _usable(document: Any) -> dict[str, SigningKey]:
    if not isinstance(document, dict):
        raise ConfigurationError("a set of keys is a JSON object")
    found: dict[str, SigningKey] = {}
    entries = document.get("keys")
    for entry in entries if isinstance(entries, list) else ():
        algorithms = _algorithms(entry) if isinstance(entry, dict) else None
        if algorithms:
            found[str(entry.get("kid") or "")] = SigningKey(jwt.PyJWK(entry).key, algorithms)
    if not found:
        raise ConfigurationError("there is no public key to verify signatures with")
    return found


def _algorithms(entry: dict[str, Any]) -> frozenset[str]:
    """What a key may have signed with: never anything that only who has it can verify."""
    try:
        public = jwt.PyJWK(entry).key
    except (jwt.PyJWTError, AttributeError, TypeError, ValueError):
        return frozenset()
    named = entry.get("alg")
    if entry.get("use") not in ("sig", None) or not isinstance(named, str | None):
        return frozenset()
    if isinstance(public, RSAPublicKey):
        able = _RSA
    elif isinstance(public, EllipticCurvePublicKey):
        able = frozenset({_CURVES.get(public.curve.name, "")}) - {""}
    elif isinstance(public, Ed25519PublicKey | Ed448PublicKey):
        able = frozenset({"EdDSA"})
    else:
        able = frozenset()
    return able if named is None else able & {named}
