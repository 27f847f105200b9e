"""The real MongoDB that the tests use: one for the whole run, from wherever there is one.

The order: MDB_TEST_URI, Docker, the embedded server, mongod on PATH.
"""

import contextlib
import gc
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from mdb_cli.embedded import embedded_server
from mdb_cli.mongod import EmbeddedError
from tests.support import config

IMAGE = "mongo:8"
READY_SECONDS = 60


class NoServerError(Exception):
    """There is no MongoDB to test with."""


@contextmanager
def any_server(folder: Path) -> Iterator[str]:
    """Give the URI of a replica set; what was started for it is stopped afterwards.

    Raises:
        NoServerError: each way was tried; says why each failed.
    """
    sources: dict[str, Callable[[], object]] = {
        "Docker": lambda: stack.enter_context(container()),
        "embedded": lambda: stack.enter_context(embedded_server(folder)).uri,
    }
    with ExitStack() as stack:
        yield config.SERVER or _first(sources)


def _first(sources: dict[str, Callable[[], object]]) -> str:
    reasons = []
    for name, start in sources.items():
        try:
            return str(start())
        except (EmbeddedError, NoServerError) as error:
            reasons.append(f"{name}: {error}")
    raise NoServerError("there is no MongoDB to test with; " + "; ".join(reasons))


@contextmanager
def container() -> Iterator[str]:
    """Run the image as a replica set of one, under the same port inside and outside."""
    _ask_docker()
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - seldom there

    port = free_port()
    mongo = DockerContainer(IMAGE).with_bind_ports(port, port)
    mongo.with_command(f"--replSet rs0 --bind_ip_all --port {port}").start()
    try:
        initiate(port)
        yield f"mongodb://127.0.0.1:{port}/?replicaSet=rs0"
    finally:
        mongo.stop()


def _ask_docker() -> None:
    """Ask whether Docker answers; its client leaves a socket behind when it does not."""
    if not config.DOCKER:
        raise NoServerError("no Docker here")
    import docker  # noqa: PLC0415 - slow to load, and seldom there
    from docker.errors import DockerException  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            with contextlib.closing(docker.from_env(timeout=2)) as client:
                client.ping()
        except DockerException as error:
            reason = str(error)
        else:
            return
        gc.collect()
    raise NoServerError(f"Docker does not answer: {reason}")


def initiate(port: int) -> None:
    """Make a fresh mongod a replica set of one and wait until it takes writes."""
    address = f"127.0.0.1:{port}"
    deadline = time.monotonic() + READY_SECONDS
    initiated = False
    with MongoClient(address, directConnection=True, serverSelectionTimeoutMS=500) as client:
        while time.monotonic() < deadline:
            try:
                if not initiated:
                    members = [{"_id": 0, "host": address}]
                    client.admin.command("replSetInitiate", {"_id": "rs0", "members": members})
                    initiated = True
                if client.admin.command("hello").get("isWritablePrimary"):
                    return
            except PyMongoError:
                pass
            time.sleep(0.05)
    raise NoServerError(f"{IMAGE} did not become ready")


def free_port() -> int:
    """Give a port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
