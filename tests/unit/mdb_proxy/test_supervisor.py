"""What is told of all workers together, and what has them read the manifests again."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mdb_engine.exceptions import ConfigurationError, InitializationError
from mdb_engine.manifest import parse
from mdb_proxy import startup, supervisor
from mdb_proxy.behind import Arrival
from mdb_proxy.config import ProxySettings
from mdb_proxy.reload import Plan, Source
from mdb_proxy.startup import Wishes
from mdb_proxy.supervisor import _Office, all_checks, all_numbers, supervise
from tests.support.servers import free_port
from tests.support.talks import World
from tests.unit.mdb_proxy.test_startup import never, open_house

GOOD = {"primary": True, "versions": True, "stores": True, "apps": True, "serving": True}
NUMBERS = {"apps": 2, "connections": 3, "cursors": 4, "sessions": 5, "cluster": "6.0.5"}
FINE = {"checks": GOOD, "numbers": NUMBERS}
STALE = {**FINE, "checks": {**GOOD, "stores": False}}


@pytest.mark.parametrize(
    ("statuses", "stopping", "bad"),
    [
        ([FINE, FINE], False, set()),
        ([FINE, STALE], False, {"stores"}),
        ([FINE, None], False, {"workers"}),
        ([None, None], False, {"workers"}),
        ([], False, {"workers"}),
        ([FINE, FINE], True, {"serving"}),
    ],
)
def test_all_must_be_well(statuses: Sequence[Any], stopping: bool, bad: set[str]) -> None:
    found = all_checks(statuses, stopping=stopping)
    assert {name for name, holds in found.items() if not holds} == bad


def test_numbers_add_up() -> None:
    assert all_numbers([FINE, None, FINE]) == {
        "apps": 2, "connections": 6, "cursors": 8, "sessions": 10, "cluster": "6.0.5", "workers": 2,
    }  # fmt: skip
    none = {"apps": 0, "connections": 0, "cursors": 0, "sessions": 0}
    assert all_numbers([None]) == {**none, "cluster": "", "workers": 0}


class Crew:
    """A crew without processes."""

    def __init__(self) -> None:
        self.informed = False
        self.stopping, self.done = asyncio.Event(), asyncio.Event()
        self.restarting = lambda: None
        self.statuses_of: list[Any] = [FINE, FINE]
        self.served: list[Any] = []
        self.error: Exception | None = None

    async def ready(self) -> None:
        return

    async def serve(self) -> None:
        await self.done.wait()

    async def stop(self) -> None:
        self.stopping.set()
        self.done.set()

    async def statuses(self) -> Sequence[Any]:
        return self.statuses_of

    async def watch(self) -> None:
        await self.done.wait()

    async def registered(self) -> None:
        self.informed = True

    async def swap(self, manifests: Any) -> None:
        if self.error is not None:
            raise self.error
        self.served.append(manifests)


def office(folder: Path, crew: Crew) -> _Office:
    household = open_house()

    async def arrive() -> None:
        household.opened.set()

    arrival = Arrival(arrive)
    return _Office(household, Source(folder, 0.0), crew, folder, arrival)  # type: ignore[arg-type]


def test_pages_of_all_workers(tmp_path: Path) -> None:
    async def main() -> None:
        crew = Crew()
        watch = office(tmp_path, crew).watch()
        assert await asyncio.to_thread(watch.alive)
        assert await asyncio.to_thread(watch.checks) == {**GOOD, "workers": True}
        assert (await asyncio.to_thread(watch.numbers))["workers"] == 2
        crew.restarting()
        page = (await asyncio.to_thread(watch.metrics)).decode()
        assert "mdb_proxy_workers_restarted_total 1.0" in page
        assert "mdb_proxy_manifest_last_reload_timestamp_seconds" in page

    asyncio.run(main())


def test_workers_that_do_not_answer_do_not_hold_up_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "PAGE_SECONDS", 0.05)

    class Stuck(Crew):
        async def statuses(self) -> Sequence[Any]:
            await asyncio.Event().wait()
            return []

    async def main() -> None:
        watch = office(tmp_path, Stuck()).watch()
        assert (await asyncio.to_thread(watch.checks))["workers"] is False
        await asyncio.sleep(0)

    asyncio.run(main())


@pytest.mark.parametrize("error", [None, InitializationError("worker 2: no")])
def test_all_or_nobody_reads_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    manifests = {"shop": parse({"slug": "shop", "name": "Shop"})}

    async def again(_household: Any, _source: Source) -> Plan:
        return Plan(manifests, World(slugs=["shop"]).directory)

    monkeypatch.setattr(supervisor, "read_again", again)

    async def forever(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(startup, "sweep", forever)

    async def main() -> None:
        crew, wishes = Crew(), Wishes(asyncio.Event(), asyncio.Event())
        crew.error = error
        desk = office(tmp_path, crew)
        told: list[bool] = []
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            group.create_task(desk.run(lambda: told.append(True), wishes))
            wishes.again.set()
            watch = desk.watch()
            outcome = "failed" if error else "ok"
            line = f'manifest_reloads_total{{outcome="{outcome}"}} 1.0'
            for _ in range(500):
                if line in (await asyncio.to_thread(watch.metrics)).decode():
                    break
                await asyncio.sleep(0.01)
            wishes.stop.set()
        assert told == [True]
        assert crew.served == ([] if error else [manifests])
        assert (desk._household.manifests == manifests) == (error is None)
        assert crew.stopping.is_set()
        assert crew.informed

    asyncio.run(main())


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"manifests": Path("/nowhere")}, ConfigurationError),
        ({"mongo_uri": "mongodb://"}, ConfigurationError),
        ({"listen": "192.0.2.1:1"}, OSError),
    ],
)
def test_a_start_that_fails_says_why(
    tmp_path: Path, more: dict[str, Any], error: type[Exception]
) -> None:
    uri = f"mongodb://127.0.0.1:{free_port()}/"
    given = {"mongo_uri": uri, "manifests": tmp_path, "workers": 2, "listen": "127.0.0.1:0", **more}
    event = asyncio.Event
    with pytest.raises(error):
        asyncio.run(supervise(ProxySettings(**given), ready=never, stop=event(), again=event()))


def test_a_start_that_nobody_wants_any_more_ends(tmp_path: Path) -> None:
    uri = f"mongodb://127.0.0.1:{free_port()}/"
    settings = ProxySettings(mongo_uri=uri, manifests=tmp_path, workers=2, listen="127.0.0.1:0")

    async def main() -> None:
        async with asyncio.timeout(10):
            stop, again = asyncio.Event(), asyncio.Event()
            asyncio.get_running_loop().call_later(0.2, stop.set)
            await supervise(settings, ready=never, stop=stop, again=again)

    asyncio.run(main())
