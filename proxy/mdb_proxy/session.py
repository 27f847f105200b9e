"""One client's conversation: a frame comes in, a decision comes out, nothing is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, Final

from mdb_engine.credentials import Credential
from mdb_engine.exceptions import (
    AuthenticationFailedError,
    IllegalOperationError,
    InvalidBSONError,
    LegacyQueryError,
    OverloadedError,
    ReauthenticationRequiredError,
    RefusedError,
    UnauthorizedError,
    UnsupportedOpQueryError,
)
from mdb_engine.rawbson import Document, check, encode
from mdb_engine.scope.holdings import SURE_SECONDS
from mdb_engine.scope.model import Scope
from mdb_engine.scope.names import printable
from mdb_proxy import envelope, local
from mdb_proxy.auth import GUESSABLE, Gate, Guest, Holder
from mdb_proxy.channel import Channel
from mdb_proxy.cursors import Cursors, Sessions
from mdb_proxy.decisions import (
    ANYWHERE,
    Chore,
    Close,
    Decision,
    Forward,
    Origin,
    Reply,
    Run,
    Steps,
)
from mdb_proxy.directory import Directory
from mdb_proxy.holds import TENANT_COMMANDS
from mdb_proxy.quotas import Quotas
from mdb_proxy.sasl import COMMANDS as SASL
from mdb_proxy.sasl import Login, Talking
from mdb_proxy.tenant import Asking, decided, tenant_command
from mdb_proxy.throttles import Throttle
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
        throttle: of logins. service: which process this is, 12 bytes.
        members: `host:port` of those that hold data, the primary first.
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
    throttle: Throttle = field(default_factory=Throttle)
    service: bytes = bytes(12)
    members: Callable[[], tuple[str, ...]] = tuple

    def asking(
        self, command: Mapping[str, Any], scope: Scope, user: str, origin: Origin = ANYWHERE
    ) -> Asking:
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
            partial(self._to_search, scope.slug),
            origin,
        )

    def _to_search(self, app: str) -> tuple[str, ...]:
        return self.members() if self.quotas.search(app, self.tick()) else ()


class Session:
    """The state of one connection, and its decisions.

    Attributes:
        command: name of the last command; "" when it had none. The client's own text.
        refusals: how many commands were refused.
        balanced: the client keeps to this connection what it opened on it.
        early: the last one was a login before the stores were read: it may be given again.
    """

    def __init__(
        self,
        tools: Tools,
        channel: Channel,
        connection: int,
        note: Callable[[Event], None] = lambda _event: None,
    ) -> None:
        self._tools, self._channel, self._connection, self._note = tools, channel, connection, note
        self._origin = Origin(channel.address, connection)
        self._login = Login()
        self._invalid = 0
        self._introduced = False
        self.command = ""
        self.refusals = 0
        self.balanced = False
        self.early = False

    @property
    def app(self) -> str:
        """The app of who is logged in; "" before."""
        return self._login.holder.app if self._login.holder else ""

    @property
    def user(self) -> str:
        """The name of who is logged in; "" before."""
        return self._login.holder.name if self._login.holder else ""

    @property
    def welcome(self) -> bool:
        """Whether who is logged in still may be; nobody always may."""
        holder, tools = self._login.holder, self._tools
        return holder is None or tools.directory().scope(holder, tools.now()) is not None

    def receive(self, frame: Frame) -> Decision:
        """Decide what happens to one frame.

        Raises:
            WireError: the bytes break the protocol; close without an answer.
        """
        self.command, self.early = "", False
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
        holder, now = self._login.holder, self._tools.now()
        if holder is None:
            if self.command not in _ANONYMOUS:
                msg = f"Command {self.command} requires authentication"
                raise UnauthorizedError(msg)
            return self._answered(message, command, None)
        scope = self._tools.directory().scope(holder, now)
        if scope is None:
            return Close("the app or the credential is gone")
        if isinstance(holder, Guest) and holder.over(now) and self.command not in _ANONYMOUS:
            msg = "the token that this connection was authenticated with has expired"
            raise ReauthenticationRequiredError(msg)
        if self.command in SASL or self.command in local.LOCAL:
            return self._answered(message, command, local.Caller.of(holder, scope))
        return self._tenant(message, command, scope, holder)

    def _tenant(
        self, message: Message, command: dict[str, Any], scope: Scope, holder: Holder
    ) -> Decision:
        tools = self._tools
        tools.quotas.spend(scope.slug, scope.limits, tools.tick())
        asking = tools.asking(command, scope, holder.name, self._origin)
        rule = TENANT_COMMANDS.get(self.command, tenant_command)
        decision = decided(rule, asking, lambda body: envelope.reply_to(message, body))
        if not isinstance(decision, Reply):
            tools.saw(scope.slug, command)
        if message.more_to_come and isinstance(decision, Forward | Run):
            return replace(decision, quiet=True)
        return decision

    def _answered(
        self, message: Message, command: Mapping[str, Any], caller: local.Caller | None
    ) -> Decision:
        """The answer to a command that the cluster never sees."""
        if self.command not in SASL:
            return Reply(envelope.reply_to(message, encode(self._local(command, caller))))
        if self._tools.directory().unread:
            # Never 18, which drivers take as final.
            self.early = True
            msg = "the cluster was not reached yet, try again"
            raise OverloadedError(msg)
        talking = self._attempt(command)
        try:
            chore = next(talking)
        except StopIteration as stop:
            return Reply(envelope.reply_to(message, encode(stop.value)))
        return Run(_going_on(message, talking, chore), quiet=message.more_to_come)

    def _attempt(self, command: Mapping[str, Any]) -> Talking:
        """A command of a login; what came of it is noted."""
        login, before = self._login, self._login.holder
        try:
            reply = yield from login.handle(self.command, command, self._gate())
            if login.holder is not None and login.holder is not before:
                self._admit(login.holder, before)
        except (AuthenticationFailedError, OverloadedError) as error:
            self._attempted(error.code)
            raise
        return reply

    def _speculated(self, command: Mapping[str, Any]) -> dict[str, Any] | None:
        """The same inside `hello`, where nothing fails: the client may go on."""
        login, before = self._login, self._login.holder
        try:
            step = login.speculate(command, self._gate())
            if login.holder is not None and before is None:
                self._admit(login.holder, before)
        except (AuthenticationFailedError, OverloadedError) as error:
            if login.mechanism:
                self._attempted(error.code)
            return None
        return step

    def _admit(self, holder: Holder, before: Holder | None) -> None:
        """Refuse who has gone since the first step, and one connection too many of an app.

        Raises:
            AuthenticationFailedError: the credential or its app has gone, or the client asked
                for the host of another app.
            OverloadedError: the app has as many connections as it may.
        """
        directory = self._tools.directory()
        scope = directory.scope(holder, self._tools.now())
        if scope is None or not directory.doors.leads_to(self._channel.server_name, holder.app):
            self._login.leave()
            msg = "Authentication failed."
            raise AuthenticationFailedError(msg)
        if before is None and self._tools.clients(holder.app) >= scope.limits.max_connections:
            self._login.leave()
            msg = "too many connections, try again"
            raise OverloadedError(msg)
        self._attempted(0)

    def _attempted(self, code: int) -> None:
        login, tools = self._login, self._tools
        if login.mechanism not in GUESSABLE:
            pass  # nobody finds a certificate or a signature by trying
        elif not code:
            tools.throttle.succeeded(self._channel.peer, login.claimed)
        elif code == AuthenticationFailedError.code:
            tools.throttle.failed(self._channel.peer, login.claimed, tools.tick())
        self._note(Attempt(_short(login.claimed), login.mechanism, code, self.app))

    def _lookup(self, name: str) -> Credential | None:
        """The credential of a name; who has failed too often is not even told that it is wrong."""
        tools = self._tools
        tools.throttle.check(self._channel.peer, name, tools.tick())
        return tools.directory().credential(name, tools.now())

    def _gate(self) -> Gate:
        """What a login is judged by."""
        tools, directory = self._tools, self._tools.directory()
        now = tools.now()
        return Gate(
            self._lookup,
            tools.random(18).hex(),
            directory.secret,
            now,
            lambda subject: tools.directory().subject(subject, now),
            directory.doors,
            self._channel.secure,
            self._channel.subject,
        )

    def _local(self, command: Mapping[str, Any], caller: local.Caller | None) -> dict[str, Any]:
        tools = self._tools
        visit = local.Visit(
            tools.directory(),
            caller,
            self._channel,
            self._connection,
            tools.now(),
            tools.started,
            tools.random,
            tools.compressors,
            tools.clients(self.app),
            tools.service,
        )
        if self.command not in HELLO:
            return local.answer(command, visit)
        if "client" in command and self._introduced:
            msg = "The client metadata document may only be sent in the first hello"
            raise IllegalOperationError(msg, "client")
        reply = local.answer(command, visit)
        self._introduced = self._introduced or "client" in command
        self.balanced = self.balanced or "serviceId" in reply
        if tools.directory().unread:
            return reply
        step = self._speculated(command)
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


def _going_on(message: Message, talking: Talking, chore: Chore) -> Steps:
    """The rest of a login that has slow work in it."""
    while True:
        done = yield chore
        try:
            chore = talking.send(done.body)
        except StopIteration as stop:
            return envelope.reply_to(message, encode(stop.value))


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
