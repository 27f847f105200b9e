"""SCRAM, the server's side: the client proves that it knows the password; we only hold its keys.

Source: RFC 5802 section 3, RFC 7677. An unknown name gets a salt and keys of its own, derived
from the server's secret, so that it looks like a known one until the proof fails.
"""

import hmac
import re
from collections.abc import Callable
from typing import Final

from scramp import ScramException, ScramMechanism
from scramp.utils import ServerError

from mdb_engine.credentials import SALT_BYTES, SCRAM_SHA_256, Credential, ScramKeys
from mdb_proxy.auth.conversation import Lookup, Step, failed

_ITERATIONS: Final = 15_000
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_Keys = tuple[bytes, bytes, bytes, int]


class ScramConversation:
    """One login by SCRAM: client-first, server-first, client-final, server-final."""

    __slots__ = ("_credential", "_lookup", "_mechanism", "_next", "_secret", "_server", "name")

    def __init__(self, mechanism: str, lookup: Lookup, nonce: str, secret: bytes) -> None:
        self.name = ""
        self._mechanism, self._lookup, self._secret = mechanism, lookup, secret
        self._credential: Credential | None = None
        self._server = ScramMechanism(mechanism).make_server(self._keys, s_nonce=nonce)
        self._next: Callable[[str], Step] = self._first

    def step(self, payload: bytes) -> Step:
        """The answer to the client's next payload.

        Raises:
            AuthenticationFailedError: malformed, out of order, unknown name, wrong proof.
        """
        current, self._next = self._next, _over
        try:
            return current(payload.decode())
        except UnicodeDecodeError:
            raise failed() from None
        except ScramException as error:
            # scramp hides what goes wrong in our own lookup; that is no failed login
            if error.server_error is ServerError.NO_RESOURCES and error.__cause__:
                raise error.__cause__ from None
            raise failed() from None

    def _first(self, payload: str) -> Step:
        self._server.set_client_first(payload)
        self._next = self._final
        return Step(self._server.get_server_first().encode(), done=False)

    def _final(self, payload: str) -> Step:
        self._server.set_client_final(payload)
        if self._credential is None:
            raise failed()
        return Step(self._server.get_server_final().encode(), True, self._credential)

    def _keys(self, name: str) -> _Keys:
        """What scramp asks for; the same work whether the name is known or not."""
        self.name = name
        salt, stored, server = (self._made_up(part, name) for part in ("salt", "stored", "server"))
        keys = ScramKeys(salt[:SALT_BYTES], _ITERATIONS, stored, server)
        credential = self._lookup(name) if _NAME.fullmatch(name) else None
        if credential is not None and not credential.disabled:
            known = credential.scram.get(self._mechanism)
            if known is not None:
                self._credential, keys = credential, known
        return keys.salt, keys.stored_key, keys.server_key, keys.iterations

    def _made_up(self, part: str, name: str) -> bytes:
        # No name holds a NUL (scramp refuses it), so that parts cannot be taken for each other.
        return hmac.digest(self._secret, f"{part}\0{name}".encode(), "sha256")


def _over(_: str) -> Step:
    raise failed()


def scram_sha_256(lookup: Lookup, nonce: str, secret: bytes) -> ScramConversation:
    """Begin a login by SCRAM-SHA-256.

    Args:
        lookup: name -> credential that may log in now.
        nonce: fresh and random, printable ASCII without comma.
        secret: the proxy's own; the made-up salts of unknown names come from it.
    """
    return ScramConversation(SCRAM_SHA_256, lookup, nonce, secret)
