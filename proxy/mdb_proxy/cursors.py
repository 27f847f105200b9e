"""Which app opened which cursor, and which member holds which transaction. In memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mdb_engine.exceptions import CursorNotFoundError, OverloadedError

IDLE_SECONDS: Final = 600.0
"""The server's own limit for a cursor outside a session."""

SESSION_SECONDS: Final = 1800.0
"""The server's own limit for a session, and all that it holds."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """An open cursor of the cluster, as its owner sees it and as the cluster does.

    Attributes:
        app, user: whose it is. db, collection: logical. physical, database: the cluster's.
        member: `host:port` that holds it. session: the mapped session id, or None.
        awaits: it waits for new documents, so `getMore` may carry a time.
    """

    app: str
    user: str
    db: str
    collection: str
    physical: str
    database: str
    member: str
    session: bytes | None = None
    awaits: bool = False


class Cursors:
    """All cursors and pins of this process. The server checks no owner (one upstream user)."""

    def __init__(self) -> None:
        self._cursors: dict[int, tuple[Cursor, float]] = {}
        self._pins: dict[bytes, tuple[int, str, float]] = {}
        self._counts: dict[str, int] = {}

    def admit(self, app: str, most: int, now: float) -> None:
        """Refuse a command that may open one cursor too many.

        Raises:
            OverloadedError: the app has `most` open cursors.
        """
        if self._counts.get(app, 0) < most:
            return
        self._sweep(now)
        if self._counts.get(app, 0) >= most:
            msg = "too many open cursors, try again"
            raise OverloadedError(msg)

    def open(self, number: int, cursor: Cursor, now: float) -> None:
        """Remember a cursor that a reply left open, or that was used again."""
        if number not in self._cursors:
            self._counts[cursor.app] = self._counts.get(cursor.app, 0) + 1
        self._cursors[number] = (cursor, now)

    def owned(self, number: int, app: str, user: str) -> Cursor:
        """The cursor, when it is this user's.

        Raises:
            CursorNotFoundError: it is not, or there is none; one text for both.
        """
        entry = self._cursors.get(number)
        if entry is None or (entry[0].app, entry[0].user) != (app, user):
            msg = f"cursor id {number} not found"
            raise CursorNotFoundError(msg)
        return entry[0]

    def close(self, numbers: Iterable[int]) -> None:
        """Forget cursors."""
        for number in numbers:
            entry = self._cursors.pop(number, None)
            if entry is not None:
                self._counts[entry[0].app] -= 1

    def pin(self, session: bytes, transaction: int, member: str, now: float) -> None:
        """Remember which member holds the transaction of a session; one at a time."""
        self._pins[session] = (transaction, member, now)
        if len(self._pins) % 1024 == 0:
            self._sweep(now)

    def pinned(self, session: bytes, transaction: int) -> str | None:
        """The member that must get the transaction's next statement."""
        entry = self._pins.get(session)
        return entry[1] if entry is not None and entry[0] == transaction else None

    def unpin(self, sessions: Iterable[bytes]) -> None:
        """Forget the transactions of sessions that ended."""
        for session in sessions:
            self._pins.pop(session, None)

    def of_session(self, app: str, user: str) -> tuple[bytes, ...]:
        """Sessions of a user that are known here by a cursor."""
        found = {
            cursor.session
            for cursor, _ in self._cursors.values()
            if cursor.session is not None and (cursor.app, cursor.user) == (app, user)
        }
        return tuple(sorted(found))

    def _sweep(self, now: float) -> None:
        """Drop what the server has dropped by its own limits."""
        gone = [
            number
            for number, (cursor, used) in self._cursors.items()
            if now - used > (SESSION_SECONDS if cursor.session else IDLE_SECONDS)
        ]
        self.close(gone)
        old = [s for s, (_, _, used) in self._pins.items() if now - used > SESSION_SECONDS]
        self.unpin(old)

    def __len__(self) -> int:
        return len(self._cursors)
