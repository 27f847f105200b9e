"""The process that serves no clients: prepares the cluster, runs the workers, answers operators."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from mdb_engine.manifest import load_folder
from mdb_proxy.admin import Watch
from mdb_proxy.behind import UNKNOWN, Arrival, connected
from mdb_proxy.config import ProxySettings, parse_address
from mdb_proxy.crew import Crew
from mdb_proxy.metrics import Reloads
from mdb_proxy.orders import Order
from mdb_proxy.peers import Said, rendezvous
from mdb_proxy.porters import contexts_of
from mdb_proxy.ports import kept
from mdb_proxy.reload import Household, Source, read_again, reload_at
from mdb_proxy.startup import (
    Ready,
    Wishes,
    address_of,
    admin_port,
    answers,
    begin,
    ready_at,
    tasks,
    tidy,
    until_ready,
)

PAGE_SECONDS: Final = 5.0
"""How long a page waits for the workers."""


async def supervise(
    settings: ProxySettings,
    *,
    ready: Callable[[Ready], None],
    stop: asyncio.Event,
    again: asyncio.Event,
) -> None:
    """Serve clients by several workers until `stop` is set; `again` has the manifests read again.

    Raises:
        ConfigurationError, ManifestValidationError, InitializationError, OSError: it could not
            start; nothing is left behind.
    """
    await until_ready(lambda tell: _supervise(settings, tell, Wishes(stop, again)), ready, stop)


async def _supervise(
    settings: ProxySettings, ready: Callable[[Ready], None], wishes: Wishes
) -> None:
    manifests = load_folder(settings.manifests)
    source = Source(settings.manifests, settings.settle_seconds, settings.apply_indexes)
    contexts_of(settings.listening)
    uri = settings.mongo_uri.get_secret_value()
    with kept(settings.listening) as (listeners, handed), rendezvous() as folder:
        async with connected(uri, settings.db_name) as behind:
            address = address_of(listeners[0])
            household = Household(behind.database, manifests, UNKNOWN, address)
            arrival = Arrival(lambda: begin(behind, household, source))
            order = Order(
                number=0,
                workers=settings.processes,
                mongo_uri=uri,
                db_name=settings.db_name,
                listeners=[each.model_dump_json(exclude_unset=True) for each in listeners],
                folder=str(folder),
                log_level=settings.log_level,
                log_format=settings.log_format,
                entrances=settings.entrances.packed(),
                registered=await arrival.attempt(),
                handed=handed,
                bounds=settings.bounds.shared(settings.processes).model_dump(),
            )
            crew = Crew(order, manifests, partial(_forget, str(folder)))
            office = _Office(household, source, crew, folder, arrival)
            office.certified = lambda: contexts_of(listeners)
            admin = parse_address(settings.admin) if settings.admin else None
            with admin_port(admin, office.watch()):
                await office.run(
                    lambda: ready(ready_at(listeners, household.current.scopes)), wishes
                )


def _forget(folder: str, pid: int) -> None:
    """What a worker that has ended holds open no longer counts; what it did still does."""
    mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]


class _Office:
    """What the supervisor does while the workers work."""

    def __init__(
        self, household: Household, source: Source, crew: Crew, folder: Path, arrival: Arrival
    ) -> None:
        self._household, self._source, self._crew = household, source, crew
        self._folder, self._arrival = folder, arrival
        self.certified: Callable[[], object] = dict
        self._registry = CollectorRegistry()
        self._reloads = Reloads(self._registry, time.time())
        self._restarts = Counter(
            "mdb_proxy_workers_restarted", "Workers that were replaced.", registry=self._registry
        )
        crew.restarting = self._restarts.inc
        hanging = Counter(
            "mdb_proxy_workers_hanging", "Workers that did not answer.", registry=self._registry
        )
        crew.hanging = hanging.inc
        MultiProcessCollector(self._registry, path=str(folder))  # type: ignore[no-untyped-call]

    async def run(self, ready: Callable[[], None], wishes: Wishes) -> None:
        """Have the workers serve until it is wished to stop."""
        async with tasks() as group:
            jobs = [
                group.create_task(tidy(self._arrival, self._household, self._crew.registered)),
                group.create_task(reload_at(wishes.again, self._reload, self._reloads.note)),
                group.create_task(self._crew.watch()),
                group.create_task(self._stop(ready, wishes.stop)),
            ]
            try:
                await self._crew.serve()
            finally:
                for job in jobs:
                    job.cancel()

    async def _stop(self, ready: Callable[[], None], stop: asyncio.Event) -> None:
        await self._crew.ready()
        ready()
        await stop.wait()
        await self._crew.stop()

    async def _reload(self) -> int:
        await self._household.opened.wait()
        # The workers read the certificates themselves; nothing is entered when they could not.
        await asyncio.to_thread(self.certified)
        plan = await read_again(self._household, self._source)
        await self._crew.swap(plan.manifests)
        self._household.swap(plan)
        return len(plan.directory.scopes)

    def watch(self) -> Watch:
        """What the admin pages may ask, from their own thread."""
        loop = asyncio.get_running_loop()

        def statuses() -> Sequence[Said | None]:
            asked = asyncio.run_coroutine_threadsafe(self._crew.statuses(), loop)
            try:
                return asked.result(PAGE_SECONDS)
            except TimeoutError:
                asked.cancel()
                return []

        def checks() -> Mapping[str, bool]:
            return all_checks(statuses(), stopping=self._crew.stopping.is_set())

        def page() -> bytes:
            statuses()  # the workers bring their gauges up to date
            return generate_latest(self._registry)

        return Watch(answers(loop), checks, lambda: all_numbers(statuses()), page)


CHECKS: Final = ("primary", "versions", "stores", "apps", "serving")


SUMMED: Final = ("connections", "cursors", "sessions")


def all_checks(statuses: Sequence[Said | None], *, stopping: bool) -> dict[str, bool]:
    """What must hold in every worker, and that all of them say so."""
    found = [each["checks"] for each in statuses if each is not None]
    checks = {name: all(each[name] for each in found) for name in CHECKS}
    checks["serving"] = checks["serving"] and not stopping
    return {**checks, "workers": bool(found) and len(found) == len(statuses)}


def all_numbers(statuses: Sequence[Said | None]) -> dict[str, int | str]:
    """The numbers of all workers as one."""
    found: list[Mapping[str, Any]] = [each["numbers"] for each in statuses if each is not None]
    return {
        "apps": max((each["apps"] for each in found), default=0),
        **{name: sum(each[name] for each in found) for name in SUMMED},
        "cluster": next((each["cluster"] for each in found), ""),
        "workers": len(found),
    }
