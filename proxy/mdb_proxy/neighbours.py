"""What another worker asks of this one: decided by our tables, as a client's command is.

It has looked into its own tables first, and asks nobody else on our behalf.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from mdb_engine.exceptions import CursorNotFoundError
from mdb_engine.rawbson import Document, encode
from mdb_proxy.decisions import Ask, Decision, Forward, Origin, Reply
from mdb_proxy.holds import (
    about,
    forget,
    get_more,
    holding,
    kill_cursors,
    named_sessions,
    session_command,
)
from mdb_proxy.session import Tools
from mdb_proxy.tenant import Asking

DONE: Final = encode({"ok": 1.0})


def for_another(tools: Tools, ask: Ask) -> Decision | None:
    """Our part in a command that reached another worker; None: we have none.

    The reply of the decision is bare BSON, without a message around it.

    Raises:
        RefusedError: the command breaks a rule that only the owner of the cursor can know.
    """
    directory, now = tools.directory(), tools.now()
    credential = directory.credential(ask.user, now)
    if credential is None or credential.app != ask.app:
        return None
    scope = directory.scope(credential, now)
    if scope is None:
        return None
    command = dict(Document(ask.command))
    rule = RULES.get(next(iter(command)))
    asking = tools.asking(command, scope, ask.user, Origin(ask.address))
    asking = replace(asking, peers=False, members=tuple)
    return None if rule is None else rule(asking)


def _get_more(asking: Asking) -> Decision | None:
    try:
        return get_more(asking, bytes)
    except CursorNotFoundError:
        return None


def _kill_cursors(asking: Asking) -> Decision:
    return kill_cursors(asking, bytes)


def _end_sessions(asking: Asking) -> Decision:
    """Who asks tells the cluster of the sessions that it names, here they are forgotten.

    Of those that only end it does not know what they hold open with us.
    """
    sessions = named_sessions(asking)
    if asking.name == "killSessions" and not sessions:
        return session_command(asking, bytes)
    busy = holding(asking, sessions) if asking.name == "endSessions" else []
    forget(asking, sessions)
    return Forward(about("killSessions", busy, asking), lambda _: DONE) if busy else Reply(DONE)


def _end_transaction(asking: Asking) -> Decision:
    session, number = asking.session(), asking.command.get("txnNumber")
    if session is not None and isinstance(number, int):
        known = asking.sessions.pinned(asking.app, session, number)
        if known is not None:
            asking.sessions.ended(asking.app, session)
    return Reply(DONE)


RULES: Final[Mapping[str, Callable[[Asking], Decision | None]]] = {
    "abortTransaction": _end_transaction,
    "commitTransaction": _end_transaction,
    "endSessions": _end_sessions,
    "getMore": _get_more,
    "killCursors": _kill_cursors,
    "killSessions": _end_sessions,
}
"""Commands in which other workers may have a part."""
