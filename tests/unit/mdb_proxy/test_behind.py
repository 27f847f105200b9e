"""What needs the cluster is tried until it is done; what will not pass by itself ends it."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from pymongo.errors import AutoReconnect, OperationFailure, ServerSelectionTimeoutError
from structlog.testing import capture_logs

from mdb_engine.exceptions import (
    ConfigurationError,
    InitializationError,
    ManifestValidationError,
    UnreachableError,
)
from mdb_engine.scope.model import Features
from mdb_proxy import behind
from mdb_proxy.behind import Arrival, Behind, connected
from mdb_proxy.reload import Cluster
from mdb_proxy.upstream import ClusterFeatures
from tests.support.servers import free_port


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    structlog.reset_defaults()
    monkeypatch.setattr(behind, "log", structlog.get_logger())
    monkeypatch.setattr(behind, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(behind, "FIRST_SECONDS", 0.05)


class Work:
    """Fails in these ways, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)


AWAY = ServerSelectionTimeoutError("127.0.0.1:1: refused (configured timeouts: x), Timeout: 10s")


def test_it_is_tried_until_it_is_done() -> None:
    work = Work(AWAY, AWAY, UnreachableError("nobody"), OperationFailure("no keys", 211))
    with capture_logs() as lines:
        asyncio.run(Arrival(work).complete())
    assert work.calls == 5
    assert [(each["event"], each.get("reason")) for each in lines] == [
        ("cluster.awaited", "127.0.0.1:1: refused"),
        ("cluster.awaited", "nobody"),
        ("cluster.awaited", "no keys"),
        ("cluster.reached", None),
    ]


def test_one_attempt_at_a_time_and_none_when_it_is_done() -> None:
    async def main() -> None:
        work = Work(AutoReconnect("away"))
        arrival = Arrival(work)
        assert [await arrival.attempt() for _ in range(4)] == [False, True, True, True]
        assert work.calls == 2

    asyncio.run(main())


@pytest.mark.parametrize(
    "error",
    [
        InitializationError("refused the login"),
        ManifestValidationError("a slug is taken"),
        OperationFailure("not authorized", 13),
    ],
)
def test_what_will_not_pass_ends_it(error: Exception) -> None:
    work = Work(AWAY, error)
    with pytest.raises(type(error)):
        asyncio.run(Arrival(work).complete())
    assert work.calls == 2


def test_nobody_there() -> None:
    async def main() -> None:
        async with connected(f"mongodb://127.0.0.1:{free_port()}/", "x") as found:
            with pytest.raises(UnreachableError, match=r"answered in 0\.05 s"):
                await found.meet()

    asyncio.run(main())


def test_a_uri_that_is_not_usable() -> None:
    async def main() -> None:
        async with connected("mongodb://", "x"):
            pytest.fail("it is not")

    with pytest.raises(ConfigurationError):
        asyncio.run(main())


class Upstream:
    """A cluster that is there."""

    def __init__(self, version: int) -> None:
        self.features = ClusterFeatures(version, standalone=True)

    async def check(self, _seconds: float) -> None:
        return


class Control:
    """Its driver."""

    async def server_info(self) -> dict[str, Any]:
        return {"version": "8.0.1", "versionArray": [8, 0, 1, 0]}


def meet(version: int) -> Cluster:
    made: Any = SimpleNamespace
    found = Behind(Upstream(version), Control(), made())  # type: ignore[arg-type]
    return asyncio.run(found.meet())


def test_what_it_says() -> None:
    assert meet(25) == Cluster("8.0.1", 17, Features(version=(8, 0), standalone=True))


def test_a_cluster_that_is_too_old() -> None:
    with pytest.raises(InitializationError, match=r"6\.0 or newer"):
        meet(16)
