"""SIGHUP: new manifests are served without a restart, broken ones never; by one process or two."""

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import OperationFailure, PyMongoError

from tests.support.pages import PATIENCE_SECONDS, metric, soon
from tests.support.programs import create_credential
from tests.support.proxies import Proxy, serving
from tests.support.servers import free_port
from tests.support.visitors import Visitor, batch, long

NOT_FOUND = 43
APPS: dict[str, dict[str, Any]] = {
    "crm": {},
    "desk": {"data_access": {"read_scopes": ["shop"]}},
    "moved": {"database": "before"},
    "shop": {},
}


@dataclass(frozen=True, slots=True)
class Home:
    """A running proxy, its folder of manifests and its numbers."""

    proxy: Proxy
    folder: Path
    metrics: str

    def write(self, slug: str, **keys: Any) -> None:
        """Write a manifest, not yet read by anybody."""
        write(self.folder, slug, **keys)

    def reloaded(self, outcome: str = "ok") -> None:
        """Have the manifests read again, with that outcome."""
        line = f'mdb_proxy_manifest_reloads_total{{outcome="{outcome}"}}'
        before = metric(self.metrics, line)
        self.proxy.program.process.send_signal(signal.SIGHUP)
        assert soon(lambda: metric(self.metrics, line) > before, PATIENCE_SECONDS), (
            self.proxy.program.tail()
        )

    def credential(self, slug: str) -> str:
        """Make a credential; gives the URI."""
        cluster = {"MONGO_URI": self.uri, "MONGO_DB_NAME": self.proxy.db_name}
        made = create_credential(slug, "--proxy", self.proxy.address, **cluster)
        return str(made["uri"])

    @property
    def uri(self) -> str:
        """Give the cluster's."""
        host, port = self.proxy.admin.address or ("", 0)
        return f"mongodb://{host}:{port}/?directConnection=true"

    def idle_cursors(self, name: str) -> int:
        """How many cursors the cluster holds for a physical collection."""
        stages = [
            {"$currentOp": {"idleCursors": True, "localOps": True}},
            {"$match": {"type": "idleCursor", "ns": f"{self.proxy.db_name}.{name}"}},
        ]
        return len(list(self.proxy.admin.admin.aggregate(stages)))


def write(folder: Path, slug: str, **keys: Any) -> None:
    text = json.dumps({"slug": slug, "name": slug.title(), **keys})
    (folder / f"{slug}.json").write_text(text)


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two"])
def home(
    request: pytest.FixtureRequest, mongo_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("manifests")
    for slug, keys in APPS.items():
        write(folder, slug, **keys)
    port = free_port()
    options = ("--workers", str(request.param), "--admin", f"127.0.0.1:{port}")
    log = tmp_path_factory.mktemp("reload") / "stderr.log"
    with serving(mongo_uri, folder, log, *options, MDB_PROXY_SETTLE_SECONDS="0.2") as running:
        yield Home(running, folder, f"http://127.0.0.1:{port}/metrics")
        assert "Traceback" not in running.program.tail()


@pytest.fixture
def visitors(home: Home) -> Iterator[Callable[[str], list[Visitor]]]:
    """Give some connections of an app: enough that each process has one."""
    found: list[Visitor] = []

    def some(slug: str) -> list[Visitor]:
        made = [Visitor(home.proxy.uris[slug]) for _ in range(8)]
        found.extend(made)
        return made

    yield some
    for visitor in found:
        visitor.__exit__(None, None, None)


def is_refused(uri: str) -> bool:
    try:
        with Visitor(uri):
            return False
    except AssertionError as error:
        return "18" in str(error)


def test_an_app_that_is_new(home: Home, visitors: Callable[[str], list[Visitor]]) -> None:
    here = visitors("shop")
    home.write("fresh", managed_indexes={})
    uri = home.credential("fresh")
    assert is_refused(uri)
    home.reloaded()
    for _ in range(8):
        with Visitor(uri) as visitor:
            insert = {"insert": "tasks", "documents": [{}], "$db": "fresh"}
            assert visitor.ask(insert)["n"] == 1
    assert home.proxy.behind.fresh_tasks.count_documents({"app_id": "fresh"}) == 8
    commands = 'mdb_proxy_commands_total{app="fresh",command="insert",outcome="ok"}'
    assert metric(home.metrics, commands) == 8
    assert all(visitor.ask({"ping": 1, "$db": "shop"})["ok"] for visitor in here)


@pytest.mark.parametrize("way", ["file", "status"])
def test_an_app_that_has_gone(
    home: Home, visitors: Callable[[str], list[Visitor]], way: str
) -> None:
    away, here = visitors("crm"), visitors("shop")
    if way == "file":
        (home.folder / "crm.json").unlink()
    else:
        home.write("crm", status="inactive")
    home.reloaded()
    assert all(visitor.closed() for visitor in away), "nobody waits for their next command"
    assert all(visitor.ask({"ping": 1, "$db": "shop"})["ok"] for visitor in here)
    with home.proxy.client("crm") as client, pytest.raises(OperationFailure) as caught:
        client.crm.tasks.find_one()
    assert caught.value.code == 18
    home.write("crm")
    home.reloaded()
    with home.proxy.client("crm") as client:
        assert client.crm.tasks.find_one() is None


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("crm", '{"slug": "crm", "name": "CRM", "nonsense": 1}', "nonsense"),
        ("crm", "{", "crm.json"),
        ("sh-op", '{"slug": "sh-op", "name": "Too like shop"}', "sh-op"),
    ],
)
def test_manifests_that_are_not_usable(
    home: Home, visitors: Callable[[str], list[Visitor]], name: str, text: str, reason: str
) -> None:
    here = visitors("crm")
    path = home.folder / f"{name}.json"
    try:
        home.write("never")
        path.write_text(text)
        home.reloaded("failed")
    finally:
        path.unlink()
        (home.folder / "never.json").unlink()
        home.write("crm")
    (line,) = [
        line
        for line in home.proxy.program.log.read_text().splitlines()
        if "reload.failed" in line and reason in line
    ][-1:]
    assert json.loads(line)["level"] == "warning"
    assert all(visitor.ask({"ping": 1, "$db": "crm"})["ok"] for visitor in here)
    assert is_refused(home.credential("never")), "all or nothing"


def test_a_read_scope_that_is_withdrawn(
    home: Home, visitors: Callable[[str], list[Visitor]]
) -> None:
    for slug in ("desk", "shop"):
        documents = [{"_id": f"{slug}{number}"} for number in range(10)]
        insert = {"insert": "notes", "documents": documents, "$db": slug}
        assert visitors(slug)[0].ask(insert)["n"] == 10
    open_ones = []
    find = {"find": "shop_notes", "batchSize": 2, "$db": "desk"}
    here = visitors("desk")
    for visitor in here:
        reply = visitor.ask(find)
        assert len(batch(reply)) == 2
        open_ones.append((visitor, long(reply["cursor"]["id"])))
    assert home.idle_cursors("shop_notes") == len(here)
    home.write("desk")
    home.reloaded()
    assert soon(lambda: home.idle_cursors("shop_notes") == 0), "in the cluster too"
    for visitor, number in open_ones:
        reply = visitor.ask({"getMore": number, "collection": "shop_notes", "$db": "desk"})
        assert reply["code"] == NOT_FOUND, "the connection stays, what it read does not"
    home.write("desk", **APPS["desk"])
    home.reloaded()


def test_a_home_that_gets_another_name(
    home: Home, visitors: Callable[[str], list[Visitor]]
) -> None:
    here = visitors("moved")
    documents = [{"_id": number} for number in range(10)]
    assert here[0].ask({"insert": "notes", "documents": documents, "$db": "before"})["n"] == 10
    reply = here[0].ask({"find": "notes", "batchSize": 2, "$db": "before"})
    number = long(reply["cursor"]["id"])
    home.write("moved", database="after")
    home.reloaded()
    assert soon(lambda: home.idle_cursors("moved_notes") == 0)
    for visitor in here:
        more = {"getMore": number, "collection": "notes", "$db": "before"}
        assert visitor.ask(more)["code"] == NOT_FOUND
        assert len(batch(visitor.ask({"find": "notes", "$db": "after"}))) == 10
    home.write("moved", **APPS["moved"])
    home.reloaded()


def test_others_do_not_notice(home: Home) -> None:
    with home.proxy.client("shop", retryReads=False, retryWrites=False) as client:
        collection = client.shop.unmoved
        for turn in range(6):
            try:
                collection.insert_one({"_id": turn})
                home.write("passing", description=str(turn))
                home.proxy.program.process.send_signal(signal.SIGHUP)
                assert len(list(collection.find(batch_size=2))) == turn + 1
            except PyMongoError as error:
                pytest.fail(str(error))
    (home.folder / "passing.json").unlink()
    home.reloaded()
