"""The registry on a real server: the ledger, credentials, secrets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from bson import Timestamp
from pymongo import AsyncMongoClient

from mdb_engine.credentials import SCRAM_SHA_256, derive
from mdb_engine.exceptions import ConfigurationError, InitializationError, ManifestValidationError
from mdb_engine.manifest import Manifest, parse
from mdb_engine.registry import credentials, ledger, routers, secrets
from mdb_engine.registry.claims import CLAIMED, LIVE, claim
from mdb_engine.registry.credentials import Terms
from mdb_engine.registry.stores import CREDENTIALS, ROUTERS, SECRETS, SLUGS, Database

pytestmark = pytest.mark.server

NOW = datetime(2026, 3, 1, tzinfo=UTC)
READ = Terms("read")


def apps(*slugs: str, **keys: Any) -> dict[str, Manifest]:
    return {slug: parse({"slug": slug, "name": "App", **keys}) for slug in slugs}


@asynccontextmanager
async def fresh(uri: str) -> AsyncIterator[Database]:
    async with AsyncMongoClient[dict[str, Any]](uri) as client:
        database = client[f"mdb_{uuid4().hex}"]
        try:
            yield database
        finally:
            await client.drop_database(database.name)


@pytest.fixture
def on_server(mongo_uri: str) -> Callable[[Callable[[Database], Awaitable[None]]], None]:
    """Run a coroutine function on a database of its own."""

    def run(body: Callable[[Database], Awaitable[None]]) -> None:
        async def inside() -> None:
            async with fresh(mongo_uri) as database:
                await body(database)

        asyncio.run(inside())

    return run


OnServer = Callable[[Callable[[Database], Awaitable[None]]], None]


async def register(database: Database, manifests: Mapping[str, Manifest]) -> None:
    await ledger.register(database, manifests, wait=0.2, now=lambda: NOW)


def test_first_registration(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        began = asyncio.get_running_loop().time()
        await ledger.register(database, apps("shop", "shop_eu", "crm"), wait=60)
        assert asyncio.get_running_loop().time() - began < 30, "nobody to wait for"
        found = await ledger.entries(database)
        assert set(found) == await ledger.slugs(database) == {"shop", "shop_eu", "crm"}
        assert {entry.state for entry in found.values()} == {LIVE}
        assert all(isinstance(entry.since, Timestamp) for entry in found.values())
        assert found["shop_eu"].home == ("shop_eu",)

    on_server(body)


def test_registering_again_changes_nothing(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        await register(database, apps("shop", "crm"))
        before = await ledger.entries(database)
        await ledger.register(database, apps("shop", "crm"), wait=60)
        await ledger.register(database, apps("crm"), wait=60)
        assert await ledger.entries(database) == before

    on_server(body)


def test_collections_from_before_the_first_start(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        await database["shop_eu_tasks"].insert_one({})
        await register(database, apps("shop", "shop_eu"))
        assert await ledger.slugs(database) == {"shop", "shop_eu"}

    on_server(body)


def test_a_later_slug_waits(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        await register(database, apps("shop"))
        task = asyncio.ensure_future(
            ledger.register(database, apps("shop", "crm"), wait=1.0, now=lambda: NOW)
        )
        await asyncio.sleep(0.4)
        found = await ledger.entries(database)
        assert (found["crm"].state, found["crm"].since) == (CLAIMED, None)
        await task
        found = await ledger.entries(database)
        assert (found["crm"].state, found["crm"].first_seen) == (LIVE, NOW)

    on_server(body)


def test_a_later_slug_waits_for_every_living_router(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        await register(database, apps("shop"))
        await routers.prepare(database)
        for router, honours in (("quick", ["crm", "x"]), ("slow", []), ("slower", ["crm"])):
            await routers.report(database, router, honours)
        assert sorted(await routers.behind(database, ["crm"])) == ["slow"]
        assert sorted(await routers.behind(database, ["crm", "x"])) == ["slow", "slower"]
        task = asyncio.ensure_future(register(database, apps("shop", "crm")))
        await asyncio.sleep(1)
        assert (await ledger.entries(database))["crm"].state == CLAIMED
        await routers.report(database, "slow", ["crm"])
        await task
        assert (await ledger.entries(database))["crm"].state == LIVE

    on_server(body)


def test_nobody_waits_for_a_router_that_has_gone(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        await register(database, apps("shop"))
        for router in ("left", "died"):
            await routers.report(database, router, [])
        await routers.leave(database, "left")
        old = NOW - timedelta(days=1)
        await database[ROUTERS].update_one({"_id": "died"}, {"$set": {"at": old}})
        assert await routers.behind(database, ["crm"]) == []
        await register(database, apps("shop", "crm"))

    on_server(body)


def test_a_router_that_does_not_let_go(
    on_server: OnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "PATIENCE_SECONDS", 0.5)

    async def body(database: Database) -> None:
        await register(database, apps("shop"))
        await routers.report(database, "stubborn", [])
        with pytest.raises(InitializationError, match="has not let go"):
            await register(database, apps("shop", "crm"))
        assert await ledger.slugs(database) == {"shop"}
        await database[SLUGS].insert_one({**claim(apps("crm")["crm"], NOW)})
        with pytest.raises(InitializationError, match="has not let go"):
            await register(database, apps("shop", "crm"))

    on_server(body)


@pytest.mark.parametrize(
    ("held", "new"),
    [
        (("shop_eu_tasks",), "shop_eu"),
        (("shop_eu_@d.x",), "shop_eu"),
        ((), "sh-op"),
    ],
)
def test_slugs_that_are_not_free(on_server: OnServer, held: tuple[str, ...], new: str) -> None:
    async def body(database: Database) -> None:
        await register(database, apps("shop"))
        for name in held:
            await database[name].insert_one({})
        with pytest.raises(ManifestValidationError) as caught:
            await register(database, apps("shop", "crm", new))
        assert (caught.value.source, caught.value.path) == (new, "slug")
        assert await ledger.slugs(database) == {"shop"}

    on_server(body)


def test_a_view_that_reads_names_of_the_new_slug(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        await register(database, apps("shop"))
        pipeline = [{"$lookup": {"from": "shop_eu_x", "pipeline": [], "as": "x"}}]
        await database.create_collection("shop_v", viewOn="shop_tasks", pipeline=pipeline)
        with pytest.raises(ManifestValidationError):
            await register(database, apps("shop_eu"))
        assert await ledger.slugs(database) == {"shop"}

    on_server(body)


def test_names_taken_during_the_wait(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        await register(database, apps("shop"))
        task = asyncio.ensure_future(
            ledger.register(database, apps("shop_eu", "crm"), wait=1.0, now=lambda: NOW)
        )
        await asyncio.sleep(0.4)
        assert await ledger.slugs(database) == {"shop", "shop_eu", "crm"}
        await database["shop_eu_tasks"].insert_one({})
        with pytest.raises(ManifestValidationError) as caught:
            await task
        assert caught.value.source == "shop_eu"
        assert await ledger.slugs(database) == {"shop"}

    on_server(body)


def test_a_cancelled_claim_is_taken_back(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        await register(database, apps("shop"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await ledger.register(database, apps("crm"), wait=60)
        assert await ledger.slugs(database) == {"shop"}

    on_server(body)


def test_a_claim_of_a_process_that_died_is_finished(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        await register(database, apps("shop"))
        dead = {"_id": "crm", "state": CLAIMED, "first_seen": NOW, "fold": "crm", "home": ["crm"]}
        await database[SLUGS].insert_one(dead)
        await register(database, apps("shop", "crm"))
        assert (await ledger.entries(database))["crm"].state == LIVE

    on_server(body)


def test_many_processes_at_once(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        await database["shop_eu_tasks"].insert_one({})
        slugs = ("shop", "shop_eu", "crm")
        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(register(database, apps(*slugs)))
        found = await ledger.entries(database)
        assert {slug: entry.state for slug, entry in found.items()} == dict.fromkeys(slugs, LIVE)

    on_server(body)


def test_folds_are_unique_in_a_race_too(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        tried = [register(database, apps(slug)) for slug in ("shop-1", "shop1", "shop_01")]
        outcomes = await asyncio.gather(*tried, return_exceptions=True)
        refused = [error for error in outcomes if isinstance(error, ManifestValidationError)]
        assert len(refused) == 2
        assert len(await ledger.slugs(database)) == 1

    on_server(body)


def test_home_names(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        await register(database, apps("shop", database=["a", "b"]))
        await register(database, apps("shop", database=["c", "a"]))
        assert (await ledger.entries(database))["shop"].home == ("a", "b", "c")
        await database["shop_@d.tasks"].insert_one({})
        with pytest.raises(ManifestValidationError) as caught:
            await register(database, apps("shop", database="d"))
        assert caught.value.path == "database"
        assert (await ledger.entries(database))["shop"].home == ("a", "b", "c")

    on_server(body)


def test_read_scopes_must_be_registered(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        granted = apps("crm", data_access={"read_scopes": ["shop"]})
        with pytest.raises(ManifestValidationError):
            await register(database, granted)
        assert await ledger.slugs(database) == frozenset()
        await register(database, {**granted, **apps("shop")})
        await database["crm_shop_x"].insert_one({})
        with pytest.raises(ManifestValidationError):
            await register(database, granted)

    on_server(body)


def test_credentials(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        first, password = await credentials.create(database, "shop")
        second, other = await credentials.create(database, "shop", terms=READ)
        assert [first.name, second.name] == ["shop", "shop-2"]
        assert len(password) >= 32
        assert password != other
        keys = first.scram[SCRAM_SHA_256]
        assert len(keys.salt) == 28
        assert derive(password, keys.salt, keys.iterations) == keys
        assert (await credentials.read_all(database)).known == {"shop": first, "shop-2": second}
        stored = [document async for document in database[CREDENTIALS].find({})]
        assert password not in str(stored)
        assert all(document["created_at"] for document in stored)
        assert await credentials.remove(database, "shop") is True
        assert await credentials.remove(database, "shop") is False
        assert list((await credentials.read_all(database)).known) == ["shop-2"]

    on_server(body)


def test_names_of_credentials_are_unique_over_all_apps(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        chosen = uuid4().hex
        made, password = await credentials.create(database, "shop", name="crm", password=chosen)
        assert (made.name, made.app, password) == ("crm", "shop", chosen)
        with pytest.raises(ConfigurationError, match="crm is taken"):
            await credentials.create(database, "crm", name="crm")
        assert (await credentials.create(database, "crm"))[0].name == "crm-2"
        for wrong in ({"name": "a b"}, {"terms": Terms("root")}, {"password": ""}):
            with pytest.raises(ConfigurationError):
                await credentials.create(database, "crm", **wrong)
        assert len((await credentials.read_all(database)).known) == 2

    on_server(body)


def test_changes_of_a_credential(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        await credentials.create(database, "shop")
        assert await credentials.disable(database, "shop") is True
        assert (await credentials.read_all(database)).known["shop"].disabled is True
        assert await credentials.disable(database, "shop", disabled=False) is True
        assert await credentials.lift_limits(database, "shop") is True
        assert await credentials.expire(database, "shop", NOW) is True
        found = (await credentials.read_all(database)).known["shop"]
        assert (found.disabled, found.unlimited, found.expires_at) == (False, True, NOW)
        assert found.live(NOW - timedelta(seconds=1)) is True
        assert found.live(NOW) is False
        assert await credentials.disable(database, "nobody") is False

    on_server(body)


def test_one_subject_opens_one_credential(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        terms = Terms(subject="cn=bot, O=Example")
        made, password = await credentials.create(database, "shop", terms=terms)
        assert (made.x509, made.mechanisms, password) == (
            "CN=bot,O=Example", ("MONGODB-X509",), "",
        )  # fmt: skip
        other = Terms(subject="CN=b\\6ft , O=Example")
        for slug in ("shop", "crm"):
            with pytest.raises(ConfigurationError, match="subject is that of another"):
                await credentials.create(database, slug, terms=other)
        both = Terms(subject="CN=other", plain=True, sha_1=True)
        with pytest.raises(ConfigurationError, match="has no password"):
            await credentials.create(database, "crm", terms=both)
        chosen = uuid4().hex
        made, _ = await credentials.create(database, "crm", password=chosen, terms=both)
        assert made.mechanisms == ("MONGODB-X509", "PLAIN", "SCRAM-SHA-1", SCRAM_SHA_256)
        assert (await credentials.create(database, "crm"))[0].x509 == ""
        assert (await credentials.create(database, "crm"))[0].x509 == ""

    on_server(body)


def test_rotation(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        before = datetime.now(UTC)
        terms = Terms("read", sha_1=True, plain=True, unlimited=True)
        old, password = await credentials.create(database, "shop", terms=terms)
        new, other = await credentials.rotate(database, "shop", grace=timedelta(hours=1))
        known = (await credentials.read_all(database)).known
        assert known == {"shop": known["shop"], "shop-2": new}
        assert password != other
        assert (new.app, new.role, new.mechanisms, new.unlimited, new.expires_at) == (
            old.app, old.role, old.mechanisms, True, None,
        )  # fmt: skip
        assert known["shop"].same(old)
        end = known["shop"].expires_at
        assert end is not None
        assert timedelta(minutes=59) < end - before < timedelta(minutes=61)
        await credentials.expire(database, "shop-2", before + timedelta(minutes=5))
        await credentials.rotate(database, "shop-2", grace=timedelta(hours=1), password=other)
        end = (await credentials.read_all(database)).known["shop-2"].expires_at
        assert end is not None
        assert end - before < timedelta(minutes=6), "it does not live longer for it"
        await credentials.disable(database, "shop-3")
        await credentials.create(database, "crm", terms=Terms(subject="CN=x"))
        for name, why in (("nobody", "no credential"), ("shop-3", "disabled"), ("crm", "password")):
            with pytest.raises(ConfigurationError, match=why):
                await credentials.rotate(database, name, grace=timedelta(0))

    on_server(body)


def test_what_cannot_be_read_does_not_keep_the_others(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        made, _ = await credentials.create(database, "shop")
        strange = [{"_id": 7}, {"_id": "x" * 99, "app": "shop"}, {"_id": "y", "app": 3}]
        await database[CREDENTIALS].insert_many(strange)
        found = await credentials.read_all(database)
        assert found.known == {"shop": made}
        assert found.unreadable == ("7", "x" * 64, "y")

    on_server(body)


def test_everyone_reads_one_secret(on_server: OnServer) -> None:
    async def body(database: Database) -> None:
        read = await asyncio.gather(*(secrets.proxy_secret(database) for _ in range(8)))
        assert len(set(read)) == 1
        assert len(read[0]) >= 32
        assert await secrets.proxy_secret(database) == read[0]
        assert await database[SECRETS].count_documents({}) == 1

    on_server(body)
