"""A replica set of several real mongods that tests may step down, kill and start again."""

import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from os import getpid
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from mdb_cli import leash
from mdb_cli.mongod import find_mongod

Client = MongoClient[dict[str, Any]]
HOST = "127.0.0.1"
DEADLINE = 90
ELECTION_MS = 2_000
EXCEEDED_TIME_LIMIT = 262
LASTING = (20_000, 32_000)
"""Ports below those that the kernel gives to clients (ip_local_port_range)."""

SMALL = (
    "--nounixsocket",
    "--quiet",
    "--wiredTigerCacheSizeGB=0.25",
    "--oplogSize=50",
    "--setParameter=diagnosticDataCollectionEnabled=false",
)


def lasting_port() -> int:
    """Give a free port that no outgoing connection can take while its member is dead."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, random.randrange(*LASTING)))  # noqa: S311 - no secret
            return int(probe.getsockname()[1])


def until(holds: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
    """Wait until it holds; errors of the driver count as not yet.

    Raises:
        AssertionError: it did not in that time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(PyMongoError):
            if holds():
                return
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds:g} s")


@dataclass(slots=True)
class Member:
    """One mongod: where it listens and keeps its files; `process` while it runs."""

    folder: Path
    port: int
    options: Sequence[str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Give `host:port`."""
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        """Run it, tied to the life of this process."""
        (self.folder / "db").mkdir(parents=True, exist_ok=True)
        where = [f"--dbpath={self.folder / 'db'}", f"--port={self.port}", f"--bind_ip={HOST}"]
        log = f"--logpath={self.folder / 'log'}"
        self.process = subprocess.Popen(  # noqa: S603 - the test server
            [
                *(sys.executable, "-I", "-S", leash.__file__, str(getpid())),
                *(find_mongod(), *where, log, *SMALL, *self.options),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        """End it without a word, as a power cut does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def said(self) -> dict[str, Any]:
        """Give what it says of itself, or why it does not."""
        try:
            with self.client() as client:
                return client.admin.command("hello")
        except PyMongoError as error:
            ended = self.process and self.process.poll()
            return {"error": str(error)[:200], "ended": ended}

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it do nothing at all, its sockets stay open: a machine that hangs."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def client(self, **options: Any) -> Client:
        """Give a client of this member alone."""
        return MongoClient(
            self.address,
            directConnection=True,
            serverSelectionTimeoutMS=2_000,
            connectTimeoutMS=2_000,
            **options,
        )


def _stepped_down(client: Client) -> bool:
    """Ask it; its secondaries may be too far behind, on a busy machine."""
    try:
        client.admin.command("replSetStepDown", 5, secondaryCatchUpPeriodSecs=4)
    except OperationFailure as error:
        if error.code != EXCEEDED_TIME_LIMIT:
            raise
        return False
    return True


@dataclass(slots=True)
class ReplicaSet:
    """The members, and what a client of the operator needs to reach them."""

    members: list[Member]
    credentials: dict[str, Any] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """Give the URI of the whole set."""
        return f"mongodb://{','.join(each.address for each in self.members)}/?replicaSet=rs0"

    def client(self, **options: Any) -> Client:
        """Give a client of the whole set."""
        return MongoClient(self.uri, serverSelectionTimeoutMS=30_000, **options)

    @property
    def primary(self) -> Member:
        """Give the member that takes writes now; waits for one."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            said = [each.said() for each in self.members]
            for each, hello in zip(self.members, said, strict=True):
                if hello.get("isWritablePrimary"):
                    return each
            time.sleep(0.02)
        raise AssertionError(f"no primary within {DEADLINE} s: {said}")

    def step_down(self) -> Member:
        """Make the primary a secondary; give it."""
        before = self.primary
        with before.client() as client:
            until(lambda: _stepped_down(client), "a secondary to catch up")
        return before

    def initiate(self) -> None:
        """Make the mongods one set; the first becomes primary."""
        first, *_ = self.members
        members = [
            {"_id": number, "host": each.address, "tags": {"number": str(number)}}
            for number, each in enumerate(self.members)
        ]
        for each in self.members:
            with each.client() as client:
                until(lambda c=client: c.admin.command("ping"), f"{each.address} to answer")
        settings = {"electionTimeoutMillis": ELECTION_MS, "heartbeatIntervalMillis": 500}
        config = {"_id": "rs0", "members": members, "settings": settings}
        with first.client() as client:
            client.admin.command("replSetInitiate", config)
        self.settle()

    def settle(self) -> None:
        """Wait until there is a primary and everybody else follows it."""

        def settled() -> bool:
            with self.primary.client() as client:
                states = [
                    m["stateStr"] for m in client.admin.command("replSetGetStatus")["members"]
                ]
            return sorted(states) == ["PRIMARY"] + ["SECONDARY"] * (len(self.members) - 1)

        until(settled, "all members to follow")


@contextmanager
def replica_set(
    folder: Path, members: int = 3, options: Sequence[str] = ()
) -> Iterator[ReplicaSet]:
    """Run so many mongods as one set; nothing of them is left."""
    made = ReplicaSet(
        [
            Member(folder / str(number), lasting_port(), ("--replSet=rs0", *options))
            for number in range(members)
        ]
    )
    try:
        for each in made.members:
            each.start()
        made.initiate()
        yield made
    finally:
        for each in made.members:
            each.kill()
