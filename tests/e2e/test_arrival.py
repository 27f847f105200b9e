"""A proxy that starts before its cluster, outlives it, and serves again when it comes back."""

import signal
import time
from ast import literal_eval
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from tests.support.pages import PATIENCE_SECONDS, page, soon
from tests.support.programs import ROOT, Program, create_credential, program
from tests.support.replicas import Member, ReplicaSet, replica_set
from tests.support.servers import free_port
from tests.support.visitors import Visitor

DB = "arrival"
OVERLOADED = 462
Client = MongoClient[dict[str, Any]]


class Stage:
    """One member that comes and goes, and where the proxy is to be."""

    def __init__(self, replicas: ReplicaSet, folder: Path) -> None:
        self.replicas, self.log = replicas, folder / "proxy.log"
        self.port, self.admin = free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.cluster = {"MONGO_URI": replicas.uri, "MONGO_DB_NAME": DB}
        made = create_credential("shop", "--proxy", self.address, **self.cluster)
        self.uri = str(made["uri"])

    @property
    def member(self) -> Member:
        return self.replicas.members[0]

    def page(self, name: str) -> tuple[int, str]:
        return page(f"http://127.0.0.1:{self.admin}/{name}")

    def come(self) -> None:
        """Have the cluster start, with what it had."""
        self.member.start()

    @contextmanager
    def proxy(self, workers: int) -> Iterator[Program]:
        with program(self.command(workers), self.log, **self.cluster) as running:
            assert running.line() == f"listening on {self.address}"
            yield running
        assert "Traceback" not in running.tail()

    def command(self, workers: int) -> list[str]:
        ports = ("--listen", self.address, "--admin", f"127.0.0.1:{self.admin}")
        folder = str(ROOT / "manifests")
        return ["mdb-proxy", "serve", "--manifests", folder, *ports, "--workers", str(workers)]


@pytest.fixture(scope="module")
def stage(folder_of: Path) -> Iterator[Stage]:
    with replica_set(folder_of, members=1) as replicas:
        yield Stage(replicas, folder_of)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arrival")


@pytest.fixture(autouse=True)
def gone(stage: Stage) -> None:
    """The cluster is away when a test begins."""
    stage.member.kill()


def patient(stage: Stage, **options: Any) -> float:
    """Ask as a driver does by itself; gives how long it took."""
    began = time.monotonic()
    client: Client
    with MongoClient(stage.uri, **options) as client:
        client.shop.tasks.insert_one({})
    return time.monotonic() - began


@pytest.mark.parametrize(("workers", "seconds"), [(1, 12), (2, 0)])
def test_the_proxy_first(stage: Stage, workers: int, seconds: int, measured: Any) -> None:
    with stage.proxy(workers) as running, ThreadPoolExecutor() as pool:
        assert stage.page("livez") == (200, "ok\n")
        status, reason = stage.page("readyz")
        assert (status, reason.split(":")[0]) == (503, "not ready")
        assert {"primary", "stores"} <= set(reason.removeprefix("not ready: ").split(", "))
        anybody: Client
        with MongoClient(stage.address) as anybody:
            assert anybody.admin.command("hello")["msg"] == "isdbgrid"
        asked = pool.submit(patient, stage)
        time.sleep(seconds)
        stage.come()
        took = asked.result(60)
        measured(f"the cluster {seconds} s late, {workers} workers: served after {took:.1f} s")
        assert soon(lambda: stage.page("readyz")[0] == 200, PATIENCE_SECONDS), running.tail()
        with stage.replicas.client() as behind:
            assert behind[DB].shop_tasks.find_one({"app_id": "shop"}) is not None
        assert running.stop() == 0


def test_a_login_that_waits_too_long_is_told_to_come_again(stage: Stage) -> None:
    with stage.proxy(1):
        began = time.monotonic()
        with pytest.raises(AssertionError) as caught, Visitor(stage.uri):
            pass
        assert time.monotonic() - began > 5
        reply = literal_eval(str(caught.value).splitlines()[0])
        assert (reply["ok"], reply["code"]) == (0.0, OVERLOADED)
        assert set(reply["errorLabels"]) == {"SystemOverloadedError", "RetryableError"}
        assert reply["baseBackoffMS"] > 0


@pytest.mark.parametrize("workers", [1, 2])
def test_nobody_waits_for_the_cluster_at_the_end(stage: Stage, workers: int) -> None:
    with stage.proxy(workers) as running, ThreadPoolExecutor() as pool:
        asked = pool.submit(patient, stage, serverSelectionTimeoutMS=2_000)
        time.sleep(1)
        began = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE_SECONDS) == 0
        assert time.monotonic() - began < 5
        with pytest.raises(PyMongoError):
            asked.result(60)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_cluster_leaves_and_comes_back(stage: Stage, workers: int) -> None:
    stage.come()
    stage.replicas.settle()
    options: dict[str, Any] = {"serverSelectionTimeoutMS": 60_000}
    client: Client
    with stage.proxy(workers) as running, MongoClient(stage.uri, **options) as client:
        client.shop.kept.insert_one({"_id": workers}, comment="before")
        stage.member.kill()
        assert soon(lambda: stage.page("readyz")[0] == 503, PATIENCE_SECONDS)
        with Visitor(stage.uri) as late:  # the last copy knows who may log in
            began = time.monotonic()
            insert = {"insert": "kept", "documents": [{}], "$db": "shop", "maxTimeMS": 2_000}
            reply = late.ask({**insert, **_retryable()})
            assert (reply["code"], reply["errorLabels"]) == (6, ["RetryableWriteError"])
            assert time.monotonic() - began < 15
        with (
            pytest.raises(OperationFailure) as caught,
            MongoClient(stage.uri.replace("shop:", "shop:not"), **options) as stranger,
        ):
            stranger.shop.kept.find_one()
        assert caught.value.code == 18
        stage.come()
        assert soon(lambda: stage.page("readyz")[0] == 200, 60), running.tail()
        assert client.shop.kept.find_one({"_id": workers}) == {"_id": workers}


def _retryable() -> dict[str, Any]:
    import bson  # noqa: PLC0415

    return {"lsid": {"id": bson.Binary(bytes(16), 4)}, "txnNumber": bson.Int64(1)}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cluster_that_comes_and_refuses_us(stage: Stage, workers: int) -> None:
    stage.cluster["MONGO_URI"] = stage.replicas.uri.replace("//", "//some:body@")
    try:
        with program(stage.command(workers), stage.log, **stage.cluster) as running:
            assert running.line() == f"listening on {stage.address}"
            stage.come()
            assert running.process.wait(60) == 4
            assert "refused the login of user some" in running.tail()
    finally:
        stage.cluster["MONGO_URI"] = stage.replicas.uri
