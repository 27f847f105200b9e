"""SASL on the wire: `saslStart`, `saslContinue`, `authenticate`, and the login inside `hello`.

Source: MongoDB driver authentication specification, "Speculative Authentication".
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Final

from mdb_engine.exceptions import (
    AuthenticationFailedError,
    IllegalOperationError,
    QueryValidationError,
    RefusedError,
)
from mdb_engine.rawbson import BINARY, Document, Raw
from mdb_engine.scope.names import check_database
from mdb_proxy.auth import (
    MECHANISMS,
    OIDC,
    X509,
    Conversation,
    Gate,
    Guest,
    Holder,
    Later,
    Step,
)
from mdb_proxy.decisions import Chore

COMMANDS: Final = frozenset({"authenticate", "logout", "saslContinue", "saslStart"})
_CONVERSATION: Final = 1
_EXTERNAL: Final = "$external"
_SOURCES: Final = frozenset({"admin", _EXTERNAL})

Talking = Generator[Chore, bytes, dict[str, Any]]
"""Yields what must be done before there is a reply, is sent what it gave, returns the reply."""


class Login:
    """The login of one connection, from nothing to a credential and back.

    Attributes:
        holder: who is logged in, or None.
        claimed: what the client says its name is; not to be believed before it is logged in.
        mechanism: the one of the last attempt; "" when it was none that we know.
    """

    def __init__(self) -> None:
        self.holder: Holder | None = None
        self.claimed = ""
        self.mechanism = ""
        self._conversation: Conversation | None = None
        self._pending: Holder | None = None
        self._skip_empty = False

    def handle(self, name: str, command: Mapping[str, Any], gate: Gate) -> Talking:
        """The reply to a SASL command.

        Raises:
            AuthenticationFailedError: one text for every reason.
            IllegalOperationError: somebody is logged in, and must not show a new token.
        """
        if name == "logout":
            self.leave()
            return {"ok": 1.0}
        if name == "saslStart":
            return (yield from self._start(command, gate))
        if name == "authenticate":
            return (yield from self._authenticate(command, gate))
        return (yield from self._continue(command))

    def leave(self) -> None:
        """Be nobody again."""
        self.holder = None
        self._forget()

    def _forget(self) -> None:
        self._conversation = self._pending = None

    def _begin(self, wanted: object, gate: Gate) -> Conversation:
        """A conversation by this mechanism; another that was under way is over."""
        if self.holder is not None and not (wanted == OIDC and _by_token(self.holder)):
            msg = "this connection is already authenticated"
            raise IllegalOperationError(msg)
        self._forget()
        self.claimed = self.mechanism = ""
        mechanism = MECHANISMS.get(wanted) if isinstance(wanted, str) else None
        if mechanism is None:
            raise _failed()
        self.mechanism = str(wanted)
        return mechanism(gate)

    def _start(self, command: Mapping[str, Any], gate: Gate) -> Talking:
        conversation = self._begin(command.get("mechanism"), gate)
        _check_source(command)
        options = command.get("options")
        self._skip_empty = (
            isinstance(options, Document) and options.get("skipEmptyExchange") is True
        )
        return (yield from self._reply(conversation, _payload(command)))

    def _authenticate(self, command: Mapping[str, Any], gate: Gate) -> Talking:
        """The older form, in which certificates are shown; it takes no others."""
        wanted, user = command.get("mechanism"), command.get("user", "")
        if wanted != X509 or not isinstance(user, str):
            raise _failed()
        conversation = self._begin(wanted, gate)
        step = yield from self._stepped(conversation, user.encode("utf-8", "surrogateescape"))
        self.holder = step.holder
        return {"dbname": _EXTERNAL, "user": self.claimed, "ok": 1.0}

    def _continue(self, command: Mapping[str, Any]) -> Talking:
        if command.get("conversationId") != _CONVERSATION:
            self._forget()
            raise _failed()
        if self._pending is not None:
            # The empty exchange of clients that do not skip it.
            self.holder, self._pending = self._pending, None
            return _said(b"", done=True)
        conversation, self._conversation = self._conversation, None
        if conversation is None:
            raise _failed()
        return (yield from self._reply(conversation, _payload(command)))

    def _reply(self, conversation: Conversation, payload: bytes) -> Talking:
        step = yield from self._stepped(conversation, payload)
        if not step.done:
            self._conversation = conversation
        elif step.echoed and not self._skip_empty:
            self._pending = step.holder
            return _said(step.payload, done=False)
        else:
            self._change(step.holder)
        return _said(step.payload, done=step.done)

    def _stepped(self, conversation: Conversation, payload: bytes) -> Generator[Chore, bytes, Step]:
        try:
            found = conversation.step(payload)
            while isinstance(found, Later):
                self.claimed = conversation.name
                found = found.then((yield found.chore))
        finally:
            self.claimed = conversation.name
        return found

    def _change(self, holder: Holder | None) -> None:
        """Somebody is logged in; who was before may only have shown a new token of his."""
        before = self.holder
        if before is not None and not _same(before, holder):
            raise _failed()
        self.holder = holder

    def speculate(self, command: Mapping[str, Any], gate: Gate) -> dict[str, Any] | None:
        """The login's first step inside `hello`; None when it cannot be, the client goes on.

        What takes time is not begun here.

        Raises:
            AuthenticationFailedError: it was tried, and failed.
        """
        wanted = command.get("speculativeAuthenticate")
        if not isinstance(wanted, Document) or self.holder is not None:
            return None
        name = next(iter(wanted), "")
        database = wanted.get("db", _EXTERNAL if name == "authenticate" else None)
        if name not in ("authenticate", "saslStart"):
            return None
        talking = self.handle(name, {**wanted, "$db": database}, gate)
        try:
            next(talking)
        except StopIteration as stop:
            return dict(stop.value)
        except AuthenticationFailedError:
            raise
        except RefusedError:
            return None
        talking.close()
        return None


def _by_token(holder: Holder) -> bool:
    return isinstance(holder, Guest) and holder.rule is not None


def _same(before: Holder, holder: Holder | None) -> bool:
    return holder is not None and (before.app, before.name) == (holder.app, holder.name)


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


def _said(payload: bytes, *, done: bool) -> dict[str, Any]:
    return {"conversationId": _CONVERSATION, "done": done, "payload": payload, "ok": 1.0}


def _failed() -> AuthenticationFailedError:
    return AuthenticationFailedError("Authentication failed.")
