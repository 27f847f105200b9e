"""Whom one listener lets in: so many at a time, so many of one address, so many in a second."""

from __future__ import annotations

from collections import Counter
from typing import Final

from mdb_proxy.addresses import group_of
from mdb_proxy.bounds import Bounds

FULL: Final = "full"
ADDRESS: Final = "address"
FILES: Final = "files"
HEADER: Final = "proxy_header"
HANDSHAKE: Final = "tls_handshake"
UNTRUSTED: Final = "untrusted"
REFUSALS: Final = (FULL, ADDRESS, FILES, HEADER, HANDSHAKE, UNTRUSTED)
"""Why a connection was not let in. FILES: the process may open no more."""


class Admission:
    """The counters of one listener.

    Attributes:
        most: connections at a time. inside: those that there are.
    """

    def __init__(self, bounds: Bounds, most: int | None = None) -> None:
        self.most = most or bounds.max_connections
        self.inside = 0
        self._most_of_one = bounds.max_connections_per_address
        self._rate = float(bounds.connections_per_second)
        self._left, self._since = self._rate, 0.0
        self._addresses: Counter[str] = Counter()

    def pause(self, now: float) -> float:
        """Seconds until the next connection may be looked at; `now` in seconds."""
        self._left = min(self._rate, self._left + (now - self._since) * self._rate)
        self._since = now
        return 0.0 if self._left >= 1.0 else (1.0 - self._left) / self._rate

    def enter(self) -> str:
        """Count a connection; gives the reason against it, or ""."""
        if self.inside >= self.most:
            return FULL
        self.inside += 1
        return ""

    def claim(self, host: str) -> str:
        """Count it for its address; gives the reason against it, or ""."""
        address = group_of(host)
        if self._addresses[address] >= self._most_of_one:
            return ADDRESS
        self._addresses[address] += 1
        self._left -= 1.0
        return ""

    def leave(self, host: str | None) -> None:
        """A connection that was counted has ended; None: it was counted for no address."""
        self.inside -= 1
        if host is not None:
            address = group_of(host)
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]
