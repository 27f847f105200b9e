"""Runs `mdb-proxy serve` in front of the test server, with a physical database of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from pymongo import MongoClient

from tests.support.programs import Program, create_credential, program
from tests.support.servers import free_port

Client = MongoClient[dict[str, Any]]
SELECTION_MS = 10_000
AT_ONCE = {"MDB_PROXY_SETTLE_SECONDS": "0"}
"""For `serving` where nobody else uses the cluster."""


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

    def client(self, slug: str, **options: Any) -> Client:
        """Give an unchanged client of an app."""
        return MongoClient(self.uris[slug], **{"serverSelectionTimeoutMS": SELECTION_MS, **options})


@contextmanager
def serving(
    mongo_uri: str,
    manifests: Path,
    log: Path,
    *options: str,
    behind: str = "",
    port: int | None = None,
    **settings: str,
) -> Iterator[Proxy]:
    """Run the proxy with the manifests of a folder and a credential for each of them.

    `behind` is the cluster's URI for the test itself, when the proxy goes another way; `port` 0
    has the proxy take a free one; `settings` are variables of its environment.
    """
    db_name = f"e2e_{uuid4().hex[:12]}"
    port = free_port() if port is None else port
    address = f"127.0.0.1:{port}"
    cluster = {"MONGO_URI": mongo_uri, "MONGO_DB_NAME": db_name, **settings}
    slugs = sorted(path.stem for path in manifests.glob("*.json"))
    command = ["mdb-proxy", "serve", "--manifests", str(manifests), "--listen", address, *options]
    admin: Client
    with MongoClient(behind or mongo_uri, serverSelectionTimeoutMS=SELECTION_MS) as admin:
        try:
            made = {
                slug: create_credential(slug, "--proxy", address, **cluster)["uri"]
                for slug in slugs
            }
            with program(command, log, **cluster) as running:
                taken = running.line().removeprefix("listening on 127.0.0.1:")
                assert int(taken) == port or not port
                uris = {
                    slug: uri.replace(address, f"127.0.0.1:{taken}") for slug, uri in made.items()
                }
                yield Proxy("127.0.0.1", int(taken), uris, admin, db_name, running)
        finally:
            admin.drop_database(db_name)
