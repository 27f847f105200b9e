"""The directory is built from the stores, kept fresh, and kept when they cannot be read.

With a real cluster: tests/e2e.
"""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from bson.codec_options import CodecOptions
from pymongo.errors import AutoReconnect
from structlog.testing import capture_logs

from mdb_engine.credentials import to_document
from mdb_engine.exceptions import ConfigurationError
from mdb_engine.manifest import Manifest
from mdb_engine.scope.model import Features
from mdb_proxy import reload
from mdb_proxy.reload import Cluster, Household
from tests.support.talks import NOW, credential

CLUSTER = Cluster("6.0.5", 17, Features((6, 0)))


class Stores:
    """A database that only knows how to list its collections' documents."""

    name = "appdata"
    codec_options: CodecOptions[Any] = CodecOptions()

    def __init__(self, **documents: list[dict[str, Any]]) -> None:
        self.documents = {f"_mdb_engine_{name}": found for name, found in documents.items()}
        self.error: Exception | None = None
        self.reads = 0

    async def list_collection_names(self) -> list[str]:
        """Give what the apps own, and what nobody does."""
        return ["shop_a", "shop_eu_b", "shop_@x.c", "_mdb_engine_slugs", "stranger"]

    def __getitem__(self, name: str) -> "Stores._Store":
        return self._Store(self, name)

    def get_collection(self, name: str, **_options: Any) -> "Stores._Store":
        return self._Store(self, name)

    class _Store:
        def __init__(self, stores: "Stores", name: str) -> None:
            self.stores, self.name = stores, name

        async def aggregate(self, _pipeline: list[Any]) -> AsyncIterator[dict[str, Any]]:
            async def found() -> AsyncIterator[dict[str, Any]]:
                yield {"storageStats": {"totalSize": 500}}

            return found()

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


def test_the_listeners_address_is_known_last() -> None:
    found = household(full())
    asyncio.run(found.refresh())
    found.moved("db:27018")
    assert found.current.address == "db:27018"
    assert {scope.address for scope in found.current.scopes.values()} == {"db:27018"}
    asyncio.run(found.refresh())
    assert found.current.address == "db:27018"


@pytest.mark.parametrize(
    ("error", "documents"),
    [(AutoReconnect("away"), []), (None, [{"_id": "shop"}])],
)
def test_the_last_directory_serves_while_the_stores_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None, documents: list[dict[str, Any]]
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
            await until(4)
            assert not found.stale
            before = found.current
            stores.error, stores.documents["_mdb_engine_credentials"] = error, documents
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
    assert lines[0]["reason"] in ("AutoReconnect", ConfigurationError.__name__)


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
