"""The directory is built from the stores, kept fresh, and kept when they cannot be read.

With a real cluster: tests/e2e.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from bson.codec_options import CodecOptions
from pymongo.errors import AutoReconnect, OperationFailure
from structlog.testing import capture_logs

from mdb_engine.credentials import to_document
from mdb_engine.exceptions import ManifestValidationError
from mdb_engine.manifest import Manifest
from mdb_engine.scope.model import Features
from mdb_proxy import reload
from mdb_proxy.directory import Directory
from mdb_proxy.doors import Entrances
from mdb_proxy.reload import (
    Cluster,
    Household,
    Source,
    has_search,
    make_indexes,
    read_again,
    reload_at,
)
from tests.support.talks import NOW, credential
from tests.support.tokens import RULE, jwk

CLUSTER = Cluster("6.0.5", 17, Features((6, 0)))


class Stores:
    """A database that only knows how to list its collections' documents."""

    name = "appdata"
    codec_options: CodecOptions[Any] = CodecOptions()

    def __init__(self, **documents: list[dict[str, Any]]) -> None:
        self.documents = {f"_mdb_engine_{name}": found for name, found in documents.items()}
        self.error: Exception | None = None
        self.reads = 0
        self.searches: int | None = None
        self.reports: dict[str, list[str]] = {}

    async def list_collection_names(self) -> list[str]:
        """Give what the apps own, and what nobody does."""
        return ["shop_a", "shop_eu_b", "shop_@x.c", "_mdb_engine_slugs", "stranger"]

    async def list_collections(self, **options: Any) -> AsyncIterator[dict[str, Any]]:
        """Give the views only."""
        assert options == {"filter": {"type": "view"}}

        async def found() -> AsyncIterator[dict[str, Any]]:
            union = {"$unionWith": {"coll": "shop_eu_b", "pipeline": []}}
            yield {"name": "shop_v", "options": {"viewOn": "shop_a", "pipeline": [union]}}

        return found()

    def __getitem__(self, name: str) -> "Stores._Store":
        return self._Store(self, name)

    def get_collection(self, name: str, **_options: Any) -> "Stores._Store":
        return self._Store(self, name)

    class _Store:
        def __init__(self, stores: "Stores", name: str) -> None:
            self.stores, self.name = stores, name

        async def aggregate(self, pipeline: list[Any]) -> AsyncIterator[dict[str, Any]]:
            if "$listSearchIndexes" in pipeline[0] and self.stores.searches is not None:
                raise OperationFailure("no", self.stores.searches)

            async def found() -> AsyncIterator[dict[str, Any]]:
                yield {"storageStats": {"totalSize": 500}}

            return found()

        async def update_one(self, query: Any, update: Any, **_options: Any) -> None:
            self.stores.reports[query["_id"]] = update[0]["$set"]["honours"]["$literal"]

        async def delete_one(self, query: Any) -> None:
            if self.stores.error is not None:
                raise self.stores.error
            del self.stores.reports[query["_id"]]

        async def find_one(self, query: Any) -> Any:
            found = self.stores.documents.get(self.name, [])
            return next((each for each in found if each["_id"] == query["_id"]), None)

        async def create_index(self, *_keys: Any, **_options: Any) -> None: ...

        async def find(self, _filter: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
            self.stores.reads += 1
            if self.stores.error is not None:
                raise self.stores.error
            for document in self.stores.documents.get(self.name, []):
                yield document


@pytest.fixture(autouse=True)
def all_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log everything, whatever was configured before."""
    structlog.reset_defaults()
    monkeypatch.setattr(reload, "log", structlog.get_logger())


def entry(slug: str, *home: str) -> dict[str, Any]:
    return {
        "_id": slug, "state": "live", "first_seen": NOW, "since": None, "fold": slug, "home": home,
    }  # fmt: skip


def household(stores: Stores) -> Household:
    manifests = {
        "shop": Manifest(slug="shop", name="Shop"),
        "crm": Manifest(slug="crm", name="CRM"),
        "old": Manifest(slug="old", name="Old", status="archived"),
    }
    return Household(stores, manifests, CLUSTER, "db:1")  # type: ignore[arg-type]


def full() -> Stores:
    return Stores(
        slugs=[entry("shop", "shop", "former"), entry("shop_eu"), entry("old")],
        credentials=[to_document(credential("shop")), to_document(credential("old"))],
    )


def test_a_directory() -> None:
    found = household(full())
    asyncio.run(found.refresh())
    directory = found.current
    assert set(directory.scopes) == {"shop", "crm"}
    shop = directory.scopes["shop"]
    assert (shop.database, shop.home, shop.longer) == ("appdata", ("shop", "former"), ("shop_eu",))
    assert directory.scopes["crm"].home == ("crm",)
    assert directory.credential("shop", NOW) == credential("shop")
    assert directory.credential("old", NOW) is None
    assert (directory.version, directory.max_wire_version, directory.address) == (
        "6.0.5",
        17,
        "db:1",
    )


@pytest.mark.parametrize(("most", "full_ones"), [(999, {"shop"}), (1_000, set()), (None, set())])
def test_what_is_stored_is_counted(most: int | None, full_ones: set[str]) -> None:
    found = household(full())
    shop = Manifest.model_validate(
        {"slug": "shop", "name": "Shop", "limits": {"storage_bytes": most}}
    )
    found.manifests = {**found.manifests, "shop": shop}
    asyncio.run(found.survey())
    asyncio.run(found.refresh())
    holdings = found.current.holdings
    assert holdings.collections == {
        "shop": {"shop_a", "shop_@x.c"},
        "shop_eu": {"shop_eu_b"},
    }
    assert holdings.full == full_ones


def test_scopes_know_what_views_read() -> None:
    found = household(full())
    asyncio.run(found.survey())
    asyncio.run(found.refresh())
    read = {"shop_v": ("shop_a", "shop_eu_b")}
    assert {slug: scope.views for slug, scope in found.current.scopes.items()} == {
        "shop": read,
        "crm": read,
    }


def test_the_listeners_address_is_known_last() -> None:
    found = household(full())
    asyncio.run(found.refresh())
    found.moved("db:27018")
    assert found.current.address == "db:27018"
    assert {scope.address for scope in found.current.scopes.values()} == {"db:27018"}
    asyncio.run(found.refresh())
    assert found.current.address == "db:27018"


def test_the_last_directory_serves_while_the_stores_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reload, "FOLLOW_SECONDS", 0.001)

    async def until(reads: int) -> None:
        for _ in range(5_000):
            if stores.reads >= reads:
                return
            await asyncio.sleep(0.001)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(found.follow())
            await asyncio.sleep(0.01)
            assert stores.reads == 0, "who has not read the ledger may not begin in the middle"
            found.opened.set()
            await until(4)
            assert not found.stale
            before = found.current
            stores.error = AutoReconnect("away")
            await until(stores.reads + 6)
            assert found.stale
            assert found.current.credentials == before.credentials
            stores.error, stores.documents["_mdb_engine_credentials"] = None, []
            await until(stores.reads + 4)
            assert not found.stale
            assert found.current.credentials == {}
            task.cancel()

    stores = full()
    found = household(stores)
    with capture_logs() as lines:
        asyncio.run(main())
    assert [line["event"] for line in lines] == ["directory.stale"]
    assert lines[0]["reason"] == "AutoReconnect"


def test_what_is_no_credential_does_not_keep_the_others() -> None:
    stores = full()
    stores.documents["_mdb_engine_credentials"] += [{"_id": "odd"}, {"_id": 5}]
    found = household(stores)
    with capture_logs() as lines:
        for _ in range(3):
            asyncio.run(found.refresh())
    assert found.current.credential("shop", NOW) == credential("shop")
    assert (found.current.unreadable, found.unreadable) == (2, ("5", "odd"))
    told = [(line["event"], line["name"]) for line in lines]
    assert told == [("credential.unreadable", "5"), ("credential.unreadable", "odd")]


def test_the_keys_of_issuers(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [jwk("rsa")]}))
    found = household(full())
    found.entrances = Entrances((replace(RULE, source=str(path)),))

    async def main() -> None:
        await found.refresh()
        await found.read_keys()
        keys = found.current.doors.keys
        assert keys.find(str(path), "rsa") is not None
        path.write_text(json.dumps({"keys": [jwk("ec")]}))
        await found.refresh()
        await found.read_keys()
        assert keys.find(str(path), "rsa") is not None, "they are fresh enough"
        found.swap(await found.plan(dict(found.manifests)))
        tending = asyncio.ensure_future(found.tend())
        for _ in range(500):
            if keys.find(str(path), "ec") is None:
                await asyncio.sleep(0.01)
        assert keys.find(str(path), "rsa") is None
        tending.cancel()

    asyncio.run(main())


@pytest.mark.parametrize("there", [True, False])
def test_a_primary(there: bool) -> None:
    class Described(Stores):
        @property
        def client(self) -> Any:
            return self

        topology_description = property(lambda self: self)

        def has_writable_server(self) -> bool:
            return there

    assert household(Described()).has_primary is there


@pytest.mark.parametrize(("versions", "recent"), [([], True), ([17, 21], True), ([21, 13], False)])
def test_a_member_that_is_too_old(versions: list[int], recent: bool) -> None:
    class Described(Stores):
        client = topology_description = property(lambda self: self)
        known_servers = property(
            lambda _: [SimpleNamespace(max_wire_version=version) for version in versions]
        )

    assert household(Described()).recent is recent


def test_nothing_secret_is_shown() -> None:
    found = household(full())
    found.secret = b"0123456789"
    assert "0123456789" not in repr(found)


@pytest.mark.parametrize(("code", "there"), [(None, True), (40324, False), (31082, False)])
def test_a_search_process_is_found_by_asking(code: int | None, there: bool) -> None:
    stores = full()
    stores.searches = code
    assert asyncio.run(has_search(stores)) is there  # type: ignore[arg-type]


def test_a_new_directory_is_told_with_the_one_before() -> None:
    async def main() -> None:
        await found.refresh()
        before = found.current
        plan = await found.plan({"crm": found.manifests["crm"]})
        assert found.current is before, "a plan changes nothing"
        assert set(plan.directory.scopes) == {"crm"}
        found.swap(plan)
        assert (found.current, found.manifests) == (plan.directory, plan.manifests)
        assert told[-1] == (before, plan.directory)

    told: list[tuple[Directory, Directory]] = []
    found = household(full())
    found.changed = lambda before, after: told.append((before, after))
    asyncio.run(main())
    assert len(told) == 2


def test_what_was_swapped_meanwhile_stays() -> None:
    async def main() -> None:
        plan = await found.plan({"crm": found.manifests["crm"]})
        refreshing = asyncio.ensure_future(found.refresh())
        await asyncio.sleep(0)
        found.swap(plan)
        await refreshing
        assert found.current is plan.directory

    stores = full()
    found = household(stores)
    slow = stores.documents
    asyncio.run(main())
    assert slow


def test_several_processes_share_the_limits() -> None:
    found = household(full())
    found.workers = 4
    asyncio.run(found.refresh())
    assert found.current.scopes["shop"].limits.max_cursors == 250


def test_manifests_are_read_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    registered: list[Any] = []
    indexed: list[str] = []

    async def register(_database: Any, manifests: Any, *, wait: float) -> None:
        registered.append((set(manifests), wait))

    async def indexes(_database: Any, manifests: Any) -> None:
        indexed.extend(manifest.slug for manifest in manifests)

    monkeypatch.setattr(reload.ledger, "register", register)
    monkeypatch.setattr(reload, "make_indexes", indexes)
    for slug, name in (("shop", "Shop"), ("crm", "Another"), ("fresh", "Fresh")):
        (tmp_path / f"{slug}.json").write_text(f'{{"slug": "{slug}", "name": "{name}"}}')
    found = household(full())
    asyncio.run(read_again(found, Source(tmp_path, 0.5)))
    assert indexed == []
    plan = asyncio.run(read_again(found, Source(tmp_path, 0.5, indexes=True)))
    assert indexed == ["crm", "fresh"], "of those that are new or not what they were"
    assert set(plan.directory.scopes) == {"shop", "crm", "fresh"}
    assert registered == [({"shop", "crm", "fresh"}, 0.5)] * 2
    (tmp_path / "fresh.json").write_text("{")
    with pytest.raises(ManifestValidationError):
        asyncio.run(read_again(found, Source(tmp_path, 0.5)))
    assert len(registered) == 2


def test_each_wish_is_carried_out_and_counted() -> None:
    results: list[Any] = [
        3,
        ManifestValidationError("bad", "x"),
        AutoReconnect("away"),
        OSError("no"),
    ]
    noted: list[str] = []

    async def work() -> int:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return int(result)

    async def main() -> None:
        again = asyncio.Event()
        task = asyncio.ensure_future(
            reload_at(again, work, lambda outcome, _now: noted.append(outcome))
        )
        for count in range(1, 5):
            again.set()
            for _ in range(100):
                if len(noted) == count:
                    break
                await asyncio.sleep(0)
            assert len(noted) == count
        task.cancel()

    with capture_logs() as lines:
        asyncio.run(main())
    assert noted == ["ok", "failed", "failed", "failed"]
    assert [line["event"] for line in lines] == ["reload.done", *["reload.failed"] * 3]
    assert (lines[0]["apps"], lines[1]["reason"]) == (3, "x: bad")


def test_indexes_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    class Report:
        created = ("a", "b")

    async def apply(_database: Any, _manifest: Manifest) -> Report:
        return Report()

    monkeypatch.setattr(reload, "apply_indexes", apply)
    with capture_logs() as lines:
        asyncio.run(make_indexes(None, [Manifest(slug="shop", name="x")]))  # type: ignore[arg-type]
    assert [(line["slug"], line["created"]) for line in lines] == [("shop", 2)]


def test_claims_are_honoured_when_nothing_runs_under_them_any_more() -> None:
    async def main() -> None:
        found.yielding = lambda: True
        await found.join()
        assert "shop_new" in found.current.scopes["shop"].longer, "it owns its names already"
        assert stores.reports == {found.router: []}
        found.yielding = lambda: False
        await found.report()
        assert stores.reports == {found.router: ["shop_new"]}
        await found.leave()
        assert stores.reports == {}
        stores.error = AutoReconnect("away")
        await found.leave()

    stores = full()
    stores.documents["_mdb_engine_slugs"].append({**entry("shop_new"), "state": "claimed"})
    stores.documents["_mdb_engine_secrets"] = [{"_id": "proxy", "v": bytes(32)}]
    found = household(stores)
    asyncio.run(main())


def test_who_serves_says_so_every_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "FOLLOW_SECONDS", 0.0)

    async def main() -> None:
        found.opened.set()
        task = asyncio.ensure_future(found.follow())
        await reported([])
        stores.reports.clear()
        stores.documents["_mdb_engine_slugs"].append({**entry("shop_new"), "state": "claimed"})
        await reported(["shop_new"])
        task.cancel()

    async def reported(honours: list[str]) -> None:
        for _ in range(10_000):
            if stores.reports.get(found.router) == honours:
                return
            await asyncio.sleep(0)
        raise AssertionError(stores.reports)

    stores = full()
    found = household(stores)
    asyncio.run(main())
