"""Two proxies of one cluster: behind a real HAProxy, or both in one URI; and as a replica set."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from pymongo import MongoClient, ReadPreference
from pymongo.errors import ConfigurationError

from tests.support import config
from tests.support.balancers import haproxy
from tests.support.node import run_node
from tests.support.pages import metric, soon
from tests.support.programs import ROOT, program
from tests.support.proxies import AT_ONCE, Client, Proxy, serving
from tests.support.replicas import lasting_port

ROWS, BATCH, THREADS = 500, 50, 8
BEHIND = "presentation=loadbalanced&proxy_protocol=true&trusted=127.0.0.1"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two proxies: each with a plain listener, one for the balancer and one as a replica set.

    Attributes:
        others: address of the second one's plain listener. balanced: of HAProxy, "" for none.
        sets: where each is a replica set. pages: where each shows its numbers.
    """

    proxy: Proxy
    second: str
    ports: tuple[int, int]
    sets: tuple[int, int]
    pages: tuple[str, str]

    def uri(self, places: str, options: str = "") -> str:
        """Give the app's URI elsewhere."""
        return self.proxy.uris["shop"].replace(self.proxy.address, places) + options


@pytest.fixture(scope="module", params=["1", "2"], ids=["one process", "two processes"])
def pair(
    request: pytest.FixtureRequest, mongo_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    ports, sets, admins = ((lasting_port(), lasting_port()) for _ in range(3))

    def options(number: int) -> list[str]:
        return [
            *("--listen", f"tcp://127.0.0.1:{ports[number]}?{BEHIND}"),
            *("--listen", f"tcp://127.0.0.1:{sets[number]}?presentation=replicaset:apps"),
            *("--admin", f"127.0.0.1:{admins[number]}", "--workers", request.param),
        ]

    with (
        ExitStack() as stack,
        serving(mongo_uri, ROOT / "manifests", folder / "1", *options(0), **AT_ONCE) as proxy,
    ):
        second = f"127.0.0.1:{lasting_port()}"
        command = ["mdb-proxy", "serve", "--manifests", str(ROOT / "manifests")]
        behind = {"MONGO_URI": mongo_uri, "MONGO_DB_NAME": proxy.db_name, **AT_ONCE}
        command += ["--listen", second, *options(1)]
        stack.enter_context(program(command, folder / "2", **behind)).line()
        pages = tuple(f"http://127.0.0.1:{each}/metrics" for each in admins)
        yield Pair(proxy, second, ports, sets, (pages[0], pages[1]))


@pytest.fixture(scope="module")
def balanced(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with haproxy(tmp_path_factory.mktemp("haproxy"), pair.ports) as port:
        yield pair.uri(f"127.0.0.1:{port}", "?loadBalanced=true")


def use(client: Client, name: str) -> None:
    """What an app does: writes, cursors of many batches side by side, transactions."""
    found = client.shop[name]
    found.insert_many([{"_id": n} for n in range(ROWS)])

    def read(number: int) -> None:
        for _ in range(5):
            rows = found.find({"_id": {"$gte": number}}, batch_size=BATCH)
            assert sum(1 for _ in rows) == ROWS - number
            found.update_one({"_id": number}, {"$inc": {"n": 1}})
            with client.start_session() as session, session.start_transaction():
                found.update_one({"_id": number}, {"$inc": {"n": 1}}, session=session)
                assert found.count_documents({}, session=session) == ROWS

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(read, range(THREADS)))
    assert [row["n"] for row in found.find({"n": {"$gt": 0}})] == THREADS * [10]


def watch(client: Client, name: str) -> None:
    """A change stream hears of what others write."""
    found = client.shop[name]
    with found.watch() as stream, ThreadPoolExecutor(1) as threads:
        written = threads.submit(lambda: [found.insert_one({"w": n}) for n in range(5)])
        assert [next(stream)["fullDocument"]["w"] for _ in range(5)] == list(range(5))
        written.result()


def test_behind_haproxy(pair: Pair, balanced: str, name: str) -> None:
    with MongoClient(balanced, maxPoolSize=THREADS + 2) as client:
        use(client, name)
        watch(client, name)
        assert client.topology_description.topology_type_name == "LoadBalanced"
        assert client.admin.command("whatsmyuri")["you"].startswith("127.0.0.1:")
        client.shop[name].drop()
    for page, port in zip(pair.pages, pair.ports, strict=True):
        assert metric(page, f'mdb_proxy_arrivals_total{{listener="127.0.0.1:{port}",outcome="ok"}}')


NODE = """
  const client = await new MongoClient(process.env.URI, {maxPoolSize: 8}).connect();
  const found = client.db('shop').collection(process.env.NAME);
  await found.insertMany(Array.from({length: 500}, (_, n) => ({_id: n})));
  const read = async () => (await found.find({}, {batchSize: 50}).toArray()).length;
  said.read = await Promise.all([read(), read(), read(), read()]);
  const session = client.startSession();
  await session.withTransaction(async () => {
    await found.updateOne({_id: 1}, {$inc: {n: 1}}, {session});
    await found.updateOne({_id: 2}, {$inc: {n: 1}}, {session});
  });
  await session.endSession();
  const stream = found.watch();
  const heard = stream.next();
  await new Promise((resolve) => setTimeout(resolve, 500));
  await found.insertOne({_id: 1000});
  said.heard = (await heard).documentKey._id;
  await stream.close();
  said.changed = await found.countDocuments({n: 1});
  said.kind = client.topology.description.type;
  await found.drop();
  await client.close();
"""
DONE = {"read": 4 * [500], "heard": 1000, "changed": 2}


def test_node_behind_haproxy(balanced: str, name: str) -> None:
    assert run_node(NODE, URI=balanced, NAME=name) == DONE | {"kind": "LoadBalanced"}


LEAVING = """
import os, sys
from pymongo import MongoClient
client = MongoClient(os.environ["URI"])
found = client.shop[os.environ["NAME"]]
cursor = found.find({}, batch_size=2, session=client.start_session())
next(cursor)
session = client.start_session()
session.start_transaction()
found.insert_one({}, session=session)
print("ready", flush=True)
sys.stdin.read()
os._exit(0)
"""


def test_what_a_connection_held_ends_with_it(pair: Pair, balanced: str, name: str) -> None:
    def held() -> list[Any]:
        stages = [{"$currentOp": {"idleCursors": True, "idleSessions": True}}]
        mine = f"{pair.proxy.db_name}.shop_{name}"
        ops = pair.proxy.admin.admin.aggregate(stages)
        return [op for op in ops if op.get("ns") == mine or "transaction" in op]

    with pair.proxy.client("shop") as client:
        client.shop[name].insert_many([{"_id": n} for n in range(ROWS)])
        variables = config.environment(URI=balanced, NAME=name)
        pipe = subprocess.PIPE
        with subprocess.Popen(  # noqa: S603 - our own text
            [sys.executable, "-c", LEAVING], env=variables, stdin=pipe, stdout=pipe, text=True
        ) as leaving:
            assert leaving.stdout is not None
            assert leaving.stdout.readline() == "ready\n"
            assert len(held()) >= 2
            # another client of the same app and address stays: that changes nothing
            leaving.kill()
        began = time.monotonic()
        assert soon(lambda: not held(), 5), held()
        assert time.monotonic() - began < 1.5, "at once, not when the server's patience is over"
        client.shop[name].drop()


def test_without_a_balancer(pair: Pair, name: str) -> None:
    with MongoClient(
        pair.uri(f"{pair.proxy.address},{pair.second}"), maxPoolSize=THREADS
    ) as client:
        use(client, name)
        watch(client, name)
        assert len(client.nodes) == 2
        client.shop[name].drop()


def test_who_does_not_say_it_finds_a_mongos(pair: Pair, balanced: str, name: str) -> None:
    with MongoClient(balanced.partition("?")[0]) as client:
        client.shop[name].insert_one({})
        assert client.is_mongos
        client.shop[name].drop()
    with (
        MongoClient(pair.uri(pair.proxy.address, "?loadBalanced=true")) as client,
        pytest.raises(ConfigurationError, match="does not support this mode"),
    ):
        client.shop[name].find_one()


# A replica set of one.


def test_a_replica_set(pair: Pair, name: str) -> None:
    uri = pair.uri(f"127.0.0.1:{pair.sets[0]}", "?replicaSet=apps")
    with MongoClient(uri, maxPoolSize=THREADS) as client:
        use(client, name)
        watch(client, name)
        assert client.topology_description.topology_type_name == "ReplicaSetWithPrimary"
        assert client.primary == ("127.0.0.1", pair.sets[0])
        for preference in (ReadPreference.SECONDARY_PREFERRED, ReadPreference.NEAREST):
            reader = client.shop.get_collection(name, read_preference=preference)
            assert reader.count_documents({}) >= ROWS
        client.shop[name].drop()
    # another name than the client came by: it is told the address that it reached
    with MongoClient(uri.replace("127.0.0.1", "localhost")) as client:
        client.shop[name].insert_one({})
        assert client.primary == ("127.0.0.1", pair.sets[0])
        client.shop[name].drop()


def test_node_finds_a_replica_set(pair: Pair, name: str) -> None:
    uri = pair.uri(f"127.0.0.1:{pair.sets[0]}", "?replicaSet=apps")
    kind = {"kind": "ReplicaSetWithPrimary"}
    assert run_node(NODE, URI=uri, NAME=name) == DONE | kind
