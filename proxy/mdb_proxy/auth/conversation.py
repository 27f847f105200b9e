"""What every SASL mechanism looks like from outside: payloads in, payloads out, one credential."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mdb_engine.credentials import Credential
from mdb_engine.exceptions import AuthenticationFailedError

Lookup = Callable[[str], Credential | None]
"""The credential of a name when it may log in now (not disabled, not expired), else None."""


@dataclass(frozen=True, slots=True)
class Step:
    """The server's answer to one payload; `credential` stands in the last step alone."""

    payload: bytes
    done: bool
    credential: Credential | None = None


class Conversation(Protocol):
    """One login.

    Attributes:
        name: what the client says its name is; "" until it did, and never to be believed before
            the last step. For logs and throttles.
    """

    name: str

    def step(self, payload: bytes) -> Step:
        """The answer to the client's next payload.

        Raises:
            AuthenticationFailedError: whatever is wrong; the conversation is over then.
        """
        ...


Mechanism = Callable[[Lookup, str, bytes], Conversation]
"""Begins a conversation: lookup, a fresh random nonce (printable ASCII, no comma), the secret."""


def failed() -> AuthenticationFailedError:
    """The one answer to every failed login, so that names cannot be found out."""
    return AuthenticationFailedError("Authentication failed.")
