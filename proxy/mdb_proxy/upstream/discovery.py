"""Who the members are and which of them suits: the driver's own monitors and selection rules.

Only PyMongo's public view is used. It is read at every choice instead of being listened to: the
driver's listeners hear of a change up to a second late (PyMongo 4.20), the property at once.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pymongo import AsyncMongoClient
from pymongo.errors import ConfigurationError as PyMongoConfigurationError
from pymongo.server_description import ServerDescription
from pymongo.topology_description import TopologyDescription

from mdb_engine.exceptions import QueryValidationError, UpstreamError
from mdb_proxy.upstream.lanes import Address
from mdb_proxy.upstream.preference import INVALID, Selector

NO_MEMBER: Final = "no suitable member of the cluster"
_LOOK_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class ClusterFeatures:
    """What all members can do.

    Attributes:
        max_wire_version: the lowest one of the known members; 0 before any is known.
        standalone: one server that is no replica set: no transactions, no retryable writes.
    """

    max_wire_version: int = 0
    standalone: bool = False


class Discovery:
    """The driver's view of the cluster, and choices by it."""

    def __init__(
        self, client: AsyncMongoClient[Any], seconds: float, busy: Callable[[Address], int]
    ) -> None:
        self._client, self._seconds, self._busy = client, seconds, busy
        self._turn = 0

    @property
    def description(self) -> TopologyDescription:
        """What the monitors know now."""
        return self._client.topology_description

    @property
    def features(self) -> ClusterFeatures:
        """What all known members can do."""
        known = self.description.known_servers
        return ClusterFeatures(
            min((each.max_wire_version for each in known), default=0),
            any(each.server_type_name == "Standalone" for each in known),
        )

    @property
    def addresses(self) -> frozenset[Address]:
        """Where the members are."""
        return frozenset(map(_address, self.members))

    @property
    def members(self) -> Sequence[ServerDescription]:
        """All members, known or not."""
        return list(self.description.server_descriptions().values())

    async def select(self, selector: Selector) -> Address:
        """A suitable member; waits for one, at most the selection timeout.

        Raises:
            UpstreamError: there was none in that time.
            QueryValidationError: no cluster like this can satisfy the read preference.
        """
        found = self._suitable(selector)
        if found is None:
            try:
                async with asyncio.timeout(self._seconds):
                    while found is None:
                        await asyncio.sleep(_LOOK_SECONDS)
                        found = self._suitable(selector)
            except TimeoutError:
                raise UpstreamError(NO_MEMBER) from None
        return found

    def pinned(self, member: str) -> Address:
        """The member that must answer, whether it suits or not.

        Raises:
            UpstreamError: it has left the cluster.
        """
        host, _, port = member.rpartition(":")
        address = (host, int(port))
        if address not in self.description.server_descriptions():
            raise UpstreamError(NO_MEMBER)
        return address

    def _suitable(self, selector: Selector) -> Address | None:
        try:
            found = self.description.apply_selector(selector)
        except PyMongoConfigurationError:
            raise QueryValidationError(INVALID, "$readPreference") from None
        if not found:
            return None
        if len(found) == 1:
            return _address(found[0])
        # The least busy one; equals take turns.
        self._turn += 1
        start = self._turn % len(found)
        return min(map(_address, found[start:] + found[:start]), key=self._busy)


def _address(member: ServerDescription) -> Address:
    host, port = member.address
    return host, port or 0
