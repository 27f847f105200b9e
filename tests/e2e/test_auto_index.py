"""Queries that come again get an index: those of handles, and those that pass the proxy."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pymongo import AsyncMongoClient

from mdb_engine import MongoDBEngine
from tests.support.proxies import AT_ONCE, serving

PATIENCE_SECONDS = 15


def until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("mode", ["create", "suggest", "off"])
def test_from_the_traffic(mongo_uri: str, tmp_path: Path, mode: str) -> None:
    manifest = {"slug": "shop", "name": "Shop", "proxy": {"auto_index": mode}}
    (tmp_path / "shop.json").write_text(json.dumps(manifest))
    log = tmp_path / "log"
    with (
        serving(mongo_uri, tmp_path, log, **AT_ONCE) as proxy,
        proxy.client("shop") as client,
    ):
        tasks = client["shop"]["tasks"]
        tasks.insert_one({"status": "new", "n": 1})
        for number in range(4):
            assert len(list(tasks.find({"status": "new"}).sort("n", -1))) == 1
            list(tasks.aggregate([{"$match": {"other": number}}]))
        if mode == "create":
            until(lambda: len(tasks.index_information()) == 3)
            assert tasks.index_information()["auto_status_1_n_-1"]["key"] == [
                ("status", 1), ("n", -1),
            ]  # fmt: skip
        elif mode == "suggest":
            until(lambda: "suggested" in proxy.program.tail())
        if mode != "create":
            time.sleep(0.5)
            assert set(tasks.index_information()) == {"_id_"}


def test_from_a_handle_it_is_counted(mongo_uri: str) -> None:
    async def body() -> None:
        name = f"auto_{uuid4().hex[:12]}"
        client: AsyncMongoClient[dict[str, Any]]
        async with (
            AsyncMongoClient(mongo_uri) as client,
            MongoDBEngine(mongo_uri, name) as engine,
        ):
            try:
                assert await engine.register_app({"slug": "shop", "name": "Shop"})
                db = engine.get_scoped_db("shop")
                assert db is not engine.get_scoped_db("shop", ["shop", "crm"])
                await db.tasks.insert_one({"a": 1})
                # Through several handles, in several ways: all of one shape.
                await db.tasks.find_one({"a": 1})
                await engine.get_scoped_db("shop", ["shop", "crm"]).tasks.find({"a": 2}).to_list()
                await db.tasks.count_documents({"a": 3})
                await engine._jobs.idle()
                assert "auto_a_1" in await db.tasks.index_information()
                told = engine.get_prometheus_metrics()
                assert 'auto_indexes_total{app="shop",outcome="created"} 1.0' in told
            finally:
                await client.drop_database(name)

    asyncio.run(body())
