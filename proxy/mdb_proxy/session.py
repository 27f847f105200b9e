"""One client's conversation: a frame comes in, a decision comes out, nothing is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from mdb_engine.credentials import Credential
from mdb_engine.exceptions import (
    AuthenticationFailedError,
    IllegalOperationError,
    InvalidBSONError,
    LegacyQueryError,
    OverloadedError,
    RefusedError,
    UnauthorizedError,
    UnsupportedOpQueryError,
)
from mdb_engine.rawbson import Document, check, encode
from mdb_engine.scope.holdings import SURE_SECONDS
from mdb_engine.scope.model import Scope
from mdb_engine.scope.names import printable
from mdb_proxy import envelope, local
from mdb_proxy.channel import Channel
from mdb_proxy.cursors import Cursors, Sessions
from mdb_proxy.decisions import Close, Decision, Forward, Reply, Run
from mdb_proxy.directory import Directory
from mdb_proxy.holds import TENANT_COMMANDS
from mdb_proxy.quotas import Quotas
from mdb_proxy.sasl import COMMANDS as SASL
from mdb_proxy.sasl import Login
from mdb_proxy.tenant import Asking, decided, tenant_command
from mdb_proxy.wire.compression import COMPRESSORS, unwrap, wrap
from mdb_proxy.wire.frames import (
    MAX_BEFORE_LOGIN,
    MAX_MESSAGE,
    OP_COMPRESSED,
    OP_MSG,
    OP_QUERY,
    Frame,
    WireError,
)
from mdb_proxy.wire.messages import Message, parse_message
from mdb_proxy.wire.queries import QUERY_FAILURE, Query, encode_reply, parse_query

MAX_INVALID: Final = 5
"""Bodies that are not BSON; with the last one the connection closes."""

MAX_NOTED: Final = 64
"""Characters of a client's own text that go into a log line."""

HELLO: Final = frozenset({"hello", "isMaster", "ismaster"})
_NEVER_COMPRESSED: Final = HELLO | SASL
_ANONYMOUS: Final = SASL | {name for name, row in local.LOCAL.items() if row.anonymous}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the log is told of a command that was refused: never what it held."""

    command: str
    code: int
    at: str
    app: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the log is told of a login: the name is the client's claim; `code` 0 is a success."""

    name: str
    mechanism: str
    code: int = 0
    app: str = ""


Event = Refusal | Attempt


def _unseen(_app: str, _command: Mapping[str, Any]) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a conversation needs of the world, handed in.

    Attributes:
        directory: the current one. cursors, sessions, quotas: of the process.
        now: wall clock (UTC). tick: seconds of a clock that never goes back.
        random: so many random bytes. started: when the process began.
        clients: open connections of an app.
        peers: there are other workers, which may know what this one does not.
        saw: is shown the app and each logical command that is about to be sent.
    """

    directory: Callable[[], Directory]
    cursors: Cursors
    sessions: Sessions
    now: Callable[[], datetime]
    tick: Callable[[], float]
    random: Callable[[int], bytes]
    started: datetime
    clients: Callable[[str], int]
    quotas: Quotas = field(default_factory=Quotas)
    compressors: tuple[str, ...] = tuple(COMPRESSORS)
    peers: bool = False
    saw: Callable[[str, Mapping[str, Any]], None] = _unseen

    def asking(self, command: Mapping[str, Any], scope: Scope, user: str) -> Asking:
        """One command of a logged-in client, and what there is to answer it."""
        directory = self.directory()
        return Asking(
            command,
            scope,
            user,
            directory.secret,
            self.cursors,
            self.sessions,
            directory.holdings,
            self.tick,
            self.random,
            self.peers,
            self.tick() - directory.confirmed <= SURE_SECONDS,
        )


class Session:
    """The state of one connection, and its decisions.

    Attributes:
        command: name of the last command; "" when it had none. The client's own text.
        refusals: how many commands were refused.
    """

    def __init__(
        self,
        tools: Tools,
        channel: Channel,
        connection: int,
        note: Callable[[Event], None] = lambda _event: None,
    ) -> None:
        self._tools, self._channel, self._connection, self._note = tools, channel, connection, note
        self._login = Login()
        self._invalid = 0
        self._introduced = False
        self.command = ""
        self.refusals = 0

    @property
    def app(self) -> str:
        """The app of who is logged in; "" before."""
        return self._login.credential.app if self._login.credential else ""

    @property
    def welcome(self) -> bool:
        """Whether who is logged in still may be; nobody always may."""
        credential, tools = self._login.credential, self._tools
        return credential is None or tools.directory().scope(credential, tools.now()) is not None

    def receive(self, frame: Frame) -> Decision:
        """Decide what happens to one frame.

        Raises:
            WireError: the bytes break the protocol; close without an answer.
        """
        self.command = ""
        if frame.opcode == OP_COMPRESSED:
            return self._compressed(frame)
        if frame.opcode == OP_MSG:
            return self._message(parse_message(frame))
        if frame.opcode == OP_QUERY:
            return self._query(parse_query(frame))
        return Close(f"opcode {frame.opcode} is not supported")

    def _compressed(self, outer: Frame) -> Decision:
        frame = unwrap(outer, MAX_MESSAGE if self.app else MAX_BEFORE_LOGIN)
        if frame.opcode != OP_MSG:
            msg = "only OP_MSG may be compressed"
            raise WireError(msg)
        decision = self._message(parse_message(frame))
        name = _compressor_name(outer.payload[8], self._tools.compressors)
        if name is None or self.command in _NEVER_COMPRESSED:
            return decision
        return _wrapped(decision, name)

    def _message(self, message: Message) -> Decision:
        try:
            command = envelope.logical(message)
            self.command = next(iter(command))
            return self._decide(message, command)
        except RefusedError as error:
            if self._is_last(error):
                return Close("too many bodies that are not BSON")
            return Reply(envelope.reply_to(message, envelope.refusal(error)))

    def _is_last(self, error: RefusedError) -> bool:
        """Note a refusal; whether the client has had its chances."""
        self.refused(error)
        self._invalid += isinstance(error, InvalidBSONError)
        return self._invalid >= MAX_INVALID

    def refused(self, error: RefusedError) -> None:
        """Note that the last command was refused, be it while it was carried out."""
        self.refusals += 1
        if isinstance(error, AuthenticationFailedError):
            return  # the attempt was noted
        self._note(Refusal(_short(self.command), error.code, _short(error.at), self.app))

    def _decide(self, message: Message, command: dict[str, Any]) -> Decision:
        credential = self._login.credential
        if credential is None:
            if self.command not in _ANONYMOUS:
                msg = f"Command {self.command} requires authentication"
                raise UnauthorizedError(msg)
            return Reply(envelope.reply_to(message, encode(self._answer(command, None))))
        scope = self._tools.directory().scope(credential, self._tools.now())
        if scope is None:
            return Close("the app or the credential is gone")
        if self.command in SASL or self.command in local.LOCAL:
            caller = local.Caller(credential.name, scope)
            return Reply(envelope.reply_to(message, encode(self._answer(command, caller))))
        return self._tenant(message, command, scope, credential)

    def _tenant(
        self, message: Message, command: dict[str, Any], scope: Scope, credential: Credential
    ) -> Decision:
        tools = self._tools
        tools.quotas.spend(scope.slug, scope.limits, tools.tick())
        asking = tools.asking(command, scope, credential.name)
        rule = TENANT_COMMANDS.get(self.command, tenant_command)
        decision = decided(rule, asking, lambda body: envelope.reply_to(message, body))
        if not isinstance(decision, Reply):
            tools.saw(scope.slug, command)
        if message.more_to_come and isinstance(decision, Forward | Run):
            return replace(decision, quiet=True)
        return decision

    def _answer(self, command: Mapping[str, Any], caller: local.Caller | None) -> dict[str, Any]:
        """The reply to a command that the cluster never sees."""
        return self._sasl(command) if self.command in SASL else self._local(command, caller)

    def _sasl(self, command: Mapping[str, Any]) -> dict[str, Any]:
        login, before = self._login, self._login.credential
        secret = self._tools.directory().secret
        try:
            reply = login.handle(self.command, command, self._lookup, self._nonce(), secret)
            if login.credential is not None and before is None:
                self._admit(login.credential)
                self._attempted(0)
        except (AuthenticationFailedError, OverloadedError) as error:
            self._attempted(error.code)
            raise
        return reply

    def _admit(self, credential: Credential) -> None:
        """Refuse who has gone since the first step, and one connection too many of an app.

        Raises:
            AuthenticationFailedError: the credential or its app has gone.
            OverloadedError: the app has as many connections as it may.
        """
        scope = self._tools.directory().scope(credential, self._tools.now())
        if scope is None:
            self._login.leave()
            msg = "Authentication failed."
            raise AuthenticationFailedError(msg)
        if self._tools.clients(credential.app) >= scope.limits.max_connections:
            self._login.leave()
            msg = "too many connections, try again"
            raise OverloadedError(msg)

    def _attempted(self, code: int) -> None:
        login = self._login
        self._note(Attempt(_short(login.claimed), login.mechanism, code, self.app))

    def _lookup(self, name: str) -> Credential | None:
        return self._tools.directory().credential(name, self._tools.now())

    def _nonce(self) -> str:
        return self._tools.random(18).hex()

    def _local(self, command: Mapping[str, Any], caller: local.Caller | None) -> dict[str, Any]:
        tools = self._tools
        directory = tools.directory()
        visit = local.Visit(
            directory,
            caller,
            self._channel,
            self._connection,
            tools.now(),
            tools.started,
            tools.random,
            tools.compressors,
            tools.clients(self.app),
        )
        if self.command not in HELLO:
            return local.answer(command, visit)
        if "client" in command and self._introduced:
            msg = "The client metadata document may only be sent in the first hello"
            raise IllegalOperationError(msg, "client")
        reply = local.answer(command, visit)
        self._introduced = self._introduced or "client" in command
        step = self._login.speculate(command, self._lookup, self._nonce(), directory.secret)
        return reply if step is None else {**reply, "speculativeAuthenticate": step}

    def _query(self, query: Query) -> Decision:
        """The old form in which some clients say hello; nothing else is spoken in it."""
        try:
            return Reply(_old_reply(query, encode(self._legacy(query))))
        except RefusedError as error:
            if self._is_last(error):
                return Close("too many bodies that are not BSON")
            if isinstance(error, LegacyQueryError):
                fields = {"$err": error.reason, "code": error.code, "ok": 0.0}
                return Reply(_old_reply(query, encode(fields), QUERY_FAILURE))
            return Reply(_old_reply(query, envelope.refusal(error)))

    def _legacy(self, query: Query) -> dict[str, Any]:
        check(query.document)
        db, _, collection = query.namespace.partition(".")
        if collection != "$cmd":
            msg = "OP_QUERY is no longer supported. The client driver may require an upgrade."
            raise LegacyQueryError(msg)
        command: Mapping[str, Any] = Document(query.document)
        wrapped = command.get("$query", command.get("query"))
        if next(iter(command), "") in ("$query", "query") and isinstance(wrapped, Document):
            command = wrapped
        self.command = next(iter(command), "")
        if self.command not in HELLO:
            msg = (
                f"Unsupported OP_QUERY command: {self.command}."
                " The client driver may require an upgrade."
            )
            raise UnsupportedOpQueryError(msg)
        return self._local({**command, "$db": db}, None)


def _short(text: str) -> str:
    return printable(text)[:MAX_NOTED]


def _old_reply(query: Query, document: bytes, flags: int = 0) -> bytes:
    return encode_reply(document, query.request_id, query.request_id, flags)


def _compressor_name(number: int, offered: tuple[str, ...]) -> str | None:
    return next((name for name in offered if COMPRESSORS[name].id == number), None)


def _wrapped(decision: Decision, name: str) -> Decision:
    """The same decision, its answer compressed as the question was."""

    def squeezed(data: bytes) -> bytes:
        return wrap(data, name) if data else data

    if isinstance(decision, Reply):
        return Reply(squeezed(decision.message))
    if isinstance(decision, Close):
        return decision
    return replace(decision, finish=squeezed)
