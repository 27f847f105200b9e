import asyncio

from mdb_engine.registry import apps
from tests.support.recorders import recording


def test_what_is_stored() -> None:
    async def body() -> None:
        async with recording() as (recorder, client):
            database = client["appdata"]
            await apps.save(database, "shop", "active", {"slug": "shop"})
            await apps.claim_seeding(database, "shop", "plans")
            await apps.release_seeding(database, "shop", "plans")
            assert await apps.active(database) == {}
        sent = recorder.seen
        assert [next(iter(each)) for each in sent] == ["update", "update", "update", "find"]
        assert {each[next(iter(each))] for each in sent} == {"apps_config"}
        saved = sent[0]["updates"][0]
        assert dict(saved["q"]) == {"_id": "shop"}
        assert saved["upsert"] is True
        assert saved["u"]["$set"]["status"] == "active"
        assert dict(sent[1]["updates"][0]["q"])["seeded"] == {"$ne": "plans"}
        assert all(dict(each["writeConcern"]) == {"w": "majority"} for each in sent[:3])
        assert dict(sent[3]["filter"]) == {"status": "active"}

    asyncio.run(body())


def test_only_the_first_may_seed() -> None:
    async def body() -> None:
        async with recording() as (recorder, client):
            assert await apps.claim_seeding(client["appdata"], "shop", "plans")
            recorder.replies["update"] = {"n": 0, "nModified": 0, "ok": 1.0}
            assert not await apps.claim_seeding(client["appdata"], "shop", "plans")

    asyncio.run(body())
