"""SCRAM, the server's side: the client proves that it knows the password; we only hold its keys.

Source: RFC 5802 section 3, RFC 7677. An unknown name gets a salt and keys of its own, derived
from the server's secret, so that it looks like a known one until the proof fails; so does one
that has no keys of this mechanism.
"""

from collections.abc import Callable

from scramp import ScramException, ScramMechanism
from scramp.utils import ServerError

from mdb_engine.credentials import SCRAM_SHA_1, SCRAM_SHA_256, Credential
from mdb_proxy.auth.conversation import NAME, Gate, Step, failed, made_up

_Keys = tuple[bytes, bytes, bytes, int]


class ScramConversation:
    """One login by SCRAM: client-first, server-first, client-final, server-final."""

    __slots__ = ("_credential", "_gate", "_mechanism", "_next", "_server", "name")

    def __init__(self, mechanism: str, gate: Gate) -> None:
        self.name = ""
        self._mechanism, self._gate = mechanism, gate
        self._credential: Credential | None = None
        self._server = ScramMechanism(mechanism).make_server(self._keys, s_nonce=gate.nonce)
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
        last = self._server.get_server_final().encode()
        return Step(last, done=True, holder=self._credential, echoed=True)

    def _keys(self, name: str) -> _Keys:
        """What scramp asks for; the same work whether the name is known or not."""
        self.name = name
        keys = made_up(self._gate.secret, self._mechanism, name)
        credential = self._gate.lookup(name) if NAME.fullmatch(name) else None
        if credential is not None and not credential.disabled:
            known = credential.scram.get(self._mechanism)
            if known is not None:
                self._credential, keys = credential, known
        return keys.salt, keys.stored_key, keys.server_key, keys.iterations


def _over(_: str) -> Step:
    raise failed()


def scram_sha_1(gate: Gate) -> ScramConversation:
    """Begin a login by SCRAM-SHA-1: for old clients, of credentials that allow it."""
    return ScramConversation(SCRAM_SHA_1, gate)


def scram_sha_256(gate: Gate) -> ScramConversation:
    """Begin a login by SCRAM-SHA-256."""
    return ScramConversation(SCRAM_SHA_256, gate)
