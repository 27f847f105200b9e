"""A port of one process: opened, served, closed; and a start that fails or is not wanted."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import structlog
import uvloop
from pydantic import SecretStr
from structlog.testing import capture_logs

from mdb_engine.exceptions import (
    ConfigurationError,
    InitializationError,
    ManifestValidationError,
)
from mdb_engine.scope.model import Features
from mdb_proxy import startup
from mdb_proxy.config import ProxySettings, parse_address
from mdb_proxy.listeners import Listening
from mdb_proxy.metrics import Metrics
from mdb_proxy.porters import Plan, Porters
from mdb_proxy.reload import Cluster, Household, Source
from mdb_proxy.startup import House as Home
from mdb_proxy.startup import Ports, Ready, Wishes, _watch, listen, serve, tasks
from mdb_proxy.wire import Frames
from tests.support.servers import free_port
from tests.support.talks import Cluster as Asked
from tests.support.talks import House, World, heard, house, message


@pytest.fixture(autouse=True)
def all_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log everything, whatever was configured before."""
    structlog.reset_defaults()
    monkeypatch.setattr(startup, "log", structlog.get_logger())


def home(household: Household, ports: Ports) -> Home:
    return Home(household, Asked(), ports, Source(Path("nowhere"), 0.0))


def ports(port: int = 0, admin: tuple[str, int] | None = None) -> Ports:
    return Ports(Porters(Plan([Listening(host="127.0.0.1", port=port)])), admin)


def calm() -> Wishes:
    """Nothing is wished."""
    return Wishes(asyncio.Event(), asyncio.Event())


# A real port.


def inside(work: Callable[[House], Awaitable[None]]) -> None:
    async def main() -> None:
        async with house() as found:
            await work(found)

    asyncio.run(main())


def open_house() -> Household:
    """A household that never reads its stores, and leaves them without a word."""

    class Silent(Household):
        async def leave(self) -> None: ...

    found = Silent(None, {}, Cluster("6.0.5", 17, Features()), "")  # type: ignore[arg-type]
    found.current = World().directory
    return found


@asynccontextmanager
async def visit(port: int) -> AsyncIterator[tuple[dict[str, Any], asyncio.StreamReader]]:
    """Say hello at a port; gives the answer and what else comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(message({"hello": 1, "$db": "admin"}))
        (size,) = struct.unpack("<i", await reader.readexactly(4))
        (frame,) = Frames().feed(struct.pack("<i", size) + await reader.readexactly(size - 4))
        yield heard(frame).body, reader
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("factory", [None, uvloop.new_event_loop])
def test_a_port(factory: Any) -> None:
    async def main() -> None:
        wishes, told_ready = calm(), asyncio.get_running_loop().create_future()
        household = open_house()
        async with asyncio.TaskGroup() as group:
            where = ports()
            group.create_task(listen(home(household, where), told_ready.set_result, wishes))
            ready = await told_ready
            assert ready == Ready(
                "127.0.0.1",
                ready.port,
                ("crm", "shop"),
                {"shop": "shop", "crm": "crm"},
                (f"127.0.0.1:{ready.port}",),
            )
            async with visit(ready.port) as (reply, reader):
                assert reply["msg"] == "isdbgrid"
                assert household.current.address == f"127.0.0.1:{ready.port}"
                taken = ports(ready.port, ("127.0.0.1", 0))
                with pytest.raises(OSError, match="ddress already in use"):
                    await listen(home(household, taken), never, wishes)
                async with visit(ready.port) as (second, _):
                    assert second["connectionId"] == 2
                wishes.stop.set()
                assert await reader.read() == b""
        assert asyncio.all_tasks() == {asyncio.current_task()}
        with pytest.raises(ConnectionRefusedError):
            async with visit(ready.port):
                pass

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def test_who_cannot_be_told_does_not_listen() -> None:
    async def main() -> None:
        with pytest.raises(NeverSaidError):
            await listen(home(open_house(), ports()), never, calm())
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_what_the_admin_pages_ask() -> None:
    async def work(found: House) -> None:
        metrics = found.listener.metrics = Metrics(["shop"])
        metrics.watch(found.listener.connections, found.listener.tools.cursors.count)
        await found.visitor("shop")
        await found.visitor()
        household = open_house()
        household.stale = True
        household.database = Clustered(False)  # type: ignore[assignment]
        watch = _watch(household, found.listener)
        assert watch.checks() == {
            "primary": False,
            "versions": True,
            "stores": False,
            "apps": True,
            "serving": True,
        }
        assert watch.numbers() == {
            "apps": 2,
            "connections": 2,
            "cursors": 0,
            "sessions": 0,
            "cluster": "6.0.5",
        }
        assert await asyncio.to_thread(watch.alive)
        page = watch.metrics().decode()
        assert 'client_connections{app="shop"} 1.0' in page
        assert 'client_connections{app="_unknown"} 1.0' in page
        found.listener.stopping = True
        assert watch.checks()["serving"] is False

    inside(work)


def test_a_loop_that_is_stuck_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "ALIVE_SECONDS", 0.01)

    async def work(found: House) -> None:
        watch = _watch(open_house(), found.listener)
        assert watch.alive() is False, "nobody answers while this waits"

    inside(work)


def test_the_admin_port_is_open_while_the_proxy_serves() -> None:
    async def main() -> None:
        stop = asyncio.Event()
        household = open_house()
        household.database = Clustered(True)  # type: ignore[assignment]
        with capture_logs() as lines:
            async with asyncio.TaskGroup() as group:
                told_ready = asyncio.get_running_loop().create_future()
                where = ports(admin=("127.0.0.1", 0))
                group.create_task(
                    listen(
                        home(household, where), told_ready.set_result, Wishes(stop, asyncio.Event())
                    )
                )
                await told_ready
                (line,) = [each for each in lines if each["event"] == "admin.listening"]
                base = f"http://{line['address']}"
                for path in ("livez", "readyz", "healthz", "metrics"):
                    assert await asyncio.to_thread(status, f"{base}/{path}") == 200
                taken = ports(admin=parse_address(line["address"]))
                with pytest.raises(OSError, match="ddress already in use"):
                    await listen(home(household, taken), never, Wishes(stop, asyncio.Event()))
                stop.set()
        with pytest.raises(OSError, match="refused"):
            await asyncio.to_thread(status, f"{base}/livez")
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def status(url: str) -> int:
    with urlopen(url, timeout=5) as answer:  # noqa: S310 - our own port
        return int(answer.status)


class Clustered:
    """A database whose cluster has a primary, or none."""

    def __init__(self, has_primary: bool) -> None:
        self.client = self.topology_description = self
        self.has_writable_server = lambda: has_primary
        self.known_servers: list[Any] = []


# Starting, without a cluster. With one: tests/e2e.


class NeverSaidError(Exception):
    """It must not be ready."""


def never(_: Ready) -> None:
    raise NeverSaidError


@asynccontextmanager
async def settings(folder: Path, **more: Any) -> AsyncIterator[ProxySettings]:
    (folder / "shop.json").write_text('{"slug": "shop", "name": "Shop"}')
    uri = f"mongodb://127.0.0.1:{free_port()}/?serverSelectionTimeoutMS=100"
    yield ProxySettings(**{"mongo_uri": SecretStr(uri), "manifests": folder, **more})


def test_a_start_that_nobody_wants_any_more_ends(tmp_path: Path) -> None:
    async def main() -> None:
        async with settings(tmp_path) as given, asyncio.timeout(5):
            stop = asyncio.Event()
            asyncio.get_running_loop().call_later(0.2, stop.set)
            await serve(given, ready=never, stop=stop)
            stop.set()
            await serve(given, ready=never, stop=stop)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"manifests": Path("/nowhere")}, (ConfigurationError, ManifestValidationError, OSError)),
        ({"mongo_uri": SecretStr("mongodb://")}, ConfigurationError),
    ],
)
def test_a_start_that_fails_says_why(
    tmp_path: Path, more: dict[str, Any], error: type[Exception]
) -> None:
    async def main() -> None:
        async with settings(tmp_path, **more) as given:
            with pytest.raises(error):
                await serve(given, ready=never, stop=asyncio.Event())

    asyncio.run(main())


@pytest.mark.parametrize("errors", [1, 2])
def test_an_error_comes_out_as_it_is(errors: int) -> None:
    async def fail() -> None:
        raise InitializationError("no")

    async def main() -> None:
        async with tasks() as group:
            for _ in range(errors):
                group.create_task(fail())

    with pytest.raises(InitializationError if errors == 1 else ExceptionGroup):
        asyncio.run(main())
