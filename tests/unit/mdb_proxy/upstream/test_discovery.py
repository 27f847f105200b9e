import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from pymongo import AsyncMongoClient

from mdb_engine.exceptions import QueryValidationError, UpstreamError
from mdb_proxy.upstream.discovery import ClusterFeatures, Discovery
from mdb_proxy.upstream.preference import ANY, selector

SECONDARY = {"mode": "secondary"}


@asynccontextmanager
async def watching(uri, seconds=5.0, busy=lambda _: 0):
    client = AsyncMongoClient(uri)
    try:
        await client.aconnect()
        yield Discovery(client, seconds, busy)
    finally:
        await client.close()


@asynccontextmanager
async def replica_set(serving):
    """A primary and two secondaries."""
    async with serving() as one, serving() as two, serving() as three:
        hosts = [one.member, two.member, three.member]
        for server in (one, two, three):
            first = server is one
            server.hello |= {"setName": "rs", "hosts": hosts, "me": server.member}
            server.hello |= {"isWritablePrimary": first, "secondary": not first}
        three.hello |= {"maxWireVersion": 16, "tags": {"dc": "b"}}
        yield one, two, three


def address(server):
    return "127.0.0.1", server.port


def test_a_replica_set_is_chosen_from_by_read_preference(serving):
    async def run():
        async with replica_set(serving) as (one, two, three):
            uri = f"mongodb://{one.member}/?replicaSet=rs&localThresholdMS=60000"
            async with watching(uri) as discovery:
                await one.until(lambda: len(discovery.description.known_servers) == 3)
                assert await discovery.select(selector(None)) == address(one)
                tagged = selector({"mode": "secondary", "tags": [{"dc": "b"}]})
                assert await discovery.select(tagged) == address(three)
                turns = Counter([await discovery.select(selector(SECONDARY)) for _ in range(10)])
                assert turns == {address(two): 5, address(three): 5}
                assert discovery.features == ClusterFeatures(16, standalone=False)
                assert discovery.addresses == {address(each) for each in (one, two, three)}
                assert len(discovery.members) == 3

    asyncio.run(run())


def test_the_least_busy_member_is_chosen(serving):
    async def run():
        async with replica_set(serving) as (one, two, three):
            load = {address(two): 1}
            uri = f"mongodb://{one.member}/?replicaSet=rs"
            async with watching(uri, busy=lambda each: load.get(each, 0)) as discovery:
                await one.until(lambda: len(discovery.description.known_servers) == 3)
                chosen = {await discovery.select(selector(SECONDARY)) for _ in range(4)}
                assert chosen == {address(three)}

    asyncio.run(run())


def test_a_standalone_serves_every_preference(serving):
    async def run():
        async with serving() as server, watching(f"mongodb://{server.member}") as discovery:
            assert discovery.features == ClusterFeatures(0, standalone=False)
            assert await discovery.select(selector(SECONDARY)) == address(server)
            assert await discovery.select(selector(None)) == address(server)
            assert discovery.features == ClusterFeatures(17, standalone=True)

    asyncio.run(run())


def test_a_mongos_serves_every_preference(serving):
    async def run():
        async with serving() as server:
            server.hello["msg"] = "isdbgrid"
            async with watching(f"mongodb://{server.member}") as discovery:
                assert await discovery.select(selector(SECONDARY)) == address(server)
                assert discovery.features == ClusterFeatures(17, standalone=False)

    asyncio.run(run())


def test_nobody_suits_in_time(serving):
    async def run():
        async with replica_set(serving) as (one, *_):
            uri = f"mongodb://{one.member}/?replicaSet=rs"
            async with watching(uri, seconds=0.05) as discovery:
                nowhere = selector({"mode": "secondary", "tags": [{"dc": "z"}]})
                with pytest.raises(UpstreamError, match="no suitable member"):
                    await discovery.select(nowhere)

    asyncio.run(run())


def test_a_staleness_below_what_can_be_measured_is_refused(serving):
    async def run():
        async with replica_set(serving) as (one, *_):
            uri = f"mongodb://{one.member}/?replicaSet=rs"
            async with watching(uri) as discovery:
                await discovery.select(ANY)
                with pytest.raises(QueryValidationError):
                    await discovery.select(selector({**SECONDARY, "maxStalenessSeconds": 1}))

    asyncio.run(run())


def test_a_pin_names_a_member_of_the_cluster(serving):
    async def run():
        async with serving() as server, watching(f"mongodb://{server.member}") as discovery:
            assert discovery.pinned(server.member) == address(server)
            with pytest.raises(UpstreamError):
                discovery.pinned("elsewhere:1")

    asyncio.run(run())
