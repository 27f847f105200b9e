"""Unchanged clients over TCP and TLS, and at a private server: all of them see the same."""

import asyncio
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import AsyncMongoClient, MongoClient

from tests.support import config
from tests.support.certificates import Authority
from tests.support.node import node_path
from tests.support.pages import metric
from tests.support.programs import ROOT, create_credential
from tests.support.proxies import AT_ONCE, Proxy, serving
from tests.support.servers import free_port
from tests.support.visit_drivers import visit_with
from tests.support.visit_models import visit_with_beanie, visit_with_mongoengine
from tests.support.visits import STRANGER, Visit

SECONDS = 90
SCRIPTS = ROOT / "tests" / "support"
LEARNING_SECONDS = 2.5
"""Within this time the proxy knows of a new credential."""

TRANSPORTS = ("tcp", "tls", "private")
"""Two ways to the proxy; and a server of one's own, which says that the table is right."""


@dataclass(frozen=True, slots=True)
class Doors:
    """A proxy with a plain and a TLS listener, and the cluster behind it."""

    proxy: Proxy
    cluster: str
    authority: Authority
    tls: int
    page: str

    def counted(self, line: str) -> float:
        """Give one of the proxy's counters; `line` without the prefix of all names."""
        return metric(self.page, f"mdb_proxy_{line}")

    def visit(self, name: str, uri: str) -> Visit:
        """Give a client's turn at one of the doors."""
        proxy = self.proxy
        return Visit(uri, "shop", name, self.cluster, (proxy.db_name, "shop_"), proxy.admin)

    def alone(self, name: str) -> Visit:
        """Give a client's turn without us."""
        db_name, admin = f"{self.proxy.db_name}_alone", self.proxy.admin
        return Visit(self.cluster, db_name, name, self.cluster, (f"{db_name}_other", ""), admin)

    def uri(self, transport: str) -> str:
        """Give the URI with the usual credential."""
        uri = self.proxy.uris["shop"]
        at = self.tls_uri("", "shop").removeprefix("mongodb://")
        return uri if transport == "tcp" else f"{uri.rpartition('@')[0]}@{at}"

    def tls_uri(self, who: str, db: str = "", options: str = "") -> str:
        """Give a URI over TLS; `who` as `name:password@`."""
        trust = f"tls=true&tlsCAFile={self.authority.path}"
        return f"mongodb://{who}localhost:{self.tls}/{db}?{trust}{options}"


@pytest.fixture(scope="module")
def doors(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    folder = tmp_path_factory.mktemp("doors")
    authority, port, admin = Authority(folder).made(), free_port(), free_port()
    authority.issue("/O=tests/CN=server", "DNS:localhost")
    clients = f"client_ca={authority.path}&client_certificates=optional"
    options = [
        *("--listen", f"tls://127.0.0.1:{port}?{clients}"),
        *("--tls-certificate", str(folder / "server.crt")),
        *("--tls-key", str(folder / "server.key")),
        *("--admin", f"127.0.0.1:{admin}"),
    ]
    with serving(mongo_uri, ROOT / "manifests", folder / "log", *options, **AT_ONCE) as proxy:
        try:
            yield Doors(proxy, mongo_uri, authority, port, f"http://127.0.0.1:{admin}/metrics")
        finally:
            for end in ("_alone", "_alone_other"):
                proxy.admin.drop_database(proxy.db_name + end)


def script(package: str, *command: str | Path) -> Callable[[Visit], dict[str, Any]]:
    """Give the visit of a program that prints what it saw as its last line."""

    def visited(visit: Visit) -> dict[str, Any]:
        done = subprocess.run(  # noqa: S603 - our own scripts
            [visit.uri if part == "URI" else part for part in (node_path(package), *command)],
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
    "node": script("mongodb", SCRIPTS / "visit_node.mjs"),
    "mongoose": script("mongoose", SCRIPTS / "visit_mongoose.mjs"),
    "mongosh": script(
        "mongosh", MONGOSH, "URI", "--quiet", "--norc", "--file", SCRIPTS / "visit_mongosh.js"
    ),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("client", CLIENTS)
def test_unchanged(doors: Doors, client: str, transport: str) -> None:
    name = f"{client}_{transport}"
    private = transport == "private"
    visit = doors.alone(name) if private else doors.visit(name, doors.uri(transport))
    listener = doors.proxy.address if transport == "tcp" else f"tls://127.0.0.1:{doors.tls}"
    arrivals = f'arrivals_total{{listener="{listener}",outcome="ok"}}'
    before = doors.counted(arrivals)
    check(client, visit)
    if not private:
        check_owners(client, visit)
        assert doors.counted(arrivals) > before


def check(client: str, visit: Visit) -> None:
    """What it must see, it sees; what is the other app's stays."""
    visit.plant()
    assert CLIENTS[client](visit) == visit.expected(client)
    assert visit.theirs() == 3 * [["theirs", 3, "theirs"], [1, 3, "a"]]


def check_owners(client: str, visit: Visit) -> None:
    """Everything that it stored carries its app, and lies in its app's collections."""
    owners = visit.stored()
    assert all(name.startswith("shop_") or "_" not in name for name in owners), owners
    assert set().union(*owners.values()) == {"shop", STRANGER}
    assert owners[f"shop_{visit.name}"] == {"shop", STRANGER}
    if "file" in visit.expected(client):
        assert owners["files"] == owners["chunks"] == {"shop", STRANGER}


@pytest.fixture(scope="module")
def credentials(doors: Doors) -> dict[str, str]:
    """Make what other mechanisms need; gives the URI of each."""
    cluster = {"MONGO_URI": doors.cluster, "MONGO_DB_NAME": doors.proxy.db_name}
    shown = f"&tlsCertificateKeyFile={doors.authority.issue('/O=tests/CN=card')}"
    create_credential("shop", "--x509-subject", "CN=card,O=tests", **cluster)
    made = create_credential("shop", "--plain", "--sha1", **cluster)
    who, external = f"{made['name']}:{quote(made['password'])}@", quote("$external")
    time.sleep(LEARNING_SECONDS)
    options = {
        "SCRAM-SHA-1": "&authMechanism=SCRAM-SHA-1&authSource=admin",
        "PLAIN": f"&authMechanism=PLAIN&authSource={external}",
        "MONGODB-X509": f"&authMechanism=MONGODB-X509&authSource={external}{shown}",
    }
    return {
        name: doors.tls_uri("" if name == "MONGODB-X509" else who, options=more)
        for name, more in options.items()
    }


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "PLAIN", "MONGODB-X509"])
@pytest.mark.parametrize("client", ["pymongo_async", "motor", "beanie", "mongoengine", "mongoose"])
def test_mechanisms(doors: Doors, credentials: dict[str, str], client: str, mechanism: str) -> None:
    visit = doors.visit(f"{client}_{mechanism}", credentials[mechanism])
    attempts = f'auth_attempts_total{{mechanism="{mechanism}",outcome="ok"}}'
    before = doors.counted(attempts)
    check(client, visit)
    check_owners(client, visit)
    assert doors.counted(attempts) > before


PYTHON = {"PyMongo": "pymongo", "Motor": "motor", "Beanie": "beanie", "MongoEngine": "mongoengine"}
NODE = {"Node driver": "mongodb", "Mongoose": "mongoose", "mongosh": "mongosh"}


def test_the_papers_name_the_clients_that_are_here() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    locked = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    versions = {label: version(name) for label, name in PYTHON.items()}
    versions |= {label: locked[f"node_modules/{name}"]["version"] for label, name in NODE.items()}
    inside = locked["node_modules/mongoose/node_modules/mongodb"]["version"]
    assert f"(its driver: {inside})" in text
    for label, number in versions.items():
        assert f"\n| {label} {number} " in text or f"\n| {label} {number}," in text, label
