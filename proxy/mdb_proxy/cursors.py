"""What each app holds open in the cluster: cursors, sessions, transactions. In memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from mdb_engine.exceptions import CursorNotFoundError, OverloadedError

IDLE_SECONDS: Final = 600.0
"""The server's own limit for a cursor outside a session."""

SESSION_SECONDS: Final = 1800.0
"""The server's own limit for a session, and all that it holds."""

TRANSACTION_SECONDS: Final = 60.0
"""The server's own limit for a transaction."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """An open cursor of the cluster, as its owner sees it and as the cluster does.

    Attributes:
        app, user: whose it is. db, collection: logical. physical, database: the cluster's.
        member: `host:port` that holds it. session: the mapped session id, or None.
        awaits: it waits for new documents, so `getMore` may carry a time.
        stream: it is a change stream.
        left: documents that may still be read; one more is an error. None: they are not counted.
        readable: the read scopes that it was opened with.
        connection: the number of the client's connection that it was opened on.
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
    stream: bool = False
    left: int | None = None
    readable: tuple[str, ...] = ()
    connection: int = 0


def not_found(number: int) -> CursorNotFoundError:
    """The one refusal for a cursor that is another's, or that does not exist."""
    return CursorNotFoundError(f"cursor id {number} not found")


class Cursors:
    """All cursors of this process. The server checks no owner (one upstream user)."""

    def __init__(self) -> None:
        self._cursors: dict[int, tuple[Cursor, float]] = {}
        self._counts: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()
        self._born: dict[int, set[int]] = {}
        self._doubted: dict[str, float] = {}

    def doubt(self, app: str, now: float) -> None:
        """The app may no longer read all that it could: cursors that we do not know may."""
        self._doubted[app] = now

    def trusts(self, app: str, now: float) -> bool:
        """Whether no cursor can be left from when the app could read more."""
        since = self._doubted.get(app)
        if since is not None and now - since > SESSION_SECONDS:
            del self._doubted[app]
        return app not in self._doubted

    def admit(self, app: str, most: int, now: float) -> None:
        """Refuse a command that may open one cursor too many.

        Raises:
            OverloadedError: the app has `most` open cursors.
        """
        self._admit(self._counts, "cursors", (app, most), now)

    def admit_stream(self, app: str, most: int, now: float) -> None:
        """Refuse a change stream that would be one too many.

        Raises:
            OverloadedError: the app has `most` of them open.
        """
        self._admit(self._streams, "change streams", (app, most), now)

    def _admit(self, counts: Counter[str], what: str, quota: tuple[str, int], now: float) -> None:
        app, most = quota
        if counts[app] < most:
            return
        self._sweep(now)
        if counts[app] >= most:
            msg = f"too many open {what}, try again"
            raise OverloadedError(msg)

    def open(self, number: int, cursor: Cursor, now: float) -> None:
        """Remember a cursor that a reply left open, or that was used again."""
        self.close([number])
        self._counts[cursor.app] += 1
        self._streams[cursor.app] += cursor.stream
        self._cursors[number] = (cursor, now)
        if cursor.session is None:
            self._born.setdefault(cursor.connection, set()).add(number)

    def owned(self, number: int, app: str, user: str) -> Cursor:
        """The cursor, when it is this user's.

        Raises:
            CursorNotFoundError: it is not, or there is none; one text for both.
        """
        entry = self._cursors.get(number)
        if entry is None or (entry[0].app, entry[0].user) != (app, user):
            raise not_found(number)
        return entry[0]

    def close(self, numbers: Iterable[int]) -> None:
        """Forget cursors."""
        for number in numbers:
            entry = self._cursors.pop(number, None)
            if entry is not None:
                self._counts[entry[0].app] -= 1
                self._streams[entry[0].app] -= entry[0].stream
                self._forget(number, entry[0])

    def _forget(self, number: int, cursor: Cursor) -> None:
        born = self._born.get(cursor.connection)
        if cursor.session is None and born is not None:
            born.discard(number)
            if not born:
                del self._born[cursor.connection]

    def born(self, connection: int) -> dict[int, Cursor]:
        """The cursors outside sessions that were opened on a connection, by number."""
        return {number: self._cursors[number][0] for number in self._born.get(connection, ())}

    def opened(self, connection: int) -> dict[int, Cursor]:
        """All cursors that were opened on a connection, by number."""
        return {n: each for n, (each, _) in self._cursors.items() if each.connection == connection}

    def close_in(self, sessions: Collection[bytes]) -> None:
        """Forget the cursors of sessions that ended."""
        self.close([n for n, (cursor, _) in self._cursors.items() if cursor.session in sessions])

    def sessions(self, app: str) -> set[bytes | None]:
        """The sessions in which the app has cursors."""
        return {cursor.session for cursor, _ in self._cursors.values() if cursor.app == app}

    def of(self, app: str) -> dict[int, Cursor]:
        """The cursors of an app, by number."""
        return {n: cursor for n, (cursor, _) in self._cursors.items() if cursor.app == app}

    @property
    def total(self) -> int:
        """How many cursors all apps have open."""
        return len(self._cursors)

    def count(self, app: str) -> int:
        """How many cursors the app has open."""
        return self._counts[app]

    def _sweep(self, now: float) -> None:
        """Drop what the server has dropped by its own limits."""
        self.close([
            number
            for number, (cursor, used) in self._cursors.items()
            if now - used > (SESSION_SECONDS if cursor.session else IDLE_SECONDS)
        ])  # fmt: skip


@dataclass(slots=True)
class _Held:
    """One session: whose it is, when it was last used, where its newest transaction lives.

    An ended transaction keeps its member: a commit may be asked for twice. `address`: the client's,
    without a port, where it was used last; and by which `connection`.
    """

    user: str
    used: float
    address: str = ""
    connection: int = 0
    transaction: int | None = None
    member: str = ""
    open: bool = False


class Sessions:
    """The sessions of this process that the cluster knows, by app and mapped id.

    A cluster holds a limited number of sessions and then refuses everybody's, so each app has a
    limit of its own.
    """

    def __init__(self) -> None:
        self._apps: dict[str, dict[bytes, _Held]] = {}

    def use(self, app: str, user: str, session: bytes, most: int, now: float) -> None:
        """Note that a session is about to be used.

        Raises:
            OverloadedError: it is a new one, and the app has used `most` in the last half hour.
        """
        held = self._apps.setdefault(app, {})
        entry = held.pop(session, None)
        if entry is None:
            _forget_old(held, now)
            if len(held) >= most:
                msg = "too many sessions, try again"
                raise OverloadedError(msg)
            entry = _Held(user, now)
        entry.used = now
        # The last in the dict is the last that was used.
        held[session] = entry

    def note(self, app: str, session: bytes, address: str, connection: int = 0) -> None:
        """Note from where a session was used."""
        entry = self._apps.get(app, {}).get(session)
        if entry is not None and address:
            entry.address, entry.connection = address, connection

    def begun(self, app: str, connection: int) -> list[tuple[bytes, str | None]]:
        """The sessions with an open transaction that a connection used last, and its member."""
        return [
            (session, entry.member or None)
            for session, entry in self._apps.get(app, {}).items()
            if entry.open and entry.connection == connection
        ]

    def at(self, app: str, user: str, address: str) -> list[bytes]:
        """The sessions that a user used last from an address."""
        return [
            session
            for session, entry in self._apps.get(app, {}).items()
            if (entry.user, entry.address) == (user, address)
        ]

    @property
    def total(self) -> int:
        """How many sessions of all apps the cluster knows, as far as we know."""
        return sum(map(len, list(self._apps.values())))

    def admit(self, app: str, most: int, now: float) -> None:
        """Refuse a transaction that would be one too many.

        Raises:
            OverloadedError: the app has `most` open transactions.
        """
        held = self._apps.get(app, {}).values()
        begun = (entry.used for entry in held if entry.open)
        if sum(now - used <= TRANSACTION_SECONDS for used in begun) >= most:
            msg = "too many open transactions, try again"
            raise OverloadedError(msg)

    def pin(
        self, app: str, session: bytes, transaction: int, member: str, *, begun: bool = True
    ) -> None:
        """Remember which member holds the transaction of a session; one at a time.

        It counts as open where it was `begun`: the other workers only take part in it.
        """
        entry = self._apps.get(app, {}).get(session)
        if entry is not None:
            entry.open = begun or (entry.open and entry.transaction == transaction)
            entry.transaction, entry.member = transaction, member

    def ended(self, app: str, session: bytes, transaction: int | None = None) -> None:
        """Note that the transaction of a session was committed or aborted; None: any."""
        entry = self._apps.get(app, {}).get(session)
        if entry is not None and transaction in (None, entry.transaction):
            entry.open = False

    def pinned(self, app: str, session: bytes, transaction: int) -> str | None:
        """The member that must get the transaction's next statement; None when unknown."""
        entry = self._apps.get(app, {}).get(session)
        known = entry is not None and entry.transaction == transaction
        return entry.member or None if entry is not None and known else None

    def unpin(self, app: str, session: bytes, transaction: int) -> None:
        """Forget which member holds the transaction of a session; it may be open still."""
        entry = self._apps.get(app, {}).get(session)
        if entry is not None and entry.transaction == transaction:
            entry.member = ""

    def transactions(self, app: str) -> list[tuple[bytes, int, str | None]]:
        """The open transactions of an app: session, number, member if that is known."""
        return [
            (session, entry.transaction, entry.member or None)
            for session, entry in self._apps.get(app, {}).items()
            if entry.open and entry.transaction is not None
        ]

    def open_transactions(self, app: str) -> int:
        """How many transactions of an app are open, as far as we know."""
        return sum(entry.open for entry in list(self._apps.get(app, {}).values()))

    def end(self, app: str, sessions: Iterable[bytes]) -> None:
        """Forget sessions that ended."""
        held = self._apps.get(app, {})
        for session in sessions:
            held.pop(session, None)

    def of(self, app: str, user: str) -> list[bytes]:
        """The sessions of a user, the least recently used first."""
        return [id_ for id_, entry in self._apps.get(app, {}).items() if entry.user == user]


def _forget_old(held: dict[bytes, _Held], now: float) -> None:
    while held:
        oldest = next(iter(held))
        if now - held[oldest].used <= SESSION_SECONDS:
            return
        del held[oldest]
