"""Cursors that nobody on this host knows: opened at another host, perhaps, in a session of ours.

The server itself keeps them apart: the session's id is made with the proxy's key from app, user and
the client's own id, and a `getMore` must name both the session and the namespace that a cursor was
opened with (6.0.5). A cursor without a session is anybody's who names its namespace, so those are
read by the table only; so is what may be a change stream over several collections.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from mdb_engine.exceptions import CursorNotFoundError, RefusedError
from mdb_engine.rawbson import find
from mdb_engine.scope.caps import Time, max_time
from mdb_engine.scope.commands import rewrite
from mdb_engine.scope.model import Physical, Where
from mdb_engine.scope.names import resolve
from mdb_engine.scope.replies import Asked
from mdb_proxy import envelope
from mdb_proxy.cursors import Cursor, not_found
from mdb_proxy.decisions import Answer, Steps
from mdb_proxy.tenant import Asking, in_session

RESUMABLE: Final = "ResumableChangeStreamError"
_WHOLE: Final = "$cmd."
"""So begin the names of cursors that belong to no single collection."""


def unknown(asking: Asking) -> CursorNotFoundError:
    """The one refusal; of what may be a change stream it says that it can be resumed."""
    error = not_found(asking.command["getMore"])
    if asking.command["collection"] == "$cmd.aggregate":
        error.labels = (RESUMABLE,)
    return error


def members(asking: Asking) -> tuple[str, ...]:
    """Who may have a cursor that we do not know, and that may be this user's; asking counts."""
    collection = asking.command["collection"]
    may_be = (
        asking.sure
        and asking.session() is not None
        and isinstance(collection, str)
        and not collection.startswith(_WHOLE)
        and asking.cursors.trusts(asking.app, asking.tick())
    )
    found = asking.members() if may_be else ()
    # A transaction lives at the primary.
    return found[:1] if "autocommit" in asking.command else found


def searched(
    asking: Asking,
    members: tuple[str, ...],
    finisher: Callable[[Asked, Cursor], Callable[[Answer], bytes]],
) -> Steps:
    """Ask the members, each once; whose it is not is told nothing but that there is none.

    Raises:
        CursorNotFoundError: there is none that this user may read.
    """
    try:
        physical = _physical(asking)
    except RefusedError:
        raise unknown(asking) from None
    asked = Asked(asking.command, physical, asking.scope)
    awaits = "maxTimeMS" in physical.command
    for member in members:
        made = envelope.exchange(physical.command, asking.app, pin=member, awaited=awaits)
        found = yield made
        if find(found.body, "ok"):
            return finisher(asked, _cursor(asking, physical, found.member))(found)
    raise unknown(asking)


def _physical(asking: Asking) -> Physical:
    """The command for a cursor of which only the client says what it is.

    Raises:
        RefusedError: the collection is none that the app may read.
    """
    command: dict[str, Any] = dict(asking.command)
    given = command.pop("maxTimeMS", None)
    db = str(command["$db"])
    where = Where("getMore", db, asking.command, ("collection",))
    target = resolve(command["collection"], asking.scope, where, write=False)
    physical = in_session(asking, rewrite(command, asking.scope), asking.session())
    fields = dict(physical.command)
    fields |= {"collection": target.physical, "$db": asking.scope.database}
    where = Where("getMore", db, asking.command, ("maxTimeMS",))
    time = max_time(given, Time.CLIENT, asking.scope, where)
    return replace(physical, command=fields if time is None else {**fields, "maxTimeMS": time})


def _cursor(asking: Asking, physical: Physical, member: str) -> Cursor:
    """What is known of it from now on; its allowance begins anew at each host."""
    limits = asking.scope.limits
    return Cursor(
        app=asking.app,
        user=asking.user,
        db=str(asking.command["$db"]),
        collection=asking.command["collection"],
        physical=str(physical.command["collection"]),
        database=asking.scope.database,
        member=member,
        session=asking.session(),
        awaits="maxTimeMS" in physical.command,
        left=limits.max_results if limits.overflow_fails else None,
        readable=asking.scope.readable,
    )
