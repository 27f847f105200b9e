"""Slow work beside the loop: few at a time, few that wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Final

from mdb_engine.exceptions import OverloadedError
from mdb_proxy.decisions import KEYS, PASSWORDS, TRY_AGAIN, Chore

THREADS: Final[Mapping[str, int]] = MappingProxyType({KEYS: 2, PASSWORDS: 1})
"""How many of a kind are done at a time: whoever tries passwords gets no more than one core."""

MAX_WAITING: Final = 64
"""Logins of a kind that wait for their turn; the next is told to come again."""


class Chores:
    """The threads of one process; they are started when there is something to do."""

    def __init__(self) -> None:
        self._threads = {
            kind: ThreadPoolExecutor(most, f"chores-{kind}") for kind, most in THREADS.items()
        }
        self._begun: Counter[str] = Counter()

    async def done(self, chore: Chore) -> bytes:
        """What the work gave. Whoever does not wait for it any more takes it off the list.

        Raises:
            OverloadedError: too many wait already.
        """
        if self._begun[chore.kind] >= MAX_WAITING:
            raise OverloadedError(TRY_AGAIN)
        self._begun[chore.kind] += 1
        try:
            return await asyncio.wrap_future(self._threads[chore.kind].submit(chore.work))
        finally:
            self._begun[chore.kind] -= 1
