"""A fixed number of places; who finds none waits, and apps get the next free place in turn."""

import asyncio
from collections import OrderedDict, deque
from typing import Final

from mdb_engine.exceptions import OverloadedError

OVERLOADED: Final = "too many requests, try again"


class Turns:
    """Places to be taken and released; an app that waits a lot does not delay one that waits once.

    Attributes:
        taken: places in use.
    """

    __slots__ = ("_free", "_queues", "taken")

    def __init__(self, places: int) -> None:
        self.taken = 0
        self._free = places
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def take(self, app: str, seconds: float) -> None:
        """Take a place; wait for it at most that long.

        Raises:
            OverloadedError: there was none in that time.
        """
        if self._free:  # then nobody waits
            self._free -= 1
        else:
            await self._wait(app, seconds)
        self.taken += 1

    def release(self) -> None:
        """Give a place back, to the next app that waits."""
        self.taken -= 1
        self._pass_on()

    async def _wait(self, app: str, seconds: float) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(app, deque()).append(turn)
        reached = False
        try:
            async with asyncio.timeout(seconds):
                await turn
            reached = True
        except TimeoutError:
            raise OverloadedError(OVERLOADED) from None
        finally:
            if not reached:
                self._leave(app, turn)

    def _leave(self, app: str, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():  # given a place in the moment of leaving
            self._pass_on()
            return
        queue = self._queues.get(app, deque())
        if turn in queue:  # a release may have passed over it already
            queue.remove(turn)
            if not queue:
                del self._queues[app]

    def _pass_on(self) -> None:
        while self._queues:
            app, queue = self._queues.popitem(last=False)
            turn = queue.popleft()
            if queue:
                self._queues[app] = queue
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
