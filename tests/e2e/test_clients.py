"""Unchanged clients over TCP and TLS, and at a private server: all of them see the same."""

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import AsyncMongoClient, MongoClient

from tests.support import config
from tests.support.certificates import Authority
from tests.support.node import node_path
from tests.support.programs import ROOT
from tests.support.proxies import AT_ONCE, Proxy, serving
from tests.support.servers import free_port
from tests.support.visit_drivers import visit_with
from tests.support.visit_models import visit_with_beanie, visit_with_mongoengine
from tests.support.visits import STRANGER, Visit

SECONDS = 90
SCRIPTS = ROOT / "tests" / "support"
TRANSPORTS = ("tcp", "tls", "private")
"""Two ways to the proxy; and a server of one's own, which says that the table is right."""


@dataclass(frozen=True, slots=True)
class Doors:
    """A proxy with a plain and a TLS listener, and the cluster behind it."""

    proxy: Proxy
    cluster: str
    authority: Path
    tls: int

    def visit(self, client: str, transport: str) -> Visit:
        """Give a client's turn at one of the doors."""
        proxy, name = self.proxy, f"{client}_{transport}"
        if transport == "private":
            alone = f"{proxy.db_name}_alone"
            return Visit(
                self.cluster, alone, name, self.cluster, (f"{alone}_other", ""), proxy.admin
            )
        uri = proxy.uris["shop"]
        if transport == "tls":
            options = f"?tls=true&tlsCAFile={self.authority}"
            uri = uri.replace(proxy.address, f"localhost:{self.tls}") + options
        return Visit(uri, "shop", name, self.cluster, (proxy.db_name, "shop_"), proxy.admin)


@pytest.fixture(scope="module")
def doors(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    folder = tmp_path_factory.mktemp("doors")
    authority, port = Authority(folder).made(), free_port()
    authority.issue("/O=tests/CN=server", "DNS:localhost")
    options = [
        *("--listen", f"tls://127.0.0.1:{port}"),
        *("--tls-certificate", str(folder / "server.crt")),
        *("--tls-key", str(folder / "server.key")),
    ]
    with serving(mongo_uri, ROOT / "manifests", folder / "log", *options, **AT_ONCE) as proxy:
        try:
            yield Doors(proxy, mongo_uri, authority.path, port)
        finally:
            for end in ("_alone", "_alone_other"):
                proxy.admin.drop_database(proxy.db_name + end)


def script(*command: str | Path) -> Callable[[Visit], dict[str, Any]]:
    """Give the visit of a program that prints what it saw as its last line."""

    def visited(visit: Visit) -> dict[str, Any]:
        done = subprocess.run(  # noqa: S603 - our own scripts
            [visit.uri if part == "URI" else part for part in (node_path(), *command)],
            cwd=ROOT,
            env=config.environment(VISIT=json.dumps(visit.variables())),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found

    return visited


MONGOSH = ROOT / "node_modules" / ".bin" / "mongosh"
CLIENTS: dict[str, Callable[[Visit], dict[str, Any]]] = {
    "pymongo": lambda visit: asyncio.run(visit_with(MongoClient, visit)),
    "pymongo_async": lambda visit: asyncio.run(visit_with(AsyncMongoClient, visit)),
    "motor": lambda visit: asyncio.run(visit_with(AsyncIOMotorClient, visit)),
    "beanie": lambda visit: asyncio.run(visit_with_beanie(visit)),
    "mongoengine": visit_with_mongoengine,
    "node": script(SCRIPTS / "visit_node.mjs"),
    "mongoose": script(SCRIPTS / "visit_mongoose.mjs"),
    "mongosh": script(MONGOSH, "URI", "--quiet", "--norc", "--file", SCRIPTS / "visit_mongosh.js"),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("client", CLIENTS)
def test_unchanged(doors: Doors, client: str, transport: str) -> None:
    visit = doors.visit(client, transport)
    visit.plant()
    assert CLIENTS[client](visit) == visit.expected(client)
    assert visit.theirs() == 3 * [["theirs", 3, "theirs"], [1, 3, "a"]]
    if transport != "private":
        owners = visit.stored()
        assert all(name.startswith("shop_") or "_" not in name for name in owners), owners
        assert set().union(*owners.values()) == {"shop", STRANGER}
        assert owners[f"shop_{visit.name}"] == {"shop", STRANGER}
        if "file" in visit.expected(client):
            assert owners["files"] == owners["chunks"] == {"shop", STRANGER}
