"""One client's conversation: a frame comes in, a decision comes out, nothing is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from mdb_engine.credentials import Credential
from mdb_engine.exceptions import (
    BSONObjectTooLargeError,
    InvalidBSONError,
    LegacyQueryError,
    NotSupportedInTransactionError,
    RefusedError,
    UnauthorizedError,
    UnsupportedOpQueryError,
)
from mdb_engine.rawbson import Document, check, encode
from mdb_engine.scope.model import MAX_MESSAGE_BYTES, Scope
from mdb_proxy import envelope, local
from mdb_proxy.cursors import Cursors
from mdb_proxy.decisions import Close, Decision, Forward, Reply, Run
from mdb_proxy.directory import Directory
from mdb_proxy.lsids import random_uuid
from mdb_proxy.sasl import COMMANDS as SASL
from mdb_proxy.sasl import Login
from mdb_proxy.tenant import TENANT_COMMANDS, Asking, tenant_command
from mdb_proxy.wire.compression import COMPRESSORS, unwrap, wrap
from mdb_proxy.wire.frames import OP_COMPRESSED, OP_MSG, OP_QUERY, Frame, WireError
from mdb_proxy.wire.messages import Message, parse_message
from mdb_proxy.wire.queries import QUERY_FAILURE, Query, encode_reply, parse_query

MAX_INVALID: Final = 5
"""Bodies that are not BSON; with the last one the connection closes."""

HELLO: Final = frozenset({"hello", "isMaster", "ismaster"})
_NEVER_COMPRESSED: Final = HELLO | SASL


@dataclass(frozen=True, slots=True)
class Tools:
    """What a conversation needs of the world, handed in.

    Attributes:
        directory: the current one. cursors: of the process. now: wall clock (UTC).
        tick: seconds of a clock that never goes back. random: so many random bytes.
        started: when the process began. clients: open connections of an app.
    """

    directory: Callable[[], Directory]
    cursors: Cursors
    now: Callable[[], datetime]
    tick: Callable[[], float]
    random: Callable[[int], bytes]
    started: datetime
    clients: Callable[[str], int] = lambda _app: 1
    compressors: tuple[str, ...] = tuple(COMPRESSORS)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the log is told of a command that was refused."""

    command: str
    code: int
    at: str
    app: str = ""


class Session:
    """The state of one connection, and its decisions."""

    def __init__(
        self,
        tools: Tools,
        peer: str,
        connection: int,
        refused: Callable[[Refusal], None] = lambda _refusal: None,
    ) -> None:
        self._tools, self._peer, self._connection = tools, peer, connection
        self._refused = refused
        self._login = Login()
        self._invalid = 0

    @property
    def credential(self) -> Credential | None:
        """Who is logged in."""
        return self._login.credential

    def receive(self, frame: Frame) -> Decision:
        """Decide what happens to one frame.

        Raises:
            WireError: the bytes break the protocol; close without an answer.
        """
        if frame.opcode == OP_COMPRESSED:
            compressor = frame.payload[8:9]
            return self._compressed(unwrap(frame), compressor)
        if frame.opcode == OP_MSG:
            return self._message(parse_message(frame))
        if frame.opcode == OP_QUERY:
            return self._query(parse_query(frame))
        return Close(f"opcode {frame.opcode} is not supported")

    def _compressed(self, frame: Frame, compressor: bytes) -> Decision:
        if frame.opcode != OP_MSG:
            msg = "only OP_MSG may be compressed"
            raise WireError(msg)
        message = parse_message(frame)
        decision = self._message(message)
        name = _compressor_name(compressor, self._tools.compressors)
        if name is None or Document(message.body).first in _NEVER_COMPRESSED:
            return decision
        return _wrapped(decision, name)

    def _message(self, message: Message) -> Decision:
        command: dict[str, Any] = {}
        try:
            command = envelope.logical(message)
            return self._decide(message, command)
        except RefusedError as error:
            self._invalid += isinstance(error, InvalidBSONError)
            if self._invalid >= MAX_INVALID:
                return Close("too many bodies that are not BSON")
            self._note(command, error)
            return Reply(envelope.reply_to(message, envelope.refusal(error)))

    def _note(self, command: Mapping[str, Any], error: RefusedError) -> None:
        app = self.credential.app if self.credential else ""
        self._refused(Refusal(next(iter(command), ""), error.code, error.at, app))

    def _decide(self, message: Message, command: dict[str, Any]) -> Decision:
        name = next(iter(command))
        if name in SASL:
            return Reply(envelope.reply_to(message, encode(self._sasl(name, command))))
        row = local.LOCAL.get(name)
        if row is not None and (row.anonymous or self.credential is not None):
            return Reply(envelope.reply_to(message, encode(self._local(name, command))))
        if self.credential is None:
            msg = f"Command {name} requires authentication"
            raise UnauthorizedError(msg)
        scope = self._tools.directory().scope(self.credential)
        if scope is None:
            return Close("the app or the credential is gone")
        if name == "startSession":
            return Reply(envelope.reply_to(message, encode(self._start_session())))
        return self._tenant(message, command, scope, self.credential)

    def _tenant(
        self, message: Message, command: dict[str, Any], scope: Scope, credential: Credential
    ) -> Decision:
        size = len(message.body) + sum(len(d) for _, docs in message.sections for d in docs)
        if size > MAX_MESSAGE_BYTES:
            msg = "the message is too large"
            raise BSONObjectTooLargeError(msg)
        asking = Asking(
            command,
            scope,
            credential.name,
            self._tools.directory().secret,
            self._tools.cursors,
            self._tools.tick,
            self._tools.random,
        )
        rule = TENANT_COMMANDS.get(next(iter(command)), tenant_command)
        decision = rule(asking, lambda body: envelope.reply_to(message, body))
        if message.more_to_come and isinstance(decision, Forward | Run):
            return replace(decision, quiet=True)
        return decision

    def _sasl(self, name: str, command: Mapping[str, Any]) -> dict[str, Any]:
        directory = self._tools.directory()
        return self._login.handle(name, command, self._lookup, self._nonce(), directory.secret)

    def _lookup(self, name: str) -> Credential | None:
        return self._tools.directory().credential(name, self._tools.now())

    def _nonce(self) -> str:
        return self._tools.random(18).hex()

    def _local(self, name: str, command: Mapping[str, Any]) -> dict[str, Any]:
        if "autocommit" in command:
            msg = f"Cannot run '{name}' in a multi-document transaction."
            raise NotSupportedInTransactionError(msg)
        tools, app = self._tools, self.credential.app if self.credential else ""
        directory = tools.directory()
        visit = local.Visit(
            directory,
            self.credential,
            self._peer,
            self._connection,
            tools.now(),
            tools.started,
            tools.clients(app),
            tools.compressors,
        )
        reply = local.answer(name, command, visit)
        if name in HELLO:
            step = self._login.speculate(command, self._lookup, self._nonce(), directory.secret)
            if step is not None:
                reply["speculativeAuthenticate"] = step
        return reply

    def _start_session(self) -> dict[str, Any]:
        session = {"id": random_uuid(self._tools.random(16))}
        return {"id": session, "timeoutMinutes": local.SESSION_MINUTES, "ok": 1.0}

    def _query(self, query: Query) -> Decision:
        """The old form in which some clients say hello; nothing else is spoken in it."""
        try:
            check(query.document)
            reply = self._legacy(query)
        except LegacyQueryError as error:
            fields = {"$err": error.reason, "code": error.code, "ok": 0.0}
            return Reply(_old_reply(query, encode(fields), QUERY_FAILURE))
        except RefusedError as error:
            return Reply(_old_reply(query, envelope.refusal(error)))
        return Reply(_old_reply(query, encode(reply)))

    def _legacy(self, query: Query) -> dict[str, Any]:
        db, _, collection = query.namespace.partition(".")
        if collection != "$cmd":
            msg = "OP_QUERY is no longer supported. The client driver may require an upgrade."
            raise LegacyQueryError(msg)
        command: Mapping[str, Any] = Document(query.document)
        wrapped = command.get("$query", command.get("query"))
        if next(iter(command), "") in ("$query", "query") and isinstance(wrapped, Document):
            command = wrapped
        name = next(iter(command), "")
        if name not in HELLO:
            msg = f"Unsupported OP_QUERY command: {name}. The client driver may require an upgrade."
            raise UnsupportedOpQueryError(msg)
        return self._local(name, {**command, "$db": db})


def _old_reply(query: Query, document: bytes, flags: int = 0) -> bytes:
    return encode_reply(document, query.request_id, query.request_id, flags)


def _compressor_name(compressor: bytes, offered: tuple[str, ...]) -> str | None:
    for name in offered:
        if bytes([COMPRESSORS[name].id]) == compressor:
            return name
    return None


def _wrapped(decision: Decision, name: str) -> Decision:
    """The same decision, its answer compressed as the question was."""

    def squeezed(data: bytes) -> bytes:
        return wrap(data, name) if data else data

    if isinstance(decision, Reply):
        return Reply(squeezed(decision.message))
    if isinstance(decision, Close):
        return decision
    return replace(decision, finish=squeezed)
