"""Motor, unchanged."""

import asyncio
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorGridFSBucket
from pymongo.errors import OperationFailure

from tests.support.proxies import Proxy


async def works(uri: str, name: str) -> list[Any]:
    client: Any = AsyncIOMotorClient(uri, serverSelectionTimeoutMS=10_000)
    try:
        tasks = client.get_default_database()[name]
        await tasks.insert_many([{"_id": n, "n": n} for n in range(5)])
        await tasks.update_one({"_id": 1}, {"$set": {"x": 1}})
        async with await client.start_session() as session, session.start_transaction():
            await tasks.insert_one({"_id": "in"}, session=session)
        bucket = AsyncIOMotorGridFSBucket(client.get_default_database(), bucket_name=f"{name}_f")
        number = await bucket.upload_from_stream("f", b"content")
        stream = await bucket.open_download_stream(number)
        with pytest.raises(OperationFailure):
            await tasks.find_one({"$where": "true"})
        return [
            await tasks.find_one({"_id": 1}),
            await tasks.count_documents({}),
            await tasks.aggregate([{"$group": {"_id": None, "n": {"$sum": "$n"}}}]).to_list(None),
            await stream.read(),
        ]
    finally:
        client.close()


def test_motor(proxy: Proxy, name: str) -> None:
    found = asyncio.run(works(proxy.uris["shop"], name))
    assert found == [{"_id": 1, "n": 1, "x": 1}, 6, [{"_id": None, "n": 10}], b"content"]
    assert proxy.behind[f"shop_{name}"].distinct("app_id") == ["shop"]
