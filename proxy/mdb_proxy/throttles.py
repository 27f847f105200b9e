"""How often somebody may get a password wrong, before it is not even looked at.

Counted by client address and name together, so that nobody can lock out a name for others; and
altogether, where those are left alone who logged in from there before. Only so many pairs are
remembered: the least recently seen are forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

from mdb_engine.exceptions import OverloadedError
from mdb_proxy.addresses import group_of

MAX_PAIRS: Final = 10_000
MAX_NAME: Final = 128
"""Characters of a name that count; credentials have fewer."""

FORGIVEN_SECONDS: Final = 6.0
"""After so long one more attempt is allowed."""

BURST_SECONDS: Final = 10.0
"""Failures altogether: so many seconds' worth of them may come at once."""

Pair = tuple[str, str]
Value = TypeVar("Value")


class Throttle:
    """The failures of one process; times in seconds of any clock.

    Attributes:
        heard: is called when an attempt is not looked at.
    """

    def __init__(self, most: int = 10, per_second: float = 100.0) -> None:
        self.heard: Callable[[], None] = _unheard
        self._most, self._rate = float(most), per_second
        self._failures: OrderedDict[Pair, tuple[float, float]] = OrderedDict()
        self._good: OrderedDict[Pair, None] = OrderedDict()
        self._all, self._since = 0.0, 0.0

    def check(self, peer: str, name: str, now: float) -> None:
        """Refuse an attempt of who has failed too often. `peer`: `host:port`.

        Raises:
            OverloadedError: drivers back off and try again.
        """
        pair = _pair(peer, name)
        many = self._count(pair, now) > self._most - 1.0
        most = self._rate * BURST_SECONDS
        if many or (pair not in self._good and self._total(now) > most - 1.0):
            self.heard()
            msg = "too many failed logins, try again"
            raise OverloadedError(msg)

    def failed(self, peer: str, name: str, now: float) -> None:
        """A login has failed."""
        pair = _pair(peer, name)
        _put(self._failures, pair, (self._count(pair, now) + 1.0, now))
        if pair not in self._good:
            self._all, self._since = self._total(now) + 1.0, now

    def succeeded(self, peer: str, name: str) -> None:
        """Somebody has logged in: what went wrong before is forgotten."""
        pair = _pair(peer, name)
        self._failures.pop(pair, None)
        _put(self._good, pair, None)

    def _count(self, pair: Pair, now: float) -> float:
        count, since = self._failures.get(pair, (0.0, now))
        return max(0.0, count - (now - since) / FORGIVEN_SECONDS)

    def _total(self, now: float) -> float:
        return max(0.0, self._all - (now - self._since) * self._rate)


def _unheard() -> None:
    """Nobody counts."""


def _pair(peer: str, name: str) -> Pair:
    return group_of(peer.rpartition(":")[0]), name[:MAX_NAME]


def _put(table: OrderedDict[Pair, Value], pair: Pair, value: Value) -> None:
    table[pair] = value
    table.move_to_end(pair)
    if len(table) > MAX_PAIRS:
        table.popitem(last=False)
