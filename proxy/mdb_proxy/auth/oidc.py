"""MONGODB-OIDC: a token of an issuer that we trust, in one payload, or after a word about where.

Source: MongoDB driver authentication specification, "MONGODB-OIDC".
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from mdb_engine.exceptions import InvalidBSONError, OverloadedError
from mdb_engine.rawbson import Document, check, encode
from mdb_proxy.auth.conversation import Gate, Later, Step, failed
from mdb_proxy.auth.guests import Guest
from mdb_proxy.auth.tokens import UnknownKeyError, judged
from mdb_proxy.decisions import KEYS, TRY_AGAIN, Chore


class OidcConversation:
    """One login by token. Its name is known when it is believed, not before."""

    __slots__ = ("_gate", "_introduced", "name")

    def __init__(self, gate: Gate) -> None:
        self.name = ""
        self._gate = gate
        self._introduced = False

    def step(self, payload: bytes) -> Step | Later:
        """The answer to the next payload.

        Raises:
            AuthenticationFailedError: no token, or none that we believe.
            OverloadedError: the issuer's keys could not be read yet.
        """
        token = _fields(payload).get("jwt")
        if isinstance(token, str):
            return self._judged(token)
        if token is not None or self._introduced:
            raise failed()
        self._introduced = True
        return Step(self._issuer(), done=False)

    def _issuer(self) -> bytes:
        """Where a person may get a token."""
        rule = next((rule for rule in self._gate.doors.tokens if rule.client), None)
        if rule is None:
            raise failed()
        told = {"issuer": rule.issuer, "clientId": rule.client}
        return encode(told | ({"requestScopes": [*rule.scopes]} if rule.scopes else {}))

    def _judged(self, token: str) -> Step | Later:
        try:
            return self._believed(judged(token, self._gate.doors, self._gate.now))
        except UnknownKeyError as error:
            keys = self._gate.doors.keys
            if not keys.due(error.source):
                raise self._unknown(error.source) from None
            return Later(
                Chore(partial(keys.renew, error.source), KEYS), partial(self._again, token)
            )

    def _again(self, token: str, _nothing: bytes) -> Step:
        try:
            return self._believed(judged(token, self._gate.doors, self._gate.now))
        except UnknownKeyError as error:
            raise self._unknown(error.source) from None

    def _unknown(self, source: str) -> Exception:
        """A key that is none of the issuer's; while none is known at all that is our fault."""
        return failed() if self._gate.doors.keys.known(source) else OverloadedError(TRY_AGAIN)

    def _believed(self, guest: Guest) -> Step:
        self.name = guest.name
        return Step(b"", done=True, holder=guest)


def _fields(payload: bytes) -> Mapping[str, Any]:
    try:
        check(payload)
    except InvalidBSONError:
        raise failed() from None
    return Document(payload)
