"""PLAIN: the password as it is, where nobody else can read it and the credential allows that.

Source: RFC 4616. We hold no password, so the keys of SCRAM are derived from what came: slow on
purpose, hence beside the loop, and the same for a name that is not known.
"""

from __future__ import annotations

import hmac
from functools import partial
from typing import Final

from mdb_engine.credentials import SCRAM_SHA_256, Credential, ScramKeys, derive
from mdb_engine.exceptions import ConfigurationError
from mdb_proxy.auth.conversation import NAME, Gate, Later, Step, failed, made_up
from mdb_proxy.decisions import PASSWORDS, Chore

MAX_PASSWORD: Final = 1_024
_PARTS: Final = 3


class PlainConversation:
    """One login by PLAIN: a single payload."""

    __slots__ = ("_gate", "name")

    def __init__(self, gate: Gate) -> None:
        self.name = ""
        self._gate = gate

    def step(self, payload: bytes) -> Later:
        """What there is to do before the answer.

        Raises:
            AuthenticationFailedError: the connection is not safe, or the payload is malformed:
                before anything is looked up.
        """
        name, password = self._read(payload)
        self.name = name
        keys = made_up(self._gate.secret, SCRAM_SHA_256, name)
        credential = self._gate.lookup(name)
        if credential is not None and (not credential.plain or credential.disabled):
            credential = None
        if credential is not None:
            keys = credential.scram.get(SCRAM_SHA_256, keys)
        chore = Chore(partial(_derived, password, keys), PASSWORDS)
        return Later(chore, partial(_compared, credential, keys.stored_key))

    def _read(self, payload: bytes) -> tuple[str, str]:
        """Name and password; who acts for somebody else is refused."""
        try:
            parts = payload.decode().split("\0")
        except UnicodeDecodeError:
            raise failed() from None
        if not self._gate.secure or len(parts) != _PARTS:
            raise failed()
        acting, name, password = parts
        if acting not in ("", name) or not NAME.fullmatch(name) or len(password) > MAX_PASSWORD:
            raise failed()
        return name, password


def _derived(password: str, keys: ScramKeys) -> bytes:
    """The stored key of this password; nothing when it cannot be one."""
    try:
        return derive(password, keys.salt, keys.iterations).stored_key
    except ConfigurationError:
        return b""


def _compared(credential: Credential | None, stored: bytes, derived: bytes) -> Step:
    if not hmac.compare_digest(stored, derived) or credential is None:
        raise failed()
    return Step(b"", done=True, holder=credential)
