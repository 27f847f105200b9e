"""A credential: the one thing that says which app a client is, and how its password is proven.

Pure: randomness and time are handed in. The registry stores credentials, the proxy's SASL
conversations check them. Only what SCRAM needs is kept; the password is never stored.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from scramp import ScramException, ScramMechanism

from mdb_engine.exceptions import ConfigurationError
from mdb_engine.subjects import canonical

SCRAM_SHA_1: Final = "SCRAM-SHA-1"
SCRAM_SHA_256: Final = "SCRAM-SHA-256"
ROLES: Final = frozenset({"read", "readWrite"})
SALT_BYTES: Final[Mapping[str, int]] = MappingProxyType({SCRAM_SHA_1: 16, SCRAM_SHA_256: 28})
ITERATIONS: Final[Mapping[str, int]] = MappingProxyType(
    {SCRAM_SHA_1: 10_000, SCRAM_SHA_256: 15_000}
)
"""What MongoDB itself takes."""

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a server keeps of a password (RFC 5802 section 3, RFC 7677)."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credential:
    """A login name, the app it opens and the keys that prove it.

    Attributes:
        name: `[A-Za-z0-9._-]{1,64}`, unique over all apps. The narrow alphabet is deliberate:
            scramp normalises user names (SASLprep), MongoDB does not; here both agree.
        app: the slug.
        role: "readWrite" or "read".
        scram: keys by mechanism name.
        disabled: refused at login, kept in the store.
        expires_at: aware UTC time from which it is refused; None for never.
        unlimited: the operator lifted the result limits for this credential (dumps).
        plain: the password may also come as it is (PLAIN), over TLS.
        x509: the subject of the certificate that opens it; "" for none.

    Raises:
        ConfigurationError: the name, the role or the subject is not legal.
    """

    name: str
    app: str
    role: str
    scram: Mapping[str, ScramKeys]
    disabled: bool = False
    expires_at: datetime | None = None
    unlimited: bool = False
    plain: bool = False
    x509: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.role not in ROLES:
            raise ConfigurationError(
                f"the role of credential {self.name} must be readWrite or read"
            )
        if self.x509 and self.x509 != canonical(self.x509):
            raise ConfigurationError(f"the subject of credential {self.name} is spelled otherwise")

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """How it may be proven."""
        others = {"MONGODB-X509": bool(self.x509), "PLAIN": self.plain}
        return tuple(sorted([*self.scram, *(name for name, may in others.items() if may)]))

    def same(self, other: "Credential") -> bool:
        """Whether the other opens the same app by the same proofs: made anew it does not."""
        return (self.app, self.scram, self.x509) == (other.app, other.scram, other.x509)

    def live(self, now: datetime) -> bool:
        """Whether it may log in at `now` (an aware time)."""
        return not self.disabled and (self.expires_at is None or now < self.expires_at)


def check_name(name: str) -> None:
    """Accept a legal credential name.

    Raises:
        ConfigurationError: it is not `[A-Za-z0-9._-]{1,64}`.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            "a credential name holds 1 to 64 of the characters A-Z a-z 0-9 . _ -"
        )


def derive(password: str, salt: bytes, iterations: int = ITERATIONS[SCRAM_SHA_256]) -> ScramKeys:
    """The SCRAM-SHA-256 keys of a password. Takes some 8 ms: it is meant to be slow.

    Raises:
        ConfigurationError: the password is empty or holds characters that SASLprep forbids, or
            there are fewer than 4,096 iterations.
    """
    return _derive(SCRAM_SHA_256, password, salt, iterations)


def derive_sha_1(name: str, password: str, salt: bytes) -> ScramKeys:
    """The SCRAM-SHA-1 keys of a login, by MongoDB's own rule: of a digest of name and password.

    Raises:
        ConfigurationError: the password is empty.
    """
    if not password:
        raise ConfigurationError("the password is empty")
    digest = hashlib.md5(f"{name}:mongo:{password}".encode(), usedforsecurity=False).hexdigest()
    return _derive(SCRAM_SHA_1, digest, salt, ITERATIONS[SCRAM_SHA_1])


def _derive(name: str, password: str, salt: bytes, iterations: int) -> ScramKeys:
    if not password:
        raise ConfigurationError("the password is empty")
    try:
        _, stored, server, count = ScramMechanism(name).make_auth_info(password, iterations, salt)
    except (ScramException, UnicodeEncodeError):
        # `from None`: scramp's own text may quote the password's characters.
        raise ConfigurationError("the password or its iteration count is not usable") from None
    return ScramKeys(salt, count, stored, server)


def to_document(credential: Credential) -> dict[str, Any]:
    """The stored form: `{_id: name, app, role, scram: {mechanism: {...}}, disabled, ...}`."""
    return {
        "_id": credential.name,
        "app": credential.app,
        "role": credential.role,
        "scram": {
            mechanism: {
                "salt": keys.salt,
                "iterations": keys.iterations,
                "stored_key": keys.stored_key,
                "server_key": keys.server_key,
            }
            for mechanism, keys in credential.scram.items()
        },
        "disabled": credential.disabled,
        "expires_at": credential.expires_at,
        "unlimited": credential.unlimited,
        "plain": credential.plain,
        "x509": credential.x509 or None,
    }


def from_document(document: Mapping[str, Any]) -> Credential:
    """The credential that a stored document holds; fields it does not know are left alone.

    Raises:
        ConfigurationError: the document lacks a field or holds a value of another type.
    """
    try:
        scram = {str(name): _keys(keys) for name, keys in document.get("scram", {}).items()}
        return Credential(
            name=document["_id"],
            app=document["app"],
            role=document["role"],
            scram=scram,
            disabled=bool(document.get("disabled", False)),
            expires_at=_aware(document.get("expires_at")),
            unlimited=bool(document.get("unlimited", False)),
            plain=document.get("plain") is True,
            x509=_subject(document.get("x509")),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, ConfigurationError):
            raise
        # `from None`: the cause would carry the keys into a log.
        raise ConfigurationError("a stored credential is not readable") from None


def _keys(stored: Mapping[str, Any]) -> ScramKeys:
    return ScramKeys(
        salt=bytes(stored["salt"]),
        iterations=int(stored["iterations"]),
        stored_key=bytes(stored["stored_key"]),
        server_key=bytes(stored["server_key"]),
    )


def _subject(stored: Any) -> str:
    """As it is spelled here: somebody may have written it by hand."""
    return "" if stored is None else canonical(str(stored))


def _aware(time: datetime | None) -> datetime | None:
    """PyMongo hands back naive UTC times unless told otherwise."""
    if time is None or time.tzinfo is not None:
        return time
    return time.replace(tzinfo=UTC)
