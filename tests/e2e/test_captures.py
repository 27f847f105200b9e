"""A slug is registered that takes names from an app which is at work: `shop_new` from `shop`."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.change_stream import ChangeStream
from pymongo.errors import OperationFailure
from pymongo.server_api import ServerApi

from mdb_engine.manifest import parse
from mdb_engine.registry import ledger
from mdb_engine.registry.routers import behind
from tests.support.programs import create_credential
from tests.support.proxies import serving

WAIT_MS = 300


def manifest(slug: str) -> dict[str, Any]:
    return {"schema_version": "2.0", "slug": slug, "name": slug, "status": "active"}


def register(uri: str, db_name: str, *slugs: str) -> None:
    """Register apps as another proxy would."""

    async def inside() -> None:
        async with AsyncMongoClient[dict[str, Any]](uri) as client:
            apps = {slug: parse(manifest(slug)) for slug in slugs}
            await ledger.register(client[db_name], apps, wait=2.0)
            assert await behind(client[db_name], ["never_registered"]), "somebody serves"

    asyncio.run(inside())


def until_marker(stream: ChangeStream[Any]) -> list[str]:
    """Give the collections of the events that come, the last is the marker's."""
    seen: list[str] = []
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        event = stream.try_next()
        if event is not None:
            seen.append(event["ns"]["coll"])
            if event["documentKey"]["_id"] == "marker":
                return seen
    raise AssertionError(seen)


@pytest.mark.parametrize("options", [{}, {"server_api": ServerApi("1")}], ids=["", "api"])
def test_what_it_runs_under_those_names_ends_before_they_are_anothers(
    mongo_uri: str, tmp_path: Path, options: dict[str, Any]
) -> None:
    folder, log = tmp_path / "apps", tmp_path / "stderr.log"
    folder.mkdir()
    (folder / "shop.json").write_text(json.dumps(manifest("shop")))
    with serving(mongo_uri, folder, log) as proxy, proxy.client("shop", **options) as client:
        shop = client["shop"]
        shop.tasks.insert_many([{"_id": n} for n in range(300)])
        reading = shop.tasks.find(batch_size=10)
        next(reading)
        with (
            shop.watch(max_await_time_ms=WAIT_MS) as wide,
            shop["new_tasks"].watch(max_await_time_ms=WAIT_MS) as narrow,
            client.start_session() as session,
        ):
            session.start_transaction()
            shop.tasks.insert_one({"_id": "in"}, session=session)
            register(mongo_uri, proxy.db_name, "shop", "shop_new")
            entry = proxy.behind["_mdb_engine_slugs"].find_one({"_id": "shop_new"})
            assert entry["state"] == "live"
            for attempt in (
                shop["new_tasks"].find_one,
                lambda: shop["new_tasks"].insert_one({}),
                lambda: shop.tasks.aggregate([{"$lookup": {"from": "new_x", "as": "y"}}]),
                narrow.try_next,
            ):
                with pytest.raises(OperationFailure) as refused:
                    attempt()
                assert refused.value.code == 73
            with pytest.raises(OperationFailure) as aborted:
                shop.tasks.insert_one({"_id": "on"}, session=session)
            assert aborted.value.has_error_label("TransientTransactionError")
            session.abort_transaction()
            assert len(list(reading)) == 299, "what is still its own goes on"
            proxy.behind["shop_new_tasks"].insert_one({"app_id": "shop_new", "secret": "x"})
            shop.tasks.insert_one({"_id": "marker"})
            assert until_marker(wide) == ["tasks"]
        assert shop.tasks.count_documents({"_id": "in"}) == 0


def test_names_that_are_in_use_are_not_given_away(mongo_uri: str, tmp_path: Path) -> None:
    folder = tmp_path / "apps"
    folder.mkdir()
    (folder / "shop.json").write_text(json.dumps(manifest("shop")))
    with serving(mongo_uri, folder, tmp_path / "log") as proxy, proxy.client("shop") as client:
        client["shop"]["new_tasks"].insert_one({"_id": 1})
        with pytest.raises(ValueError, match="would take over names"):
            register(mongo_uri, proxy.db_name, "shop", "shop_new")
        assert client["shop"]["new_tasks"].find_one() == {"_id": 1}
        cluster = {"MONGO_URI": mongo_uri, "MONGO_DB_NAME": proxy.db_name}
        assert create_credential("shop", "--name", "second", **cluster)["name"] == "second"
