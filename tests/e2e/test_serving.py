"""The life of a proxy: its start, its admin port, clients that leave, credentials, its end."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pymongo import CursorType
from pymongo.errors import OperationFailure

from tests.support import config
from tests.support.pages import PATIENCE_SECONDS, SECONDS, page, soon
from tests.support.programs import ROOT, program, run
from tests.support.proxies import Client, Proxy, serving
from tests.support.servers import free_port


@pytest.fixture(scope="module")
def admin(free: int) -> str:
    return f"http://127.0.0.1:{free}"


@pytest.fixture(scope="module")
def free() -> int:
    return free_port()


@pytest.fixture(scope="module")
def own(mongo_uri: str, free: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Run a proxy that these tests may treat badly."""
    log = tmp_path_factory.mktemp("own") / "stderr.log"
    with serving(mongo_uri, ROOT / "manifests", log, "--admin", f"127.0.0.1:{free}") as running:
        yield running


def running(proxy: Proxy, collection: str, op: str) -> bool:
    """Whether the cluster is at such an operation on a collection of ours."""
    found = proxy.admin.admin.command("currentOp", {"active": True})["inprog"]
    name = f"{proxy.db_name}.{collection}"
    return any((each.get("ns"), each["op"]) == (name, op) for each in found)


SLOW = """
import os
from pymongo import MongoClient
inner = [{"$match": {"$expr": {"$gt": ["$_id", "$$a"]}}}, {"$count": "n"}]
join = {"from": "slow", "let": {"a": "$_id"}, "pipeline": inner, "as": "x"}
list(MongoClient(os.environ["URI"]).shop.slow.aggregate([{"$lookup": join}]))
"""


def tail(client: Client, seconds: int) -> list[Any]:
    """Read, then wait for a document that nobody writes."""
    cursor = client.shop.drained.find(cursor_type=CursorType.TAILABLE_AWAIT)
    return list(cursor.max_await_time_ms(seconds * 1000))


def test_the_admin_pages(own: Proxy, admin: str) -> None:
    with own.client("shop") as client:
        client.shop.admin_pages.insert_one({})
        with pytest.raises(OperationFailure):
            client.shop.admin_pages.find_one({"$where": "true"})
        assert page(f"{admin}/livez") == (200, "ok\n")
        assert page(f"{admin}/readyz") == (200, "ok\n")
        status, body = page(f"{admin}/healthz")
        assert (status, json.loads(body)["status"]) == (200, "healthy")
        status, body = page(f"{admin}/metrics")
        for line in (
            'mdb_proxy_commands_total{app="shop",command="insert",outcome="ok"} 1.0',
            'mdb_proxy_blocked_total{app="shop",reason="BadValue"} 1.0',
            'mdb_proxy_auth_attempts_total{mechanism="SCRAM-SHA-256",outcome="ok"}',
            'mdb_proxy_client_connections{app="crm"} 0.0',
            'mdb_proxy_backend_up{backend="',
            'mdb_proxy_backend_duration_seconds_count{command="insert"}',
            'mdb_proxy_arrivals_total{listener="',
            "mdb_proxy_build_info{version=",
        ):
            assert line in body
    assert page(f"{admin}/nothing")[0] == 404


def test_who_leaves_stops_what_was_asked(own: Proxy) -> None:
    with own.client("shop") as client:
        client.shop.slow.insert_many([{"_id": number} for number in range(10_000)])
    process = subprocess.Popen(  # noqa: S603 - our own text
        [sys.executable, "-c", SLOW], env=config.environment(URI=own.uris["shop"])
    )
    try:
        assert soon(lambda: running(own, "shop_slow", "command"))
    finally:
        process.kill()
        process.wait()
    assert soon(lambda: not running(own, "shop_slow", "command"))


def test_what_wants_no_answer_is_done_all_the_same(own: Proxy) -> None:
    with own.client("shop", w=0) as client:
        for number in range(200):
            client.shop.unheard.insert_one({"_id": number})
    assert soon(lambda: own.behind.shop_unheard.count_documents({}) == 200)


def test_a_credential_that_is_disabled(own: Proxy) -> None:
    stored = own.behind["_mdb_engine_credentials"]
    with own.client("crm") as client:
        client.crm.tasks.find_one()
        stored.update_one({"_id": "crm"}, {"$set": {"disabled": True}})
        try:
            assert soon(lambda: is_refused(client))
        finally:
            stored.update_one({"_id": "crm"}, {"$set": {"disabled": False}})


def is_refused(client: Client) -> bool:
    try:
        client.crm.tasks.find_one()
    except OperationFailure as error:
        return error.code == 18
    return False


def test_a_port_that_is_taken(own: Proxy, mongo_uri: str) -> None:
    again = ["serve", "--manifests", str(ROOT / "manifests"), "--listen", own.address]
    done = run("mdb-proxy", *again, MONGO_URI=mongo_uri, MONGO_DB_NAME=own.db_name)
    assert done.returncode == 1
    assert "address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def hears(pid: int, number: signal.Signals) -> bool:
    """Whether a process has something of its own to do at a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> number - 1 & 1)


def test_nobody_waits_for_a_start_that_is_no_longer_wanted(tmp_path: Path) -> None:
    uri = f"mongodb://127.0.0.1:{free_port()}"
    command = ["mdb-proxy", "serve", "--manifests", str(ROOT / "manifests"), "--listen", ":0"]
    with program(command, tmp_path / "log", MONGO_URI=uri) as starting:
        assert soon(lambda: hears(starting.process.pid, signal.SIGTERM), PATIENCE_SECONDS)
        assert starting.process.poll() is None, starting.tail()
        began = time.monotonic()
        assert starting.stop() == 0
        assert time.monotonic() - began < SECONDS


def test_the_end_waits_for_answers(own: Proxy, admin: str) -> None:
    """The last one: the proxy is gone afterwards."""
    with own.client("shop") as client, ThreadPoolExecutor() as pool:
        client.shop.create_collection("drained", capped=True, size=4096)
        client.shop.drained.insert_one({"_id": 1})
        asked = pool.submit(tail, client, 3)
        assert soon(lambda: running(own, "shop_drained", "getmore"))
        own.program.process.send_signal(signal.SIGTERM)
        assert soon(lambda: page(f"{admin}/readyz") == (503, "not ready: serving\n"))
        assert len(asked.result(2 * SECONDS)) == 1
        assert own.program.process.wait(SECONDS) == 0
        assert "Traceback" not in own.program.tail()
