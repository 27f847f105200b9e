"""What a client holds open: cursors that are read on, cursors and sessions that are ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from bson.int64 import Int64

from mdb_engine.exceptions import (
    CursorNotFoundError,
    NoSessionCursorError,
    OtherSessionCursorError,
    RefusedError,
    SessionCursorError,
    TypeMismatchError,
    UnauthorizedError,
)
from mdb_engine.rawbson import Array, Document, encode, find, render
from mdb_engine.scope.caps import Time, max_time
from mdb_engine.scope.commands import rewrite
from mdb_engine.scope.model import Physical, Where
from mdb_engine.scope.names import type_name
from mdb_engine.scope.replies import Asked, answer
from mdb_proxy import envelope, strays
from mdb_proxy.cursors import Cursor, not_found
from mdb_proxy.decisions import Answer, Decision, Exchange, Forward, Reply, Run, Steps
from mdb_proxy.lsids import ids_in, lsid, mapped
from mdb_proxy.tenant import (
    Asking,
    Send,
    ask,
    broken_off,
    counted,
    in_session,
    open_transaction,
    remaining,
)

_CURSOR_NOT_FOUND: Final = 43


def get_more(asking: Asking, send: Send) -> Decision:
    """`getMore`: only on a cursor that this user opened, by the name that it was opened with."""
    physical = rewrite(_without_time(asking.command), asking.scope)
    number = asking.command["getMore"]
    if not isinstance(number, Int64):
        raise _not_long(number, "getMore.getMore", "getMore")
    where = Where("getMore", asking.command["$db"], asking.command, ("maxTimeMS",))
    given = asking.command.get("maxTimeMS")
    # What is no time is found before the cursor is looked for, as the server does.
    max_time(given, Time.IGNORED, asking.scope, where)
    try:
        cursor = _granted(asking, number)
    except CursorNotFoundError:
        members = () if asking.peers else strays.members(asking)
        if not (asking.peers or members):
            raise strays.unknown(asking) from None
        return Run(_elsewhere(asking, members, send))
    session = asking.session()
    _check_ownership(asking, cursor, session)
    fields = dict(in_session(asking, physical, session).command)
    fields |= {"collection": cursor.physical, "$db": cursor.database}
    kind = Time.CLIENT if cursor.awaits else Time.REFUSED
    time = max_time(given, kind, asking.scope, where)
    if time is not None:
        fields["maxTimeMS"] = time
    asked = Asked(asking.command, replace(physical, command=fields), asking.scope)
    made = envelope.exchange(fields, asking.app, pin=cursor.member, awaited=cursor.awaits)
    finish = _followed(asking, asked, cursor, send)
    if cursor.left is None:
        return Forward(made, finish)
    return Run(counted(asking, made, cursor.left, finish))


def _granted(asking: Asking, number: int) -> Cursor:
    """An own cursor that reads nothing which the app may no longer read.

    Raises:
        CursorNotFoundError: there is none.
    """
    cursor = asking.cursors.owned(number, asking.app, asking.user)
    if not set(cursor.readable) <= set(asking.scope.readable):
        asking.cursors.close([number])
        asking.cursors.doubt(asking.app, asking.tick())
        raise not_found(number)
    return cursor


def _elsewhere(asking: Asking, members: tuple[str, ...], send: Send) -> Steps:
    """A cursor that this worker does not know: who knows it goes on with it for us."""
    if asking.peers:
        found = yield ask(asking, one=True)
        if found.said:
            return send(found.said[0])
        members = strays.members(asking)
    try:
        return (
            yield from strays.searched(
                asking, members, lambda asked, cursor: _followed(asking, asked, cursor, send)
            )
        )
    except CursorNotFoundError as error:
        held = open_transaction(asking)
        if held is None:
            raise
        return (yield from broken_off(asking, *held, error))


def _not_long(value: Any, field: str, at: str) -> TypeMismatchError:
    kind = type_name(value)
    msg = f"BSON field '{field}' is the wrong type '{kind}', expected type 'long'"
    return TypeMismatchError(msg, at)


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
        raise _other_session(asking.command["getMore"], cursor.session, session)


def _other_session(number: int, opened: bytes | None, read: bytes | None) -> RefusedError:
    """The server's words (6.0.5), without the ids of sessions."""
    start = f"Cannot run getMore on cursor {number}, which was"
    if opened is None:
        msg = f"{start} not created in a session, in session "
        return NoSessionCursorError(msg, "lsid")
    if read is None:
        return SessionCursorError(f"{start} created in session , without an lsid", "lsid")
    return OtherSessionCursorError(f"{start} created in session , in session ", "lsid")


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
            left = remaining(cursor.left, found)
            asking.cursors.open(number, replace(cursor, left=left), asking.tick())
        else:
            asking.cursors.close([number])
        return send(answer(found.body, asked))

    return finish


def kill_cursors(asking: Asking, send: Send) -> Decision:
    """`killCursors`: the server would kill anybody's, so only own ones are sent."""
    physical = rewrite(asking.command, asking.scope)
    numbers = asking.command["cursors"]
    if not isinstance(numbers, Array):
        msg = "cursors must be an array of cursor ids"
        raise TypeMismatchError(msg, "cursors")
    for index, number in enumerate(numbers):
        if not isinstance(number, Int64):
            raise _not_long(number, f"killCursors.cursors.{index}", f"cursors.{index}")
    session = asking.session() if "txnNumber" in asking.command else None
    return Run(_kill(asking, in_session(asking, physical, session), list(numbers), send))


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
    if asking.peers and outcome["cursorsNotFound"]:
        found = yield ask(asking, cursors=outcome["cursorsNotFound"])
        _merge(outcome, found.said)
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


def _merge(outcome: dict[str, list[Any]], said: tuple[bytes, ...]) -> None:
    """Add what other workers did about the cursors that were not found here."""
    unknown = outcome["cursorsNotFound"]
    for body in said:
        reply = Document(body)
        for name in ("cursorsKilled", "cursorsAlive", "cursorsUnknown"):
            items = list(reply.get(name, ()))
            outcome[name].extend(items)
            unknown = [number for number in unknown if number not in items]
    outcome["cursorsNotFound"] = unknown


def session_command(asking: Asking, send: Send) -> Decision:
    """`endSessions` and its like: own sessions only, under the cluster's ids; never fails."""
    name = asking.name
    envelope.check_fields(asking.command, frozenset())
    sessions = named_sessions(asking)
    if name == "killSessions" and not sessions:
        # An empty list would kill everybody's.
        sessions = asking.sessions.of(asking.app, asking.user)
    busy = holding(asking, sessions) if name == "endSessions" else []
    if name != "refreshSessions":
        forget(asking, sessions)
    done = send(encode({"ok": 1.0}))
    commands = (("killSessions", busy), (name, sessions))
    made = [about(each, ids, asking) for each, ids in commands if ids]
    if len(made) > 1 or (asking.peers and name != "refreshSessions"):
        return Run(_everywhere(asking, made, done))
    return Forward(made[0], lambda _found: done) if made else Reply(done)


def about(name: str, sessions: list[bytes], asking: Asking) -> Exchange:
    """A command about sessions, for the cluster."""
    fields = {name: [lsid(session) for session in sessions], "$db": "admin"}
    return envelope.exchange(fields, asking.app)


def holding(asking: Asking, sessions: list[bytes]) -> list[bytes]:
    """The sessions that hold something open: the cluster ends that minutes later (6.0.5).

    Until then it would count for nobody, and outlive what the app may do.
    """
    open_in = {session for session, _, _ in asking.sessions.transactions(asking.app)}
    busy = open_in | asking.cursors.sessions(asking.app)
    return [session for session in sessions if session in busy]


def named_sessions(asking: Asking) -> list[bytes]:
    """The sessions that a command names, as the cluster knows them."""
    given = ids_in(asking.command[asking.name], asking.name)
    return [mapped(id_, asking.app, asking.user, asking.secret) for id_ in given]


def forget(asking: Asking, sessions: list[bytes]) -> None:
    """Forget sessions that end, and their cursors."""
    asking.sessions.end(asking.app, sessions)
    asking.cursors.close_in(frozenset(sessions))


def _everywhere(asking: Asking, made: list[Exchange], done: bytes) -> Steps:
    """The end of sessions that other workers know too."""
    if asking.peers:
        yield ask(asking)
    for each in made:  # noqa: UP028 - a list takes no answers
        yield each
    return done


TENANT_COMMANDS: Final[Mapping[str, Callable[[Asking, Send], Decision]]] = {
    "endSessions": session_command,
    "getMore": get_more,
    "killCursors": kill_cursors,
    "killSessions": session_command,
    "refreshSessions": session_command,
}
"""Commands that the kernel's table alone does not settle."""
