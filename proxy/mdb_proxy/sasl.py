"""SASL on the wire: `saslStart`, `saslContinue`, and the login inside `hello`.

Source: MongoDB driver authentication specification, "Speculative Authentication".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mdb_engine.credentials import Credential
from mdb_engine.exceptions import (
    AuthenticationFailedError,
    IllegalOperationError,
    QueryValidationError,
    RefusedError,
)
from mdb_engine.rawbson import BINARY, Document, Raw
from mdb_engine.scope.names import check_database
from mdb_proxy.auth import MECHANISMS, Conversation, Lookup

COMMANDS: Final = frozenset({"authenticate", "logout", "saslContinue", "saslStart"})
_CONVERSATION: Final = 1
_SOURCES: Final = frozenset({"admin", "$external"})


class Login:
    """The login of one connection, from nothing to a credential and back.

    Attributes:
        credential: who is logged in, or None.
        claimed: what the client says its name is; not to be believed before it is logged in.
        mechanism: the one of the last attempt; "" when it was none that we know.
    """

    def __init__(self) -> None:
        self.credential: Credential | None = None
        self.claimed = ""
        self.mechanism = ""
        self._conversation: Conversation | None = None
        self._pending: Credential | None = None
        self._skip_empty = False

    def handle(
        self, name: str, command: Mapping[str, Any], lookup: Lookup, nonce: str, secret: bytes
    ) -> dict[str, Any]:
        """The reply to a SASL command.

        Raises:
            AuthenticationFailedError: one text for every reason.
        """
        if name == "logout":
            self.leave()
            return {"ok": 1.0}
        if name == "saslStart":
            return self.start(command, lookup, nonce, secret)
        if name == "saslContinue":
            return self._continue(command)
        raise _failed()

    def leave(self) -> None:
        """Be nobody again."""
        self.credential = self._conversation = self._pending = None

    def start(
        self, command: Mapping[str, Any], lookup: Lookup, nonce: str, secret: bytes
    ) -> dict[str, Any]:
        """Begin a conversation; also what `speculativeAuthenticate` asks for."""
        if self.credential is not None:
            msg = "this connection is already authenticated"
            raise IllegalOperationError(msg)
        self.leave()
        self.claimed = self.mechanism = ""
        _check_source(command)
        wanted = command.get("mechanism")
        mechanism = MECHANISMS.get(wanted) if isinstance(wanted, str) else None
        if mechanism is None:
            raise _failed()
        self.mechanism = str(wanted)
        options = command.get("options")
        self._skip_empty = (
            isinstance(options, Document) and options.get("skipEmptyExchange") is True
        )
        self._conversation = mechanism(lookup, nonce, secret)
        return self._step(command)

    def _continue(self, command: Mapping[str, Any]) -> dict[str, Any]:
        if command.get("conversationId") != _CONVERSATION:
            self._conversation = self._pending = None
            raise _failed()
        if self._pending is not None:
            # The empty exchange of clients that do not skip it.
            self.credential, self._pending = self._pending, None
            return _reply(b"", done=True)
        return self._step(command)

    def _step(self, command: Mapping[str, Any]) -> dict[str, Any]:
        conversation, self._conversation = self._conversation, None
        if conversation is None:
            raise _failed()
        try:
            step = conversation.step(_payload(command))
        finally:
            self.claimed = conversation.name
        if not step.done:
            self._conversation = conversation
        elif self._skip_empty:
            self.credential = step.credential
        else:
            self._pending = step.credential
            return _reply(step.payload, done=False)
        return _reply(step.payload, done=step.done)

    def speculate(
        self, command: Mapping[str, Any], lookup: Lookup, nonce: str, secret: bytes
    ) -> dict[str, Any] | None:
        """The login's first step inside `hello`; None when it cannot be, the client goes on."""
        wanted = command.get("speculativeAuthenticate")
        if not isinstance(wanted, Document) or self.credential is not None:
            return None
        try:
            return self.start({**wanted, "$db": wanted.get("db")}, lookup, nonce, secret)
        except RefusedError:
            return None


def _check_source(command: Mapping[str, Any]) -> None:
    """Any legal database may be the source: a credential belongs to an app, not to a database."""
    source = command.get("$db")
    if not (isinstance(source, str) and source in _SOURCES):
        check_database(source, None, "saslStart")


def _payload(command: Mapping[str, Any]) -> bytes:
    value = command.get("payload")
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, Raw) and value.kind == BINARY:
        return value.data[5:]
    msg = "payload must be binary data"
    raise QueryValidationError(msg, "payload")


def _reply(payload: bytes, *, done: bool) -> dict[str, Any]:
    return {"conversationId": _CONVERSATION, "done": done, "payload": payload, "ok": 1.0}


def _failed() -> AuthenticationFailedError:
    return AuthenticationFailedError("Authentication failed.")
