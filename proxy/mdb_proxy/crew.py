"""The worker processes: started, watched, started again, sent home."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import structlog

from mdb_engine.exceptions import (
    ConfigurationError,
    InitializationError,
    ManifestValidationError,
    MongoDBEngineError,
)
from mdb_engine.manifest import Manifest
from mdb_proxy.config import environment
from mdb_proxy.exits import INVALID_MANIFEST, UNREACHABLE, USAGE
from mdb_proxy.orders import DRAINED, READY, Order, Report, packed, report_in
from mdb_proxy.peers import Said, question, socket_of
from mdb_proxy.server import DRAIN_SECONDS

COMMAND: Final = (sys.executable, "-P", "-m", "mdb_proxy.worker")
FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 10.0
"""Seconds between the end of a worker and the start of the next."""

MAX_FAILURES: Final = 3
"""So often a worker may end before it was ready; then, if nobody else serves, it is over."""

GRACE_SECONDS: Final = 5.0
STATUS_SECONDS: Final = 2.0
PREPARE_SECONDS: Final = 30.0
WATCH_SECONDS: Final = 5.0
HANGING_SECONDS: Final = 15.0
"""A worker whose loop does not come round in so long is not busy any more, it hangs."""

AGAIN_SECONDS: Final = 0.5

ALIVE: Final = {"op": "alive"}
JOIN: Final = {"op": "join"}
MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"

ENDINGS: Final[Mapping[int, Callable[[str], Exception]]] = {
    INVALID_MANIFEST: ManifestValidationError,
    UNREACHABLE: InitializationError,
    USAGE: ConfigurationError,
}
"""Which error a worker's exit code was; so it becomes ours."""

log = structlog.get_logger("mdb_proxy.crew")


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass(slots=True)
class Worker:
    """One place in the crew, and the process that fills it now.

    Attributes:
        ready: it serves. failures: how often in a row it ended without having been ready.
        generation: of the manifests that it was started with. last: what it said at its end.
        idle: it has no clients, because it saw them off or has ended.
        informed: when it was started the slugs were registered.
    """

    number: int
    process: asyncio.subprocess.Process | None = None
    ready: bool = False
    failures: int = 0
    generation: int = 0
    last: Report = field(default_factory=lambda: Report(""))
    idle: asyncio.Event = field(default_factory=_set)
    informed: bool = True

    def release(self) -> None:
        """Let it end: it is needed no more."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()

    def send(self, number: int) -> None:
        """Send it a signal, if it is there."""
        if self.process is not None and self.process.returncode is None:
            with suppress(ProcessLookupError):
                # Popen's own way would reap the process under asyncio's nose (3.11).
                os.kill(self.process.pid, number)


class Crew:
    """All workers.

    Attributes:
        manifests: what they serve. restarting: is called when one is replaced.
        hanging: is called when one does not answer any more.
    """

    def __init__(
        self,
        order: Order,
        manifests: Mapping[str, Manifest],
        ended: Callable[[int], None] = lambda _pid: None,
    ) -> None:
        self.manifests = manifests
        self.restarting: Callable[[], None] = _unheard
        self.hanging: Callable[[], None] = _unheard
        self._order, self._ended = order, ended
        self._generation = 0
        self._workers = [Worker(number) for number in range(1, order.workers + 1)]
        self._all_ready = asyncio.Event()
        self.stopping = asyncio.Event()

    async def ready(self) -> None:
        """Wait until all serve for the first time."""
        await self._all_ready.wait()

    async def serve(self) -> None:
        """Keep all places filled until `stop` was called and everybody has gone.

        Raises:
            MongoDBEngineError: nobody could be made to serve; says why the last one could not.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for worker in self._workers:
                    group.create_task(self._keep(worker))
        finally:
            for worker in self._workers:
                worker.send(signal.SIGKILL)

    async def stop(self) -> None:
        """Send everybody home; nobody ends while others may still ask it for their clients."""
        self.stopping.set()
        for worker in self._workers:
            worker.send(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS + GRACE_SECONDS):
                for worker in self._workers:
                    await worker.idle.wait()
        for worker in self._workers:
            worker.release()
        await asyncio.sleep(0)

    async def ask(self, asked: Said, seconds: float) -> Sequence[Said | None]:
        """What each worker answers; None for those that do not."""
        async with asyncio.TaskGroup() as group:
            found = [
                group.create_task(self._question(worker, asked, seconds))
                for worker in self._workers
            ]
        return [task.result() for task in found]

    async def registered(self) -> None:
        """All slugs are in the ledger: workers may read it, those of now and those to come."""
        self._order = replace(self._order, registered=True)
        await self.ask(JOIN, STATUS_SECONDS)

    async def statuses(self) -> Sequence[Said | None]:
        """How each worker is."""
        return await self.ask({"op": "status"}, STATUS_SECONDS)

    async def swap(self, manifests: Mapping[str, Manifest]) -> None:
        """Have all workers serve by other manifests, or none.

        Raises:
            InitializationError: a worker could not; all serve by the manifests before.
        """
        said = await self.ask({"op": "prepare", "manifests": packed(manifests)}, PREPARE_SECONDS)
        for worker, each in zip(self._workers, said, strict=True):
            if worker.ready and not (each or {}).get("ok"):
                reason = (each or {}).get("reason", "it does not answer")
                raise InitializationError(f"worker {worker.number}: {reason}")
        self.manifests = manifests
        self._generation += 1
        said = await self.ask({"op": "swap"}, STATUS_SECONDS)
        for worker, each in zip(self._workers, said, strict=True):
            if each is not None and each.get("ok"):
                worker.generation = self._generation
            elif worker.ready:
                # It said that it could: what is the matter with it is better not found out.
                worker.send(signal.SIGKILL)

    async def _question(self, worker: Worker, asked: Said, seconds: float) -> Said | None:
        path = socket_of(Path(self._order.folder), worker.number)
        try:
            async with asyncio.timeout(seconds):
                return await question(path, asked)
        except TimeoutError:
            return None

    async def _keep(self, worker: Worker) -> None:
        wait = FIRST_WAIT
        while not self.stopping.is_set():
            began_ready = await self._live(worker)
            if self.stopping.is_set():
                return
            if worker.failures >= MAX_FAILURES and not any(w.ready for w in self._workers):
                raise _error(worker)
            wait = FIRST_WAIT if began_ready else min(2 * wait, LONGEST_WAIT)
            self.restarting()
            log.warning(
                "worker.restarting", worker=worker.number, seconds=wait, reason=worker.last.sentence
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self.stopping.wait()

    async def _live(self, worker: Worker) -> bool:
        """One process from its start to its end; whether it was ready at some time."""
        worker.generation, worker.last = self._generation, Report("")
        worker.informed = self._order.registered
        worker.idle.clear()
        process = worker.process = await asyncio.create_subprocess_exec(
            *COMMAND,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment(**{MULTIPROCESS: self._order.folder}),
            pass_fds=tuple(self._order.handed.values()),
            start_new_session=True,
        )
        log.debug("worker.started", worker=worker.number, pid=process.pid)
        if self.stopping.is_set():
            worker.send(signal.SIGTERM)
        try:
            was_ready = await self._followed(worker, process)
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE_SECONDS):
                    await process.wait()
            return was_ready
        finally:
            worker.ready = False
            worker.send(signal.SIGKILL)
            code = await process.wait()
            worker.process = None
            worker.idle.set()
            if not worker.last.code:
                worker.last = Report("", max(code, 1), _how(worker.number, code))
            self._ended(process.pid)

    async def watch(self) -> None:
        """Replace workers that do not answer any more. Never ends.

        Who is merely busy answers late, but long before the time is over; who was stopped together
        with us is asked a second time.
        """
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            ready = [worker for worker in self._workers if worker.ready]
            async with asyncio.TaskGroup() as group:
                for worker in ready:
                    group.create_task(self._look_after(worker))

    async def _look_after(self, worker: Worker) -> None:
        process = worker.process
        for seconds in (HANGING_SECONDS, STATUS_SECONDS):
            if await self._lives(worker, process, seconds):
                return
        log.error("worker.hanging", worker=worker.number)
        self.hanging()
        worker.send(signal.SIGKILL)

    async def _lives(self, worker: Worker, process: Any, seconds: float) -> bool:
        """Whether a worker answers in time, or has ended, so that nobody has to end it."""
        path = socket_of(Path(self._order.folder), worker.number)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            said = await question(path, ALIVE, left)
            if said is not None or worker.process is not process or not worker.ready:
                return True
            # Who hangs takes nobody in: soon so many wait that the next one is sent away at once.
            await asyncio.sleep(min(AGAIN_SECONDS, left))
        return False

    async def _followed(self, worker: Worker, process: Any) -> bool:
        """Hear what a worker reports until it ends."""
        was_ready = False
        with suppress(OSError):
            process.stdin.write(self._order.to(worker.number, self.manifests).line())
            await process.stdin.drain()
        worker.failures += 1
        while line := await process.stdout.readline():
            report = report_in(line)
            if report.event == READY:
                was_ready, worker.failures = True, 0
                await self._welcome(worker)
            elif report.event == DRAINED:
                worker.ready = False
                worker.idle.set()
                if not self.stopping.is_set():
                    worker.release()
            else:
                worker.last = report
        return was_ready

    async def _welcome(self, worker: Worker) -> None:
        """A worker is ready: with the others, when it has the manifests that they have."""
        worker.ready = True
        if self._order.registered and not worker.informed:
            await self._question(worker, JOIN, STATUS_SECONDS)
        if worker.generation != self._generation:
            log.info("worker.outdated", worker=worker.number)
            worker.send(signal.SIGTERM)
            return
        log.info("worker.ready", worker=worker.number)
        if all(each.ready for each in self._workers):
            self._all_ready.set()


def _unheard() -> None:
    """Nobody counts."""


def _how(number: int, code: int) -> str:
    way = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"worker {number} {way}"


def _error(worker: Worker) -> Exception:
    return ENDINGS.get(worker.last.code, MongoDBEngineError)(worker.last.sentence)
