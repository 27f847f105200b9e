"""Several hosts: clients that use both, and lose one; cursors of the other one, own and foreign."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import bson
import pytest
from pymongo import MongoClient

from tests.support import config
from tests.support.hosts import Counting, another
from tests.support.pages import PATIENCE_SECONDS, metric, page, soon
from tests.support.programs import ROOT, Program, create_credential
from tests.support.proxies import AT_ONCE, Client, Proxy, serving
from tests.support.servers import free_port
from tests.support.visitors import Visitor, batch, long

NOT_FOUND = 43
WORKERS = ("--workers", "2")


@dataclass(frozen=True, slots=True)
class Hosts:
    """Two proxies of the cluster `uri`; `both` has both, `there` the second alone."""

    proxy: Proxy
    second: str
    program: Program
    uri: str
    users: dict[str, str]

    def there(self, user: str) -> str:
        return self.users[user].replace(self.proxy.address, self.second)

    def both(self, user: str) -> str:
        return self.users[user].replace(self.proxy.address, f"{self.proxy.address},{self.second}")


@pytest.fixture(scope="module")
def hosts(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    folder = tmp_path_factory.mktemp("hosts")
    with (
        serving(mongo_uri, ROOT / "manifests", folder / "one", **AT_ONCE) as proxy,
        another(proxy, mongo_uri, folder / "two") as (address, running),
    ):
        cluster = {"MONGO_URI": mongo_uri, "MONGO_DB_NAME": proxy.db_name}
        made = create_credential("shop", "--name", "two", "--proxy", proxy.address, **cluster)
        users = {**proxy.uris, "two": str(made["uri"])}
        found = Hosts(proxy, address, running, mongo_uri, users)
        assert soon(lambda: knows(found.there("two")) and knows(users["two"]))
        yield found
        assert "Traceback" not in proxy.program.tail() + running.tail()


def knows(uri: str) -> bool:
    try:
        with Visitor(uri):
            return True
    except AssertionError:
        return False


def session() -> dict[str, Any]:
    return {"lsid": {"id": bson.Binary(uuid4().bytes, 4)}}


def opened(visitor: Visitor, name: str, db: str = "shop", **more: Any) -> bson.Int64:
    reply = visitor.ask({"find": name, "sort": {"_id": 1}, "batchSize": 2, "$db": db, **more})
    assert [each["_id"] for each in batch(reply)] == [0, 1]
    return long(reply["cursor"]["id"])


def filled(proxy: Proxy, name: str, app: str = "shop") -> None:
    documents = [{"_id": number, "app_id": app} for number in range(8)]
    proxy.behind[f"{app}_{name}"].insert_many(documents)


def more(number: int, name: str, db: str = "shop", **fields: Any) -> dict[str, Any]:
    return {"getMore": long(number), "collection": name, "batchSize": 2, "$db": db, **fields}


def refused(visitor: Visitor, command: dict[str, Any]) -> None:
    reply = visitor.ask(command)
    number = command["getMore"]
    assert (reply["code"], reply["errmsg"]) == (NOT_FOUND, f"cursor id {number} not found")
    assert set(reply) <= {"ok", "code", "codeName", "errmsg", "errorLabels"}


def test_a_cursor_goes_on_at_the_other_host(hosts: Hosts, name: str) -> None:
    filled(hosts.proxy, name)
    own = session()
    with Visitor(hosts.users["shop"]) as here, Visitor(hosts.there("shop")) as there:
        number = opened(here, name, **own)
        for turn, visitor in enumerate((there, here, there)):
            reply = visitor.ask(more(number, name, **own))
            assert [each["_id"] for each in batch(reply)] == [2 + 2 * turn, 3 + 2 * turn]
            assert reply["cursor"]["ns"] == f"shop.{name}"
            assert "app_id" not in str(reply)
        reply = here.ask(more(number, name, **own))
        assert reply.get("code") == NOT_FOUND or batch(reply) == []


def test_foreign_cursors(hosts: Hosts, name: str) -> None:
    """With the id, the name and even the session of the owner nobody else reads on."""
    for app in ("shop", "crm"):
        filled(hosts.proxy, name, app)
    own = session()
    with (
        Visitor(hosts.users["shop"]) as here,
        Visitor(hosts.there("shop")) as there,
        Visitor(hosts.there("two")) as colleague,
        Visitor(hosts.there("crm")) as stranger,
    ):
        number = opened(here, name, **own)
        lone = opened(here, name)
        for known in (number, lone):
            for fields in (own, session(), {}):
                refused(stranger, more(known, name, "crm", **fields))
                refused(stranger, more(known, f"shop_{name}", "crm", **fields))
                refused(colleague, more(known, name, **fields))
        refused(there, more(number, name, **session()))
        refused(there, more(number, name))
        refused(there, more(number, "other", **own))
        for fields in (own, session(), {}):
            refused(there, more(lone, name, **fields))
        refused(there, more(number, "$cmd.aggregate", **own))
        refused(there, more(number, f"$cmd.listIndexes.{name}", **own))
        # and nothing of it was disturbed
        assert len(batch(there.ask(more(number, name, **own)))) == 2
        assert len(batch(here.ask(more(lone, name)))) == 2


def test_cursors_on_views_and_what_waits(hosts: Hosts, name: str) -> None:
    filled(hosts.proxy, name)
    own = session()
    with (
        Visitor(hosts.users["shop"]) as here,
        Visitor(hosts.there("shop")) as there,
        Visitor(hosts.there("crm")) as stranger,
    ):
        view = {"create": f"v_{name}", "viewOn": name, "pipeline": [], "$db": "shop"}
        assert here.ask(view)["ok"]
        number = opened(here, f"v_{name}", **own)
        refused(stranger, more(number, f"v_{name}", "crm", **own))
        refused(there, more(number, name, **own))
        reply = there.ask(more(number, f"v_{name}", **own))
        assert [each["_id"] for each in batch(reply)] == [2, 3]
        ask = {"aggregate": name, "pipeline": [{"$changeStream": {}}], "cursor": {}, "$db": "shop"}
        stream = here.ask({**ask, **own})["cursor"]["id"]
        refused(stranger, {**more(stream, name, "crm", **own), "maxTimeMS": 100})
        assert here.ask({"insert": name, "documents": [{"_id": 99}], "$db": "shop"})["n"] == 1
        reply = there.ask({**more(stream, name, **own), "maxTimeMS": 2_000})
        (event,) = batch(reply)
        assert event["ns"] == {"db": "shop", "coll": name}
        assert event["fullDocument"] == {"_id": 99}
        whole = here.ask({**ask, "aggregate": 1, **own})["cursor"]["id"]
        reply = there.ask(more(whole, "$cmd.aggregate", **own))
        assert (reply["code"], reply["errorLabels"]) == (NOT_FOUND, ["ResumableChangeStreamError"])


def test_cursors_under_a_name_that_is_anothers(mongo_uri: str, tmp_path: Path) -> None:
    """`shop` asks for `eu_tasks`, which is a collection of the app `shop_eu`."""
    for slug in ("shop", "shop_eu"):
        (tmp_path / f"{slug}.json").write_text(f'{{"slug": "{slug}", "name": "{slug}"}}')
    own = session()
    with (
        serving(mongo_uri, tmp_path, tmp_path / "one", **AT_ONCE) as proxy,
        another(proxy, mongo_uri, tmp_path / "two", "--manifests", str(tmp_path)) as (address, _),
    ):
        filled(proxy, "tasks", "shop_eu")
        thief = proxy.uris["shop"].replace(proxy.address, address)
        with Visitor(proxy.uris["shop_eu"]) as owner, Visitor(thief) as visitor:
            number = opened(owner, "tasks", "shop_eu", **own)
            lone = opened(owner, "tasks", "shop_eu")
            for known in (number, lone):
                for fields in (own, session(), {}):
                    refused(visitor, more(known, "eu_tasks", **fields))
            assert len(batch(owner.ask(more(number, "tasks", "shop_eu", **own)))) == 2


def test_a_driver_with_both(hosts: Hosts, name: str) -> None:
    """Cursors with small batches, transactions, a change stream, wherever the driver goes."""
    client: Client
    with MongoClient(hosts.both("shop"), localThresholdMS=1_000) as client:
        things = client.shop[name]
        with things.watch(max_await_time_ms=200) as stream:
            for turn in range(12):
                with client.start_session() as own:
                    own.with_transaction(lambda s, turn=turn: [
                        things.insert_one({"_id": 10 * turn + n}, session=s) for n in range(5)
                    ])  # fmt: skip
                assert len(list(things.find(batch_size=2))) == 5 * (turn + 1)
            seen = [next(stream)["documentKey"]["_id"] for _ in range(60)]
        assert seen == [10 * turn + n for turn in range(12) for n in range(5)]
        assert {f"{host}:{port}" for host, port in client.nodes} == {
            hosts.proxy.address,
            hosts.second,
        }
    for uri in (hosts.proxy.uris["shop"], hosts.there("shop")):
        with MongoClient(uri) as client:
            assert client.shop[name].count_documents({}) == 60


def test_a_transaction_goes_on_at_the_other_host(hosts: Hosts, name: str) -> None:
    own = {**session(), "txnNumber": long(1), "autocommit": False}
    insert = {"insert": name, "$db": "shop", **own}
    with Visitor(hosts.users["shop"]) as here, Visitor(hosts.there("shop")) as there:
        first = here.ask({**insert, "documents": [{"_id": 1}], "startTransaction": True})
        assert first["n"] == 1
        assert there.ask({**insert, "documents": [{"_id": 2}]})["n"] == 1
        assert here.ask({"commitTransaction": 1, "$db": "admin", **own})["ok"]
    assert hosts.proxy.behind[f"shop_{name}"].distinct("_id") == [1, 2]


# Under load: no error with the drivers' defaults, nothing lost, nothing twice.


needs_node = pytest.mark.skipif(
    shutil.which("node") is None and not config.CI, reason="Node is not installed"
)


@needs_node
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "drained"])
def test_one_of_two_hosts_ends(
    hosts: Hosts, tmp_path: Path, name: str, number: signal.Signals, measured: Any
) -> None:
    with another(hosts.proxy, hosts.uri, tmp_path / "log", *WORKERS) as (address, running):
        uri = hosts.users["shop"].replace(hosts.proxy.address, f"{hosts.proxy.address},{address}")
        killed = number is signal.SIGKILL
        with Counting(hosts.proxy, uri, name, breaks=killed) as clients:
            os.kill(running.process.pid, number)
            code = running.process.wait(PATIENCE_SECONDS)
            assert code == (0 if number is signal.SIGTERM else -number)
            clients.more(10)
    measured(f"one of two hosts, {number.name}: {clients.check()}")


@needs_node
@pytest.mark.parametrize("event", ["worker", "reload"])
def test_one_host_goes_on(
    hosts: Hosts, tmp_path: Path, name: str, event: str, measured: Any
) -> None:
    port = free_port()
    admin = f"http://127.0.0.1:{port}"
    options = (*WORKERS, "--admin", f"127.0.0.1:{port}")
    with another(hosts.proxy, hosts.uri, tmp_path / "log", *options) as (address, running):
        uri = hosts.users["shop"].replace(hosts.proxy.address, address)
        pid = running.process.pid
        with Counting(hosts.proxy, uri, name, breaks=event == "worker") as clients:
            for turn in range(3):
                if event == "worker":
                    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                    os.kill(int(children[0]), signal.SIGKILL)
                    line, most = "mdb_proxy_workers_restarted_total", turn + 1
                else:
                    running.process.send_signal(signal.SIGHUP)
                    line, most = 'mdb_proxy_manifest_reloads_total{outcome="ok"}', turn + 1
                assert soon(
                    lambda line=line, most=most: metric(f"{admin}/metrics", line) >= most, 30
                )
                # one worker at a time: a driver repeats what failed once
                assert soon(lambda: page(f"{admin}/readyz")[0] == 200, 60)
                clients.more(5)
                time.sleep(1)
    measured(f"three times {event}: {clients.check()}")
