"""A logged-in client's commands: rewritten by the kernel, with their cursors and transactions."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from bson.int64 import Int64

from mdb_engine.exceptions import (
    CursorNotFoundError,
    NotSupportedInTransactionError,
    TypeMismatchError,
    UnauthorizedError,
)
from mdb_engine.rawbson import Array, Document, encode, find, render, walk
from mdb_engine.scope.caps import Time, max_time
from mdb_engine.scope.commands import COMMANDS, command_name, rewrite
from mdb_engine.scope.model import Physical, Scope, Where
from mdb_engine.scope.names import ADMIN, type_name
from mdb_engine.scope.plans import run_plan
from mdb_engine.scope.replies import Asked, answer, refused_whole, too_many
from mdb_proxy import envelope
from mdb_proxy.cursors import Cursor, Cursors, Sessions
from mdb_proxy.decisions import Answer, Decision, Exchange, Forward, Reply, Run, Steps
from mdb_proxy.holdings import Holdings, check_room
from mdb_proxy.lsids import client_id, ids_in, lsid, mapped

Send = Callable[[bytes], bytes]
"""Turns the BSON of a reply into the bytes of a message; none when no answer is wanted."""

_READERS: Final = frozenset({"aggregate", "count", "distinct", "explain", "find", "listIndexes"})
_ENDINGS: Final = frozenset({"abortTransaction", "commitTransaction"})
_CURSOR_NOT_FOUND: Final = 43


@dataclass(frozen=True, slots=True)
class Asking:
    """One command, who asks, and what the process remembers.

    Attributes:
        command: logical. user: the credential's name. secret: of the proxy.
        tick: seconds. random: so many bytes.
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
    asked = Asked(asking.command, _in_session(asking, physical, session), asking.scope)
    check_room(asking.holdings, asking.scope, asking.name, physical.command)
    if COMMANDS[asking.name].cursor:
        asking.cursors.admit(asking.app, asking.scope.limits.max_cursors, asking.tick())
    if physical.stream:
        most = asking.scope.limits.max_change_streams
        asking.cursors.admit_stream(asking.app, most, asking.tick())
    if asking.command.get("startTransaction") is True:
        asking.sessions.admit(asking.app, asking.scope.limits.max_transactions, asking.tick())
    if physical.plan:
        return _planned(asking, asked, session, send)
    if physical.refused:
        return _partly(asking, asked, session, send)
    return _forward(asking, asked, session, send)


def _session_matters(asking: Asking) -> bool:
    """Whether the cluster needs to know the session: it holds few, for all apps together."""
    command = asking.command
    concern = command.get("readConcern")
    causal = isinstance(concern, Document) and "afterClusterTime" in concern
    transaction = "txnNumber" in command or "autocommit" in command
    return transaction or causal or COMMANDS[asking.name].cursor


def _in_session(asking: Asking, physical: Physical, session: bytes | None) -> Physical:
    """The command under the cluster's session id, or without one."""
    fields = {name: value for name, value in physical.command.items() if name != "lsid"}
    if session is not None:
        most = asking.scope.limits.max_sessions
        asking.sessions.use(asking.app, asking.user, session, most, asking.tick())
        fields["lsid"] = lsid(session)
    return replace(physical, command=fields)


def _routed(asking: Asking, asked: Asked, session: bytes | None) -> Exchange:
    """Where the command must go: the transaction's member, or by the read preference."""
    made = envelope.exchange(asked.physical.command, asking.app)
    if "autocommit" in asking.command:
        return replace(made, pin=_pin(asking, session))
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
        asking.sessions.unpin(asking.app, session)
    return member


def _plain(value: Any) -> Any:
    if isinstance(value, Document):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, Array) else value


def _forward(asking: Asking, asked: Asked, session: bytes | None, send: Send) -> Decision:
    made = _routed(asking, asked, session)

    def finish(found: Answer) -> bytes:
        _remember(asking, asked, session, found)
        _noticed(asking, asked.physical.command, found)
        return send(answer(found.body, asked))

    if asked.physical.allowance is None:
        return Forward(made, finish)
    return Run(_counted(asking, made, asked.physical.allowance, finish))


def _counted(asking: Asking, made: Exchange, left: int, finish: Callable[[Answer], bytes]) -> Steps:
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
    if session is not None and isinstance(number, int) and find(found.body, "ok"):
        asking.sessions.pin(asking.app, session, number, found.member)
        if asking.name in _ENDINGS:
            asking.sessions.ended(asking.app, session)
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
        left=_left(asked.physical.allowance, found),
    )
    asking.cursors.open(opened, entry, asking.tick())


def _noticed(asking: Asking, command: Mapping[str, Any], found: Answer) -> None:
    """What a command took away may be made again at once."""
    if find(found.body, "ok"):
        asking.holdings.done(asking.app, command)


def _left(allowance: int | None, found: Answer) -> int | None:
    """What remains of an allowance after a reply."""
    return None if allowance is None else allowance - _count(found)


def _planned(asking: Asking, asked: Asked, session: bytes | None, send: Send) -> Decision:
    if "autocommit" in asking.command:
        msg = f"Cannot run '{asking.name}' in a multi-document transaction."
        raise NotSupportedInTransactionError(msg)
    return Run(_plan_steps(asking, asked, session, send))


def _plan_steps(asking: Asking, asked: Asked, session: bytes | None, send: Send) -> Steps:
    """A plan of the kernel, each step at the member that answered the first.

    A cursor that the last step left open is the client's.
    """
    plan = run_plan(asked, asking.random(16).hex())
    command, found = next(plan), None
    while True:
        found = yield envelope.exchange(command, asking.app, pin=found and found.member)
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


def _partly(asking: Asking, asked: Asked, session: bytes | None, send: Send) -> Decision:
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
        given = asked.physical.command
        names = ("lsid", "txnNumber", "autocommit")
        abort = {"abortTransaction": 1, **{n: given[n] for n in names if n in given}}
        yield envelope.exchange({**abort, "$db": "admin"}, asking.app, pin=pin)
    return send(body)


def get_more(asking: Asking, send: Send) -> Decision:
    """`getMore`: only on a cursor that this user opened, by the name that it was opened with."""
    physical = rewrite(_at_home(_without_time(asking.command), asking.scope), asking.scope)
    number = asking.command["getMore"]
    if not isinstance(number, Int64):
        raise _not_long(number, "getMore.getMore", "getMore")
    cursor = asking.cursors.owned(number, asking.app, asking.user)
    session = asking.session()
    _check_ownership(asking, cursor, session)
    fields = dict(_in_session(asking, physical, session).command)
    fields |= {"collection": cursor.physical, "$db": cursor.database}
    kind = Time.CLIENT if cursor.awaits else Time.REFUSED
    where = Where("getMore", cursor.db, asking.command, ("maxTimeMS",))
    time = max_time(asking.command.get("maxTimeMS"), kind, asking.scope, where)
    if time is not None:
        fields["maxTimeMS"] = time
    asked = Asked(asking.command, replace(physical, command=fields), asking.scope)
    made = envelope.exchange(fields, asking.app, pin=cursor.member, awaited=cursor.awaits)
    finish = _followed(asking, asked, cursor, send)
    if cursor.left is None:
        return Forward(made, finish)
    return Run(_counted(asking, made, cursor.left, finish))


def _not_long(value: Any, field: str, at: str) -> TypeMismatchError:
    kind = type_name(value)
    msg = f"BSON field '{field}' is the wrong type '{kind}', expected type 'long'"
    return TypeMismatchError(msg, at)


def _at_home(command: Mapping[str, Any], scope: Scope) -> Mapping[str, Any]:
    """A command on cursors of the admin database: where it goes is told by the cursor."""
    return {**command, "$db": scope.home[0]} if command["$db"] == ADMIN else command


def _without_time(command: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in command.items() if name != "maxTimeMS"}


def _check_ownership(asking: Asking, cursor: Cursor, session: bytes | None) -> None:
    named = f"{asking.command['$db']}.{render(asking.command['collection'])}"
    if named != f"{cursor.db}.{cursor.collection}":
        msg = (
            f"Requested getMore on namespace '{named}', but cursor belongs to a different"
            f" namespace {cursor.db}.{cursor.collection}"
        )
        raise UnauthorizedError(msg, "collection")
    if session != cursor.session:
        msg = f"Cannot run getMore on cursor {asking.command['getMore']} in another session"
        raise UnauthorizedError(msg, "lsid")


def _followed(
    asking: Asking, asked: Asked, cursor: Cursor, send: Send
) -> Callable[[Answer], bytes]:
    number = int(asking.command["getMore"])

    def finish(found: Answer) -> bytes:
        batch = find(found.body, "cursor")
        if isinstance(batch, Document):
            open_still = bool(find(batch.data, "id"))
        else:
            open_still = find(found.body, "code") != _CURSOR_NOT_FOUND
        if open_still:
            left = _left(cursor.left, found)
            asking.cursors.open(number, replace(cursor, left=left), asking.tick())
        else:
            asking.cursors.close([number])
        return send(answer(found.body, asked))

    return finish


def kill_cursors(asking: Asking, send: Send) -> Decision:
    """`killCursors`: the server would kill anybody's, so only own ones are sent."""
    physical = rewrite(_at_home(asking.command, asking.scope), asking.scope)
    numbers = asking.command["cursors"]
    if not isinstance(numbers, Array):
        msg = "cursors must be an array of cursor ids"
        raise TypeMismatchError(msg, "cursors")
    for index, number in enumerate(numbers):
        if not isinstance(number, Int64):
            raise _not_long(number, f"killCursors.cursors.{index}", f"cursors.{index}")
    session = asking.session() if "txnNumber" in asking.command else None
    return Run(_kill(asking, _in_session(asking, physical, session), list(numbers), send))


def _kill(asking: Asking, physical: Physical, numbers: list[Int64], send: Send) -> Steps:
    by_place: dict[tuple[str, str, str], list[Int64]] = {}
    outcome: dict[str, list[Any]] = {
        "cursorsKilled": [], "cursorsNotFound": [], "cursorsAlive": [], "cursorsUnknown": [],
    }  # fmt: skip
    for number in numbers:
        try:
            cursor = asking.cursors.owned(number, asking.app, asking.user)
        except CursorNotFoundError:
            outcome["cursorsNotFound"].append(number)
        else:
            place = (cursor.member, cursor.database, cursor.physical)
            by_place.setdefault(place, []).append(number)
    for (member, database, collection), ids in by_place.items():
        fields = {"killCursors": collection, "cursors": ids, "$db": database}
        found = yield envelope.exchange({**physical.command, **fields}, asking.app, pin=member)
        reply = Document(found.body)
        if not reply.get("ok"):
            outcome["cursorsAlive"].extend(ids)
            continue
        asking.cursors.close(ids)
        for name, items in outcome.items():
            items.extend(reply.get(name, ()))
    return send(encode({**outcome, "ok": 1.0}))


def _session_command(asking: Asking, send: Send) -> Decision:
    """`endSessions` and its like: own sessions only, under the cluster's ids; never fails."""
    name = asking.name
    envelope.check_fields(asking.command, frozenset())
    given = ids_in(asking.command[name], name)
    sessions = [mapped(id_, asking.app, asking.user, asking.secret) for id_ in given]
    if name == "killSessions" and not sessions:
        # An empty list would kill everybody's.
        sessions = asking.sessions.of(asking.app, asking.user)
    if name != "refreshSessions":
        asking.sessions.end(asking.app, sessions)
        asking.cursors.close_in(frozenset(sessions))
    if not sessions:
        return Reply(send(encode({"ok": 1.0})))
    fields = {name: [lsid(session) for session in sessions], "$db": "admin"}
    return Forward(envelope.exchange(fields, asking.app), lambda _found: send(encode({"ok": 1.0})))


TENANT_COMMANDS: Final[Mapping[str, Callable[[Asking, Send], Decision]]] = {
    "endSessions": _session_command,
    "getMore": get_more,
    "killCursors": kill_cursors,
    "killSessions": _session_command,
    "refreshSessions": _session_command,
}
"""Commands that the kernel's table alone does not settle."""
