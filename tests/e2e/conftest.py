"""The real command line in front of a real MongoDB, and unchanged clients of two apps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from mdb_cli.mongod import EmbeddedError, find_mongod
from tests.support import config
from tests.support.programs import ROOT
from tests.support.proxies import AT_ONCE, Client, Proxy, serving
from tests.support.replicas import ReplicaSet, replica_set


@pytest.fixture(scope="session")
def proxy(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Run `mdb-proxy serve` with the project's manifests and a physical database of its own."""
    log = tmp_path_factory.mktemp("proxy") / "stderr.log"
    with serving(mongo_uri, ROOT / "manifests", log, "--apply-indexes") as running:
        yield running


@dataclass(frozen=True, slots=True)
class Front:
    """A replica set of several members and a proxy before it."""

    replicas: ReplicaSet
    proxy: Proxy


@pytest.fixture(scope="session")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Run three members that tests may step down and kill; all are well again after each test."""
    try:
        find_mongod()
    except EmbeddedError as error:
        if config.REQUIRED:
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("replicas")
    with (
        replica_set(folder) as replicas,
        # The driver's name for how long a member may be silent; and one that was frozen, or starved
        # on a busy machine, is as near as the others.
        serving(
            f"{replicas.uri}&connectTimeoutMS=3000&localThresholdMS=60000",
            ROOT / "manifests",
            folder / "proxy.log",
            behind=replicas.uri,
            **AT_ONCE,
        ) as proxy,
    ):
        yield Front(replicas, proxy)


@pytest.fixture(scope="session")
def shop(proxy: Proxy) -> Iterator[Client]:
    """Give an unchanged client of the app `shop`."""
    with proxy.client("shop") as client:
        yield client


@pytest.fixture(scope="session")
def crm(proxy: Proxy) -> Iterator[Client]:
    """Give an unchanged client of the app `crm`."""
    with proxy.client("crm") as client:
        yield client


@pytest.fixture
def name() -> str:
    """Give a collection name that no other test uses."""
    return f"c_{uuid4().hex[:12]}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the path of a folder for a server, where there is a mongod at all."""
    try:
        find_mongod()
    except EmbeddedError as error:
        if config.REQUIRED:
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    return tmp_path / "mdb"


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Give a function that notes a figure, for the end of the run and for docs/reliability.md."""
    return lambda text: record_property("measured", text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was measured."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "measured":
                terminalreporter.write_line(f"measured: {value}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show the end of the proxy's log beside a failure."""
    report = yield
    running = getattr(item, "funcargs", {}).get("proxy")
    if report.failed and isinstance(running, Proxy):
        report.sections.append(("proxy's stderr", running.program.tail()))
    return report


@pytest.fixture(scope="session")
def mongosh() -> Path:
    """Give the shell that `npm ci` installed; without npm the test is skipped, in CI it fails."""
    path = ROOT / "node_modules" / ".bin" / "mongosh"
    if path.exists():
        return path
    if config.CI:
        pytest.fail("mongosh is missing", pytrace=False)
    pytest.skip("mongosh is missing: npm was not there to install it")
