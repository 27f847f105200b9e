"""Our own connections against a real server: replies, cancellation, pins, transactions."""

import asyncio
from contextlib import asynccontextmanager

import bson
import pytest

from mdb_proxy.decisions import Exchange
from mdb_proxy.upstream import PoolSettings, open_upstream


@asynccontextmanager
async def opened(uri):
    async with open_upstream(
        uri, app_name="e2e", pool=PoolSettings(max_size=5), selection_timeout=10
    ) as upstream:
        await upstream.check()
        yield upstream


async def ask(upstream, command, **how):
    body = bson.encode({**command, "$db": how.pop("db", "upstream_e2e")})
    return await upstream.exchange(Exchange(body, **how))


def test_every_reply_belongs_to_its_request(mongo_uri):
    async def one(upstream, number):
        reply = bson.decode((await ask(upstream, {"find": "t", "filter": {"_id": number}})).body)
        assert [each["_id"] for each in reply["cursor"]["firstBatch"]] == [number]

    async def run():
        async with opened(mongo_uri) as upstream:
            documents = tuple(bson.encode({"_id": number}) for number in range(50))
            await ask(upstream, {"drop": "t"})
            answer = await ask(upstream, {"insert": "t"}, sections=(("documents", documents),))
            assert bson.decode(answer.body)["n"] == 50
            async with asyncio.TaskGroup() as group:
                for number in range(50):
                    group.create_task(one(upstream, number))

    asyncio.run(run())


def test_a_cancelled_command_stops_on_the_server(mongo_uri):
    running = [{"$currentOp": {}}, {"$match": {"command.comment": "cancelled"}}]

    async def run():
        async with opened(mongo_uri) as upstream:

            async def count():
                command = {"aggregate": 1, "pipeline": running, "cursor": {}}
                reply = bson.decode((await ask(upstream, command, db="admin")).body)
                return len(reply["cursor"]["firstBatch"])

            async def until(number):
                async with asyncio.timeout(10):
                    while await count() != number:  # noqa: ASYNC110 - only the server knows
                        await asyncio.sleep(0.01)

            documents = tuple(bson.encode({"_id": number}) for number in range(2000))
            await ask(upstream, {"drop": "slow"})
            await ask(upstream, {"insert": "slow"}, sections=(("documents", documents),))
            slow = {"find": "slow", "filter": {"$where": "sleep(20) || true"}}
            async with asyncio.TaskGroup() as group:
                task = group.create_task(ask(upstream, {**slow, "comment": "cancelled"}))
                await until(1)
                task.cancel()
            await until(0)

    asyncio.run(run())


@pytest.mark.parametrize("mode", ["primaryPreferred", "secondaryPreferred", "nearest"])
def test_a_cursor_is_continued_where_it_was_opened(mongo_uri, mode):
    async def run():
        async with opened(mongo_uri) as upstream:
            documents = tuple(bson.encode({"_id": number}) for number in range(10))
            await ask(upstream, {"drop": "c"})
            await ask(upstream, {"insert": "c"}, sections=(("documents", documents),))
            find = {"find": "c", "batchSize": 4, "readConcern": {"level": "majority"}}
            opened_by = await ask(upstream, find, read_preference={"mode": mode})
            cursor = bson.decode(opened_by.body)["cursor"]
            more = {"getMore": bson.Int64(cursor["id"]), "collection": "c"}
            rest = bson.decode((await ask(upstream, more, pin=opened_by.member)).body)["cursor"]
            assert len(cursor["firstBatch"]) + len(rest["nextBatch"]) == 10

    asyncio.run(run())
