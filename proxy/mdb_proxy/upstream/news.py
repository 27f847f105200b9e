"""Waits until something is no longer what it was: one timer looks for all who wait."""

import asyncio
from collections.abc import Callable
from typing import Final

LOOK_SECONDS: Final = 0.01


class News:
    """Compares what a function gives, by identity; looks only while somebody waits."""

    __slots__ = ("_changed", "_look", "_seen", "_timer", "_waiting")

    def __init__(self, look: Callable[[], object]) -> None:
        self._look = look
        self._seen: object = None
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle
        self._waiting = 0

    async def wait(self) -> None:
        """Until the next change; it may come early, so that the caller looks for itself."""
        if not self._waiting:
            self._seen = self._look()
            self._again()
        self._waiting += 1
        try:
            await self._changed.wait()
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._timer.cancel()

    def _again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._tick)

    def _tick(self) -> None:
        now = self._look()
        if now is not self._seen:
            self._seen = now
            self._changed.set()
            self._changed = asyncio.Event()
        self._again()
