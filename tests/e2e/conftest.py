"""The real command line in front of a real MongoDB, and unchanged clients of two apps."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pymongo import MongoClient

from tests.support.programs import ROOT, Program, create_credential, program
from tests.support.servers import free_port

Client = MongoClient[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy: where it is, who may log in, and what lies behind it."""

    host: str
    port: int
    uris: dict[str, str] = field(repr=False)
    admin: Client
    db_name: str
    program: Program

    @property
    def address(self) -> str:
        """Give `host:port`."""
        return f"{self.host}:{self.port}"

    @property
    def behind(self) -> Any:
        """Give the physical database, looked at directly."""
        return self.admin[self.db_name]


@pytest.fixture(scope="session")
def proxy(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Run `mdb-proxy serve` with the project's manifests and a physical database of its own."""
    db_name = f"e2e_{uuid4().hex[:12]}"
    port = free_port()
    address = f"127.0.0.1:{port}"
    cluster = {"MONGO_URI": mongo_uri, "MONGO_DB_NAME": db_name}
    slugs = sorted(path.stem for path in (ROOT / "manifests").glob("*.json"))
    command = ["mdb-proxy", "serve", "--manifests", "manifests", "--listen", address]
    log = tmp_path_factory.mktemp("proxy") / "stderr.log"
    admin: Client
    with MongoClient(mongo_uri, serverSelectionTimeoutMS=10_000) as admin:
        try:
            made = {
                slug: create_credential(slug, "--proxy", address, **cluster)["uri"]
                for slug in slugs
            }
            with program([*command, "--apply-indexes"], log, **cluster) as running:
                assert running.line() == f"listening on {address}"
                yield Proxy("127.0.0.1", port, made, admin, db_name, running)
        finally:
            admin.drop_database(db_name)


@pytest.fixture(scope="session")
def shop(proxy: Proxy) -> Iterator[Client]:
    """Give an unchanged client of the app `shop`."""
    with MongoClient(proxy.uris["shop"], serverSelectionTimeoutMS=10_000) as client:
        yield client


@pytest.fixture(scope="session")
def crm(proxy: Proxy) -> Iterator[Client]:
    """Give an unchanged client of the app `crm`."""
    with MongoClient(proxy.uris["crm"], serverSelectionTimeoutMS=10_000) as client:
        yield client


@pytest.fixture
def name() -> str:
    """Give a collection name that no other test uses."""
    return f"c_{uuid4().hex[:12]}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show the end of the proxy's log beside a failure."""
    report = yield
    running = getattr(item, "funcargs", {}).get("proxy")
    if report.failed and isinstance(running, Proxy):
        report.sections.append(("proxy's stderr", running.program.tail()))
    return report


def mongosh() -> Path | None:
    """Give the shell that `npm ci` installed."""
    path = ROOT / "node_modules" / ".bin" / "mongosh"
    return path if path.exists() else None
