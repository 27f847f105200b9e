"""The one place that starts work which outlives a call: each job is caught, logged and ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

import structlog

CLOSE_SECONDS: Final = 5.0
"""How long a job may take to finish when the engine ends; then it is cancelled."""

AGAIN_SECONDS: Final = 2.0
"""After how long a job that was cancelled, and goes on, is cancelled again."""

log = structlog.get_logger("mdb_engine.background")


class Supervisor:
    """Jobs of one engine. A job that fails is logged; the others go on."""

    def __init__(self) -> None:
        self._jobs: set[asyncio.Task[None]] = set()
        self._lasting: set[asyncio.Task[None]] = set()
        self.failures = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def start(self, name: str, job: Callable[[], Awaitable[Any]], *, lasting: bool = False) -> None:
        """Run a job beside the caller.

        Args:
            name: for the log.
            job: makes what is awaited.
            lasting: it never ends by itself, so that at the end nobody waits for it.
        """
        task = asyncio.get_running_loop().create_task(self._guarded(name, job), name=name)
        jobs = self._lasting if lasting else self._jobs
        jobs.add(task)
        task.add_done_callback(jobs.discard)

    async def _guarded(self, name: str, job: Callable[[], Awaitable[Any]]) -> None:
        try:
            await job()
        except Exception:
            self.failures += 1
            log.exception("job.failed", job=name)

    async def idle(self) -> None:
        """Wait until no job is left that ends by itself."""
        while self._jobs:
            await asyncio.wait(set(self._jobs))

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Cancel what lasts, let the rest finish, cancel what takes longer."""
        for task in self._lasting:
            task.cancel()
        if self._jobs:
            await asyncio.wait(set(self._jobs), timeout=seconds)
        await end({*self._jobs, *self._lasting})


async def end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until they have ended, however that came."""
    left = {task for task in tasks if not task.done()}
    while left:
        # Before Python 3.12 `asyncio.wait_for`, by which the driver sends, forgets a cancellation
        # that comes as its work is done: the task would go on as if nobody had said anything.
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_SECONDS)
