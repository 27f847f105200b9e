"""One of several processes that serve the same port. Started by the supervisor, ends with it.

Run as `python -m mdb_proxy.worker`; the order stands in the first line of its stdin. When that is
closed the supervisor has gone, or needs us no more.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
from pymongo.errors import PyMongoError

from mdb_engine.background import end
from mdb_engine.exceptions import MongoDBEngineError
from mdb_engine.observability import configure_logging
from mdb_proxy.behind import UNKNOWN, Arrival, Behind, connected
from mdb_proxy.bounds import Bounds
from mdb_proxy.decisions import Ask
from mdb_proxy.departures import Guest
from mdb_proxy.doors import Entrances
from mdb_proxy.exits import FAILED, ending
from mdb_proxy.listeners import Listening
from mdb_proxy.orders import DRAINED, READY, Order, Report, order_in, unpacked
from mdb_proxy.peers import Peers, Said, answering, socket_of
from mdb_proxy.porters import Contexts, Porters
from mdb_proxy.porters import Plan as Wanted
from mdb_proxy.reload import Household, Plan
from mdb_proxy.server import DRAIN_SECONDS, Listener
from mdb_proxy.signals import run
from mdb_proxy.startup import (
    Ready,
    address_of,
    checks,
    new_listener,
    numbers,
    open_port,
    tasks,
    until_ready,
)

ORPHAN_SECONDS: Final = 5.0
"""How long a worker whose supervisor has gone may see its clients off."""

log = structlog.get_logger("mdb_proxy.worker")


@dataclass(slots=True)
class Desk:
    """Where other processes come with their questions.

    Attributes:
        plan: what is to be served next, when all workers can. contexts: and with which
            certificates.
        registered: the slugs are in the ledger.
    """

    household: Household
    listener: Listener
    porters: Porters
    plan: Plan | None = field(default=None)
    contexts: Contexts = field(default_factory=dict)
    registered: asyncio.Event = field(default_factory=asyncio.Event)

    def answer(self, said: Said) -> Coroutine[Any, Any, Said] | None:
        """Gives the answer to a question; None: we have no part in it."""
        if said["op"] == "ask":
            ask = Ask(said["app"], said["user"], said["command"], address=said["address"])
            work = self.listener.for_another(ask)
            return None if work is None else _as_body(work)
        return QUESTIONS[said["op"]](self, said)

    async def status(self, _said: Said) -> Said:
        """How we are; what is counted only when somebody looks is up to date afterwards."""
        self.listener.metrics.look()
        return {
            "checks": checks(self.household, self.listener),
            "numbers": numbers(self.household, self.listener),
        }

    async def present(self, said: Said) -> Said:
        """Whether a client has a connection here."""
        return {"there": self.listener.departures.has(Guest(*said["guest"]))}

    async def departed(self, said: Said) -> Said:
        """A client has gone: what it left is ended."""
        await self.listener.departures.clear(Guest(*said["guest"]))
        return {"ok": True}

    async def alive(self, _said: Said) -> Said:
        """The loop comes round."""
        return {"ok": True}

    async def join(self, _said: Said) -> Said:
        """The slugs are registered: the stores may be read."""
        self.registered.set()
        return {"ok": True}

    async def prepare(self, said: Said) -> Said:
        """Make a directory of new manifests, without serving by it yet."""
        await self.household.opened.wait()
        try:
            self.contexts = await asyncio.to_thread(self.porters.prepared)
            self.plan = await self.household.plan(unpacked(said["manifests"]))
        except (MongoDBEngineError, PyMongoError, ValueError) as error:
            return {"reason": str(error)}
        return {"ok": True}

    async def swap(self, _said: Said) -> Said:
        """Serve by what was prepared."""
        if self.plan is None:
            return {"reason": "nothing was prepared"}
        self.household.swap(self.plan)
        self.porters.swap(self.contexts)
        self.plan = None
        return {"ok": True}


QUESTIONS: Final[Mapping[str, Callable[[Desk, Said], Coroutine[Any, Any, Said]]]] = {
    "alive": Desk.alive,
    "departed": Desk.departed,
    "join": Desk.join,
    "prepare": Desk.prepare,
    "present": Desk.present,
    "status": Desk.status,
    "swap": Desk.swap,
}
"""What the supervisor asks, and what workers ask each other beside commands."""


async def _as_body(work: Coroutine[Any, Any, bytes]) -> Said:
    return {"body": await work}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the supervisor wishes: that we take no more clients; that we end."""

    stop: asyncio.Event
    released: asyncio.Event


async def work(order: Order, ready: Callable[[Ready], None], wishes: Wishes) -> None:
    """Serve until `stop`; then, until `released`, only what other workers still ask.

    Raises:
        ConfigurationError, InitializationError, OSError: it could not start.
    """
    folder = Path(order.folder)
    porters = _porters(order)
    async with connected(order.mongo_uri, order.db_name) as behind, tasks() as group:
        household = Household(
            behind.database,
            unpacked(order.manifests),
            UNKNOWN,
            address_of(porters.plan.listeners[0]),
            workers=order.workers,
            entrances=Entrances.unpacked(order.entrances),
        )
        arrival = Arrival(lambda: _join(behind, household))
        if order.registered:
            await arrival.attempt()
        others = [n for n in range(1, order.workers + 1) if n != order.number]
        peers, bounds = Peers(folder, others), porters.plan.bounds
        listener = new_listener(household, behind.upstream, group, peers.ask, bounds)
        listener.departures.others = partial(_present, peers)
        listener.departures.tell = partial(_departed, peers)
        listener.numbers = itertools.count(order.number, order.workers)
        desk = Desk(household, listener, porters)
        if order.registered:
            desk.registered.set()
        later = group.create_task(_when_registered(desk.registered, arrival))
        async with answering(socket_of(folder, order.number), desk.answer, group):
            async with open_port(listener, household, porters) as now:
                ready(now)
                await wishes.stop.wait()
            await end([later])
            _report(Report(DRAINED))
            await _at_most(wishes.released, DRAIN_SECONDS)
    log.info("worker.stopped")


def _porters(order: Order) -> Porters:
    """The listeners of an order: at ports that others share, or at sockets that are handed down."""
    return Porters(
        Wanted(
            [Listening.model_validate_json(each) for each in order.listeners],
            Bounds(**order.bounds),
            shared=True,
            handed={int(number): handed for number, handed in order.handed.items()},
        )
    )


async def _present(peers: Peers, guest: Guest) -> list[bool | None]:
    said = await peers.everybody({"op": "present", "guest": list(guest)})
    return [None if each is None else each["there"] for each in said]


async def _departed(peers: Peers, guest: Guest) -> None:
    await peers.everybody({"op": "departed", "guest": list(guest)})


async def _join(behind: Behind, household: Household) -> None:
    household.cluster = await behind.meet()
    await household.join()


async def _when_registered(registered: asyncio.Event, arrival: Arrival) -> None:
    """Read the stores once the supervisor has entered all slugs."""
    await registered.wait()
    await arrival.complete()


async def _at_most(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def _report(report: Report) -> None:
    """Tell the supervisor; that it has gone is noticed elsewhere."""
    try:
        sys.stdout.write(report.line() + "\n")
        sys.stdout.flush()
    except OSError:
        return


async def _led(order: Order, stop: asyncio.Event) -> None:
    """Work as long as there is a supervisor."""
    loop, released = asyncio.get_running_loop(), asyncio.Event()

    def closed() -> None:
        loop.remove_reader(0)
        released.set()
        stop.set()
        loop.call_later(ORPHAN_SECONDS, os._exit, FAILED)

    loop.add_reader(0, closed)
    wishes = Wishes(stop, released)
    await until_ready(
        lambda ready: work(order, ready, wishes), lambda _now: _report(Report(READY)), stop
    )


def main() -> None:
    """Read the order and carry it out; what cannot be done is reported in one sentence."""
    order = order_in(sys.stdin.buffer.readline())
    configure_logging(order.log_level, order.log_format, worker=order.number)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run(lambda stop: _led(order, stop), patient=True)
    except (MongoDBEngineError, PyMongoError, OSError, ExceptionGroup) as error:
        found = ending(error)
        if found is None:
            raise
        _report(Report("failed", *found))
        sys.exit(found[0])


if __name__ == "__main__":
    main()
