"""A logged-in client's commands: rewritten by the kernel, with their cursors and transactions."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from mdb_engine.exceptions import (
    NotSupportedInTransactionError,
    OverloadedError,
    RefusedError,
)
from mdb_engine.rawbson import Array, Document, encode, find, walk
from mdb_engine.scope.commands import COMMANDS, command_name, rewrite
from mdb_engine.scope.holdings import Holdings, check_room
from mdb_engine.scope.model import Physical, Scope
from mdb_engine.scope.plans import run_plan
from mdb_engine.scope.replies import Asked, answer, refused_whole, too_many
from mdb_proxy import envelope
from mdb_proxy.cursors import Cursor, Cursors, Sessions
from mdb_proxy.decisions import (
    ANYWHERE,
    Answer,
    Ask,
    Decision,
    Exchange,
    Forward,
    Origin,
    Reply,
    Run,
    Steps,
)
from mdb_proxy.lsids import client_id, lsid, mapped

Send = Callable[[bytes], bytes]
"""Turns the BSON of a reply into the bytes of a message; none when no answer is wanted."""

_READERS: Final = frozenset({"aggregate", "count", "distinct", "explain", "find", "listIndexes"})
_ENDINGS: Final = frozenset({"abortTransaction", "commitTransaction"})
_OF_ABORTS: Final = (
    "lsid", "txnNumber", "autocommit", "apiVersion", "apiStrict", "apiDeprecationErrors",
)  # fmt: skip
"""What an abort says of its transaction: the API version must be the one that it began with."""

_NO_SUCH_TRANSACTION: Final = 251
TAKES_TURNS: Final = frozenset({"createIndexes"})
"""Of these an app runs one at a time: a member builds three indexes for everybody (6.0)."""


@dataclass(frozen=True, slots=True)
class Asking:
    """One command, who asks, and what the process remembers.

    Attributes:
        command: logical. user: the credential's name. secret: of the proxy.
        tick: seconds. random: so many bytes.
        peers: other workers may know what this one does not.
        sure: the ledger of slugs was read a moment ago.
        members: gives those that may be asked for a cursor which nobody here knows; each call
            counts.
        origin: the connection that it came on.
    """

    command: Mapping[str, Any]
    scope: Scope
    user: str
    secret: bytes
    cursors: Cursors
    sessions: Sessions
    holdings: Holdings
    tick: Callable[[], float]
    random: Callable[[int], bytes]
    peers: bool = False
    sure: bool = True
    members: Callable[[], tuple[str, ...]] = tuple
    origin: Origin = ANYWHERE

    @property
    def app(self) -> str:
        """The slug."""
        return self.scope.slug

    @property
    def name(self) -> str:
        """The command's name, aliases resolved."""
        return command_name(self.command)

    def session(self) -> bytes | None:
        """The session of the command as the cluster knows it; None without one."""
        given = client_id(self.command)
        return None if given is None else mapped(given, self.app, self.user, self.secret)


def tenant_command(asking: Asking, send: Send) -> Decision:
    """What happens to an ordinary command: rewritten, then forwarded or carried out by a plan."""
    physical = rewrite(asking.command, asking.scope)
    given = asking.session()
    session = given if _session_matters(asking) else None
    asked = Asked(asking.command, in_session(asking, physical, session), asking.scope)
    check_room(asking.holdings, asking.scope, asking.name, physical.command, sure=asking.sure)
    if COMMANDS[asking.name].cursor:
        asking.cursors.admit(asking.app, asking.scope.limits.max_cursors, asking.tick())
    if physical.stream:
        most = asking.scope.limits.max_change_streams
        asking.cursors.admit_stream(asking.app, most, asking.tick())
    if asking.command.get("startTransaction") is True:
        asking.sessions.admit(asking.app, asking.scope.limits.max_transactions, asking.tick())
    decision = _decided(asking, asked, session, send)
    if asking.name not in TAKES_TURNS or "autocommit" in asking.command:
        return decision
    return decision if isinstance(decision, Reply) else replace(decision, turn=asking.app)


def _decided(
    asking: Asking, asked: Asked, session: bytes | None, send: Send
) -> Reply | Forward | Run:
    if asked.physical.plan:
        return _planned(asking, asked, session, send)
    if asked.physical.refused:
        return _partly(asking, asked, session, send)
    return _forward(asking, asked, session, send)


def _session_matters(asking: Asking) -> bool:
    """Whether the cluster needs to know the session: it holds few, for all apps together."""
    command = asking.command
    concern = command.get("readConcern")
    causal = isinstance(concern, Document) and "afterClusterTime" in concern
    transaction = "txnNumber" in command or "autocommit" in command
    return transaction or causal or COMMANDS[asking.name].cursor


def in_session(asking: Asking, physical: Physical, session: bytes | None) -> Physical:
    """The command under the cluster's session id, or without one."""
    fields = {name: value for name, value in physical.command.items() if name != "lsid"}
    if session is not None:
        most = asking.scope.limits.max_sessions
        asking.sessions.use(asking.app, asking.user, session, most, asking.tick())
        asking.sessions.note(asking.app, session, *asking.origin)
        fields["lsid"] = lsid(session)
    return replace(physical, command=fields)


def _routed(asking: Asking, asked: Asked, session: bytes | None) -> Exchange:
    """Where the command must go: the transaction's member, or by the read preference."""
    made = envelope.exchange(asked.physical.command, asking.app, caps=asked.physical.caps)
    if "autocommit" in asking.command:
        return replace(made, pin=_pin(asking, session))
    return _preferred(asking, made)


def _preferred(asking: Asking, made: Exchange) -> Exchange:
    """Where the client wants it to be read."""
    preference = asking.command.get("$readPreference")
    if isinstance(preference, Document) and asking.name in _READERS:
        return replace(made, read_preference=_plain(preference))
    return made


def _pin(asking: Asking, session: bytes | None) -> str | None:
    """The member that holds the transaction."""
    number = asking.command.get("txnNumber")
    if session is None or not isinstance(number, int):
        return None
    member = asking.sessions.pinned(asking.app, session, number)
    if asking.name in _ENDINGS:
        # If this one is lost with its member, the driver's second try must find the new primary.
        asking.sessions.unpin(asking.app, session, number)
    return member


def _plain(value: Any) -> Any:
    if isinstance(value, Document):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, Array) else value


def _forward(asking: Asking, asked: Asked, session: bytes | None, send: Send) -> Forward | Run:
    made = _routed(asking, asked, session)

    def finish(found: Answer) -> bytes:
        _remember(asking, asked, session, found)
        _noticed(asking, asked.physical.command, found)
        return send(answer(found.body, asked))

    if asking.peers and asking.name in _ENDINGS:
        return Run(_ended(asking, made, finish))
    if asked.physical.allowance is None:
        return Forward(made, finish)
    return Run(counted(asking, made, asked.physical.allowance, finish))


def ask(asking: Asking, *, one: bool = False, **changes: Any) -> Ask:
    """The question to other workers: this command, or what is changed of it."""
    command = encode({**asking.command, **changes})
    return Ask(asking.app, asking.user, command, one, asking.origin.address)


def _ended(asking: Asking, made: Exchange, finish: Callable[[Answer], bytes]) -> Steps:
    """The end of a transaction, of which the worker must hear where it was begun."""
    found = yield made
    if _is_over(found):
        yield ask(asking)
    return finish(found)


def _is_over(found: Answer) -> bool:
    """Whether the cluster has ended a transaction, or knows none: it refuses some endings."""
    return bool(find(found.body, "ok")) or find(found.body, "code") == _NO_SUCH_TRANSACTION


def counted(asking: Asking, made: Exchange, left: int, finish: Callable[[Answer], bytes]) -> Steps:
    """An exchange that may bring so many documents; more are an error, and end their cursor."""
    found = yield made
    yield from _refuse_more(asking, found, left)
    return finish(found)


def _refuse_more(
    asking: Asking, found: Answer, left: int | None
) -> Generator[Exchange, Answer, None]:
    """End the cursor of a reply that brings more documents than the client may still read.

    Raises:
        OperationFailedError: it does.
    """
    if left is None or _count(found) <= left:
        return
    cursor = Document(found.body)["cursor"]
    if cursor["id"]:
        asking.cursors.close([cursor["id"]])
        collection = cursor["ns"].partition(".")[2]
        kill = {"killCursors": collection, "cursors": [cursor["id"]]}
        kill["$db"] = asking.scope.database
        yield envelope.exchange(kill, asking.app, pin=found.member)
    raise too_many(asking.scope.limits.max_results)


def _count(found: Answer) -> int:
    """Documents in the batch of a reply."""
    cursor = find(found.body, "cursor")
    if not isinstance(cursor, Document):
        return 0
    batch = cursor.get("firstBatch", cursor.get("nextBatch"))
    return sum(1 for _ in walk(batch.data)) if isinstance(batch, Array) else 0


def _remember(asking: Asking, asked: Asked, session: bytes | None, found: Answer) -> None:
    """Note what the reply left behind in the cluster: a cursor, a transaction."""
    number = asking.command.get("txnNumber") if "autocommit" in asking.command else None
    if session is not None and isinstance(number, int):
        if find(found.body, "ok"):
            begun = asking.command.get("startTransaction") is True
            asking.sessions.pin(asking.app, session, number, found.member, begun=begun)
        if asking.name in _ENDINGS and _is_over(found):
            asking.sessions.ended(asking.app, session, number)
    cursor = find(found.body, "cursor") if COMMANDS[asking.name].cursor else None
    opened = find(cursor.data, "id") if isinstance(cursor, Document) else None
    if not opened:
        return
    target = asked.physical.command[asking.name]
    entry = Cursor(
        app=asking.app,
        user=asking.user,
        db=asked.db,
        collection=asked.namespace.partition(".")[2],
        physical=target if isinstance(target, str) else f"$cmd.{asking.name}",
        database=str(asked.physical.command["$db"]),
        member=found.member,
        session=session,
        awaits=asked.physical.stream or bool(asking.command.get("awaitData")),
        stream=asked.physical.stream,
        left=remaining(asked.physical.allowance, found),
        readable=asking.scope.readable,
        connection=asking.origin.connection,
    )
    asking.cursors.open(opened, entry, asking.tick())


def _noticed(asking: Asking, command: Mapping[str, Any], found: Answer) -> None:
    """What a command took away may be made again at once."""
    if find(found.body, "ok"):
        asking.holdings.done(asking.app, command)


def remaining(allowance: int | None, found: Answer) -> int | None:
    """What remains of an allowance after a reply."""
    return None if allowance is None else allowance - _count(found)


def _planned(asking: Asking, asked: Asked, session: bytes | None, send: Send) -> Run:
    if "autocommit" in asking.command:
        msg = f"Cannot run '{asking.name}' in a multi-document transaction."
        raise NotSupportedInTransactionError(msg)
    return Run(_plan_steps(asking, asked, session, send))


def _plan_steps(asking: Asking, asked: Asked, session: bytes | None, send: Send) -> Steps:
    """A plan of the kernel, each step at the member that answered the first.

    That of an explanation begins where the client would read. A cursor that the last step left
    open is the client's.
    """
    plan, found = run_plan(asked, asking.random(16).hex()), None
    try:
        command = next(plan)
    except StopIteration as stop:
        # Refused in the server's words before anything was asked of it.
        return send(stop.value)
    while True:
        made = envelope.exchange(command, asking.app, pin=found and found.member)
        first = found is None and asked.physical.plan == "explain"
        found = yield _preferred(asking, made) if first else made
        _noticed(asking, command, found)
        try:
            command = plan.send(found.body)
        except StopIteration as stop:
            reply = stop.value
            break
    last = replace(asked, physical=replace(asked.physical, command=command))
    yield from _refuse_more(asking, found, asked.physical.allowance)
    _remember(asking, last, session, found)
    return send(reply)


def _partly(
    asking: Asking, asked: Asked, session: bytes | None, send: Send
) -> Reply | Forward | Run:
    """A batch of which statements were refused: the rest is sent, if there is any."""
    left = bool(asked.physical.kept)
    if "autocommit" in asking.command:
        return Run(_aborting(asking, asked, session, send))
    return _forward(asking, asked, session, send) if left else Reply(send(refused_whole(asked)))


def _aborting(asking: Asking, asked: Asked, session: bytes | None, send: Send) -> Steps:
    """Inside a transaction a write error ends it, also one of ours."""
    made = _routed(asking, asked, session)
    body, pin = refused_whole(asked), made.pin
    if asked.physical.kept:
        found = yield made
        body, pin = answer(found.body, asked), found.member
    if asked.physical.kept or "startTransaction" not in asking.command:
        yield _abort(asking, asked.physical.command, pin)
    return send(body)


def _abort(asking: Asking, statement: Mapping[str, Any], pin: str | None) -> Exchange:
    abort = {"abortTransaction": 1, **{n: statement[n] for n in _OF_ABORTS if n in statement}}
    return envelope.exchange({**abort, "$db": "admin"}, asking.app, pin=pin)


def decided(rule: Callable[[Asking, Send], Decision], asking: Asking, send: Send) -> Decision:
    """What a rule decides; what it refuses inside a transaction ends that.

    The server ends one for nearly every error (6.0.5). Were it left open, a client that commits
    all the same would commit a part.

    Raises:
        RefusedError: there is no transaction to end.
    """
    try:
        return rule(asking, send)
    except (NotSupportedInTransactionError, OverloadedError):
        raise
    except RefusedError as error:
        open_in = open_transaction(asking)
        if open_in is None:
            raise
        return Run(broken_off(asking, *open_in, error))


def open_transaction(asking: Asking) -> tuple[bytes, str] | None:
    """Session and member of the transaction that the command belongs to, if we know it."""
    command = asking.command
    if command.get("autocommit") is not False or "startTransaction" in command:
        return None
    try:
        session = asking.session()
    except RefusedError:
        return None
    number = command.get("txnNumber")
    if session is None or not isinstance(number, int) or asking.name in _ENDINGS:
        return None
    member = asking.sessions.pinned(asking.app, session, number)
    return None if member is None else (session, member)


def broken_off(asking: Asking, session: bytes, member: str, error: RefusedError) -> Steps:
    """End a transaction because of an error, which is raised then."""
    found = yield _abort(asking, {**asking.command, "lsid": lsid(session)}, member)
    if _is_over(found):
        asking.sessions.ended(asking.app, session)
    raise error
