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
from pymongo.errors import NetworkTimeout
from pymongo.server_description import ServerDescription
from pymongo.topology_description import TopologyDescription

from mdb_engine.exceptions import QueryValidationError, UpstreamError
from mdb_proxy.upstream.doubts import Doubt, Doubts
from mdb_proxy.upstream.lanes import Address
from mdb_proxy.upstream.news import News
from mdb_proxy.upstream.preference import INVALID, Selector
from mdb_proxy.upstream.resending import Version

NO_MEMBER: Final = "no suitable member of the cluster"


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
        self._doubts = Doubts()
        self._news = News(lambda: self.description)

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

    @property
    def silent(self) -> frozenset[Address]:
        """Members that take a monitor's question and give no answer: hung, or cut off."""
        return frozenset(
            _address(each) for each in self.members if isinstance(each.error, NetworkTimeout)
        )

    async def select(self, selector: Selector) -> Address:
        """A suitable member; waits for one, at most the selection timeout.

        Raises:
            UpstreamError: there was none in that time.
            QueryValidationError: no cluster like this can satisfy the read preference.
        """
        try:
            async with asyncio.timeout(self._seconds):
                return await self.next(selector)
        except TimeoutError:
            raise UpstreamError(NO_MEMBER) from None

    async def next(self, selector: Selector) -> Address:
        """A suitable member; waits for one as long as it takes.

        Raises:
            QueryValidationError: no cluster like this can satisfy the read preference.
        """
        while (found := self.suitable(selector)) is None:
            await self._news.wait()
        return found

    def doubt(self, member: Address, version: Version | None = None, *, firm: bool) -> None:
        """Believe no description of this member that is not newer than what it told us.

        Args:
            member: which one.
            version: the `topologyVersion` of its error, if there was one.
            firm: it said itself that its state has changed; else it could not be reached, and is
                taken only when there is no other.
        """
        known = self.description.server_descriptions().get(member)
        if known is not None:
            self._doubts.add(member, Doubt(known, version, firm))

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

    def suitable(self, selector: Selector) -> Address | None:
        """A suitable member, as far as is known now.

        Raises:
            QueryValidationError: no cluster like this can satisfy the read preference.
        """
        try:
            found = self.description.apply_selector(selector)
        except PyMongoConfigurationError:
            raise QueryValidationError(INVALID, "$readPreference") from None
        if self._doubts:
            found = self._doubts.without(found)
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
