"""Several proxies in front of one cluster, and clients that count what they were told."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.support.loads import Worker, codes, load
from tests.support.pages import PATIENCE_SECONDS
from tests.support.programs import ROOT, Program, program
from tests.support.proxies import AT_ONCE, Proxy
from tests.support.servers import free_port

SCRIPT = Path(__file__).with_name("node_load.mjs")
THREADS = 3


@contextmanager
def another(
    proxy: Proxy, mongo_uri: str, log: Path, *options: str
) -> Iterator[tuple[str, Program]]:
    """Run one more proxy for the same apps; gives its address."""
    address = f"127.0.0.1:{free_port()}"
    cluster = {"MONGO_URI": mongo_uri, "MONGO_DB_NAME": proxy.db_name, **AT_ONCE}
    command = ["mdb-proxy", "serve", "--manifests", str(ROOT / "manifests"), "--listen", address]
    with program([*command, *options], log, **cluster) as running:
        assert running.line() == f"listening on {address}"
        yield address, running


class Node:
    """The same load by another driver, in a process of its own."""

    def __init__(self, uri: str, name: str, threads: int) -> None:
        self.name, self.said = name, {"errors": ["it said nothing"]}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(  # noqa: S603 - our own script
            ["node", SCRIPT, uri, name, str(threads)],  # noqa: S607 - as installed
            cwd=ROOT,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
        )

    def begin(self) -> None:
        """Wait until it works."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "going\n", self.process.communicate()[1]

    def end(self) -> None:
        """Have it stop and say what it was told."""
        said, errors = self.process.communicate(timeout=PATIENCE_SECONDS)
        assert said, errors
        self.said: dict[str, Any] = json.loads(said.splitlines()[-1])


class Counting:
    """Clients of both drivers under load; `check` compares what they were told with what is there.

    Node's driver (7.9) repeats only the first of several writes whose connections break together,
    so where a process is killed it writes one at a time.

    Attributes:
        more: waits until each of PyMongo's has done so many rounds more.
    """

    def __init__(self, proxy: Proxy, uri: str, name: str, *, breaks: bool) -> None:
        self._proxy, self._uri = proxy, uri
        self._names = [f"{name}-{number}" for number in range(THREADS)]
        self._node = Node(uri, f"{name}-node", 1 if breaks else THREADS)

    def __enter__(self) -> "Counting":
        from pymongo import MongoClient  # noqa: PLC0415 - the unchanged driver, with its defaults

        self._stack = ExitStack()
        clients = [self._stack.enter_context(MongoClient(self._uri)) for _ in self._names]
        pairs = zip(self._names, clients, strict=True)
        self.workers = [Worker(name, client) for name, client in pairs]
        self.more = self._stack.enter_context(load(self.workers))
        self._node.begin()
        self.more(3)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._node.end()

    @property
    def rounds(self) -> int:
        return sum(worker.rounds for worker in self.workers) + int(self._node.said["rounds"])

    @property
    def slowest(self) -> float:
        return max([*(w.slowest for w in self.workers), float(self._node.said["slowest"])])

    def check(self) -> str:
        """No error, nothing lost, nothing done twice; gives the figures."""
        said = self._node.said
        assert said["errors"] == [], said["errors"]
        behind = self._proxy.behind
        told = {each.name: (each.acknowledged, each.steps) for each in self.workers}
        for worker in self.workers:
            assert worker.errors == [], codes(worker.errors)
        told[said["name"]] = (said["acknowledged"], said["steps"])
        for name, (acknowledged, steps) in told.items():
            pattern = {"_id": {"$regex": f"^{name}-"}}
            stored = behind.shop_load.distinct("_id", pattern)
            assert sorted(stored) == sorted(acknowledged), name
            assert behind.shop_counts.find_one({"_id": name})["n"] == steps, name
        documents = sum(len(acknowledged) for acknowledged, _ in told.values())
        return f"{self.rounds} rounds, {documents} documents, pause {self.slowest:.1f} s"
