"""What the apps of this process hold: cursors, streams, transactions, calls on their way.

Nothing is counted by hand: what nobody refers to any more is no longer held.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol
from weakref import WeakSet

from mdb_engine.exceptions import OverloadedError
from mdb_engine.scope.holdings import SURE_SECONDS, Holdings, check_room
from mdb_engine.scope.model import Scope


class Held(Protocol):
    """Something that is open in the cluster."""

    @property
    def held(self) -> bool:
        """Whether it still is."""


@dataclass(slots=True)
class Calls:
    """Calls of one app that began under the same rules; `going` are not done yet."""

    going: int = 0


Hand = dict[str, WeakSet[Any]]


@dataclass(slots=True)
class House:
    """What one engine knows of what its apps have stored and hold open.

    Attributes:
        holdings: what was stored at the last look.
        confirmed: when the ledger was read, in seconds of the clock; None: nobody reads it.
        cursors, streams, transactions: by slug. calls: the newest ones by slug.
    """

    holdings: Holdings = field(default_factory=Holdings)
    confirmed: float | None = None
    clock: Callable[[], float] = monotonic
    cursors: Hand = field(default_factory=dict)
    streams: Hand = field(default_factory=dict)
    transactions: Hand = field(default_factory=dict)
    calls: dict[str, Calls] = field(default_factory=dict)

    @property
    def sure(self) -> bool:
        """Whether the ledger was read a moment ago."""
        return self.confirmed is None or self.clock() - self.confirmed <= SURE_SECONDS

    def check(self, scope: Scope, name: str, physical: Mapping[str, Any]) -> None:
        """Refuse what the app may not add now.

        Raises:
            RefusedError: as `scope.holdings.check_room`.
        """
        check_room(self.holdings, scope, name, physical, sure=self.sure)

    def admits(self, scope: Scope, collection: str) -> bool:
        """Whether a document may be added to a physical collection, without a further look."""
        holdings = self.holdings
        return scope.slug not in holdings.full and holdings.has(scope.slug, collection)

    def cursor(self, scope: Scope) -> None:
        """Refuse a cursor that would be one too many.

        Raises:
            OverloadedError: the app has as many.
        """
        if scope.slug in self.cursors:
            _admit(self.cursors, scope.slug, scope.limits.max_cursors, "cursors")

    def stream(self, scope: Scope) -> None:
        """Refuse a change stream that would be one too many.

        Raises:
            OverloadedError: the app has as many.
        """
        _admit(self.streams, scope.slug, scope.limits.max_change_streams, "change streams")

    def transaction(self, scope: Scope, session: Any) -> None:
        """Note that an app takes part in a transaction.

        Raises:
            OverloadedError: it takes part in as many others.
        """
        if session in self.transactions.get(scope.slug, ()):
            return
        most = scope.limits.max_transactions
        _admit(self.transactions, scope.slug, most, "transactions")
        self.transactions.setdefault(scope.slug, WeakSet()).add(session)

    async def withdraw(self, granted: Mapping[str, frozenset[str]]) -> None:
        """End cursors with read scopes that are not granted any more, and refresh all streams.

        Args:
            granted: the read scopes of the apps whose manifests say which.
        """
        for slug, scopes in granted.items():
            for feed in list(self.cursors.get(slug, ())):
                if feed.held and not scopes.issuperset(feed.readable):
                    await feed.end()
        for stream in [each for hand in list(self.streams.values()) for each in hand]:
            await stream.refresh()

    def begin(self, slug: str) -> Calls:
        """A call of an app begins; `going` of what is given goes down with its end."""
        found = self.calls.get(slug)
        if found is None:
            found = self.calls[slug] = Calls()
        found.going += 1
        return found


def note(hand: Hand, slug: str, thing: Any) -> None:
    """Remember that something is open."""
    hand.setdefault(slug, WeakSet()).add(thing)


def _admit(hand: Hand, slug: str, most: int, what: str) -> None:
    found = hand.get(slug)
    if found is None or len(found) < most:
        return
    for each in list(found):
        if not each.held:
            found.discard(each)
    if len(found) >= most:
        msg = f"too many open {what}, try again"
        raise OverloadedError(msg)
