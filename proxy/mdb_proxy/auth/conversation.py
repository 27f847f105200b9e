"""What every SASL mechanism looks like from outside: payloads in, payloads out, one credential."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from mdb_engine.credentials import ITERATIONS, SALT_BYTES, Credential, ScramKeys
from mdb_engine.exceptions import AuthenticationFailedError
from mdb_proxy.auth.guests import Doors, Guest
from mdb_proxy.decisions import Chore

NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What a credential may be called."""

Holder = Credential | Guest
"""Who is logged in."""

Lookup = Callable[[str], Credential | None]
"""The credential of a name when it may log in now (not disabled, not expired), else None."""


def _nobody(_: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Gate:
    """What there is to judge one login by, now.

    Attributes:
        lookup: by name. by_subject: who a certificate opens the door for, by its subject.
        nonce: fresh and random, printable ASCII without comma. secret: the proxy's.
        secure: nobody else reads what the client sends. subject: of its certificate; "" for none.
    """

    lookup: Lookup
    nonce: str
    secret: bytes = field(repr=False)
    now: datetime
    by_subject: Callable[[str], Holder | None] = _nobody
    doors: Doors = field(default_factory=Doors)
    secure: bool = False
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """The server's answer to one payload; `holder` stands in the last step alone.

    `echoed`: the client may want to say "" before it is done (RFC 5802's last word is ours).
    """

    payload: bytes
    done: bool
    holder: Holder | None = None
    echoed: bool = False


@dataclass(frozen=True, slots=True)
class Later:
    """The answer takes work that the loop must not wait for: `then` is asked with its result."""

    chore: Chore
    then: Callable[[bytes], Step | Later]


class Conversation(Protocol):
    """One login.

    Attributes:
        name: what the client says its name is; "" until it did, and never to be believed before
            the last step. For logs and throttles.
    """

    name: str

    def step(self, payload: bytes) -> Step | Later:
        """The answer to the client's next payload.

        Raises:
            AuthenticationFailedError: whatever is wrong; the conversation is over then.
        """
        ...


Mechanism = Callable[[Gate], Conversation]
"""Begins a conversation."""


def made_up(secret: bytes, mechanism: str, name: str) -> ScramKeys:
    """Keys of a name that is not known, always the same ones: nobody has the password."""
    # No name holds a NUL, so that parts cannot be taken for each other.
    salt, stored, server = (
        hmac.digest(secret, f"{mechanism} {part}\0{name}".encode(), "sha256")
        for part in ("salt", "stored", "server")
    )
    size = KEY_BYTES[mechanism]
    return ScramKeys(
        salt[: SALT_BYTES[mechanism]], ITERATIONS[mechanism], stored[:size], server[:size]
    )


KEY_BYTES: Final = {"SCRAM-SHA-1": 20, "SCRAM-SHA-256": 32}


def failed() -> AuthenticationFailedError:
    """The one answer to every failed login, so that names cannot be found out."""
    return AuthenticationFailedError("Authentication failed.")
