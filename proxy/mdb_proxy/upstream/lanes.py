"""Each member has two pools: commands that wait for new documents must not starve the others."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from mdb_proxy.upstream.connection import Connection
from mdb_proxy.upstream.pool import Pool, PoolSettings

Address = tuple[str, int]

PRUNE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Lane:
    """The two pools of one member."""

    ordinary: Pool
    awaited: Pool

    @property
    def busy(self) -> int:
        """Commands that are on their way to this member."""
        return self.ordinary.busy + self.awaited.busy


class Lanes:
    """The pools of all members, made when first asked for."""

    def __init__(
        self, connect: Callable[[Address], Awaitable[Connection]], settings: PoolSettings
    ) -> None:
        self._connect, self._settings = connect, settings
        self._lanes: dict[Address, Lane] = {}

    def pool(self, member: Address, awaited: bool) -> Pool:
        """The pool for one kind of command to one member."""
        lane = self._lanes.get(member)
        if lane is None:
            lane = self._lanes[member] = self._lane(member)
        return lane.awaited if awaited else lane.ordinary

    def sizes(self, member: Address) -> tuple[int, int]:
        """Commands on their way to a member, and open connections."""
        lane = self._lanes.get(member)
        return (0, 0) if lane is None else (lane.busy, lane.ordinary.size + lane.awaited.size)

    def busy(self, member: Address) -> int:
        """Commands that are on their way to a member."""
        lane = self._lanes.get(member)
        return lane.busy if lane is not None else 0

    def prune(
        self, members: Collection[Address], silent: Collection[Address] = frozenset()
    ) -> None:
        """Close idle connections, and the pools of members that the cluster no longer has.

        Who waits for an answer of a silent member is told that there will be none.
        """
        for member, lane in list(self._lanes.items()):
            left = member not in members
            if member in silent:
                lane.ordinary.cut()
                lane.awaited.cut()
            lane.ordinary.prune(everything=left)
            lane.awaited.prune(everything=left)
            if left and lane.ordinary.empty and lane.awaited.empty:
                del self._lanes[member]

    def forget(self, member: Address) -> None:
        """Close a member's idle connections: when one broke, the others may be dead as well."""
        lane = self._lanes.get(member)
        if lane is not None:
            lane.ordinary.prune(everything=True)
            lane.awaited.prune(everything=True)

    @contextmanager
    def pruning(
        self,
        members: Callable[[], Collection[Address]],
        silent: Callable[[], Collection[Address]] = frozenset,
        seconds: float = PRUNE_SECONDS,
    ) -> Iterator[None]:
        """Prune every so many seconds while the block runs; a timer, no task."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def tick() -> None:
            nonlocal timer
            self.prune(members(), silent())
            timer = loop.call_later(seconds, tick)

        timer = loop.call_later(seconds, tick)
        try:
            yield
        finally:
            timer.cancel()

    async def close(self) -> None:
        """Close everything; ends when no socket is left."""
        lanes = list(self._lanes.values())
        self._lanes.clear()
        await asyncio.gather(*map(_close, lanes))

    def _lane(self, member: Address) -> Lane:
        def connect() -> Awaitable[Connection]:
            return self._connect(member)

        settings = self._settings
        return Lane(
            Pool(connect, settings.max_size, settings),
            Pool(connect, settings.max_awaited, settings),
        )


async def _close(lane: Lane) -> None:
    await lane.ordinary.close()
    await lane.awaited.close()
