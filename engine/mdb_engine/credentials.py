"""A credential: the one thing that says which app a client is, and how its password is proven.

Pure: randomness and time are handed in. The registry stores credentials, the proxy's SASL
conversations check them. Only what SCRAM needs is kept; the password is never stored.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from scramp import ScramException, ScramMechanism

from mdb_engine.exceptions import ConfigurationError

SCRAM_SHA_256: Final = "SCRAM-SHA-256"
ROLES: Final = frozenset({"read", "readWrite"})
SALT_BYTES: Final = 28
"""What MongoDB itself takes for SCRAM-SHA-256."""

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

    Raises:
        ConfigurationError: the name or the role is not legal.
    """

    name: str
    app: str
    role: str
    scram: Mapping[str, ScramKeys]
    disabled: bool = False
    expires_at: datetime | None = None
    unlimited: bool = False

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.role not in ROLES:
            raise ConfigurationError(
                f"the role of credential {self.name} must be readWrite or read"
            )

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


def derive(password: str, salt: bytes, iterations: int = 15_000) -> ScramKeys:
    """The SCRAM-SHA-256 keys of a password. Takes some 8 ms: it is meant to be slow.

    Raises:
        ConfigurationError: the password is empty or holds characters that SASLprep forbids, or
            there are fewer than 4,096 iterations.
    """
    if not password:
        raise ConfigurationError("the password is empty")
    mechanism = ScramMechanism(SCRAM_SHA_256)
    try:
        _, stored, server, count = mechanism.make_auth_info(password, iterations, salt)
    except ScramException:
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


def _aware(time: datetime | None) -> datetime | None:
    """PyMongo hands back naive UTC times unless told otherwise."""
    if time is None or time.tzinfo is not None:
        return time
    return time.replace(tzinfo=UTC)
