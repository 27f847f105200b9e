import asyncio

from mdb_proxy.upstream.lanes import Lanes
from mdb_proxy.upstream.pool import PoolSettings


def test_each_member_has_two_pools(serving, dial):
    async def run():
        async with serving() as server:
            lanes = Lanes(lambda member: dial(server), PoolSettings(max_size=1, max_awaited=1))
            here, there = ("127.0.0.1", server.port), ("elsewhere", 1)
            ordinary, awaited = lanes.pool(here, False), lanes.pool(here, True)
            assert lanes.pool(here, False) is ordinary
            assert len({id(each) for each in (ordinary, awaited, lanes.pool(there, False))}) == 3
            # the one lane being full does not hold up the other
            connections = await ordinary.take("a"), await awaited.take("a")
            assert (lanes.busy(here), lanes.busy(there), lanes.busy(("unknown", 1))) == (2, 0, 0)
            assert (lanes.sizes(here), lanes.sizes(("unknown", 1))) == ((2, 2), (0, 0))
            ordinary.give(connections[0])
            assert lanes.sizes(here) == (1, 2)
            awaited.give(connections[1])
            await lanes.close()
            await server.until(lambda: len(server.lost) == 2)

    asyncio.run(run())


def test_the_pools_of_a_member_that_left_go(serving, dial):
    async def run():
        async with serving() as server:
            lanes = Lanes(lambda member: dial(server), PoolSettings())
            here = ("127.0.0.1", server.port)
            pool = lanes.pool(here, False)
            connection = await pool.take("a")
            lanes.prune([])
            assert connection.usable
            pool.give(connection)
            lanes.prune([here])
            assert connection.usable
            lanes.prune([])
            await connection.gone
            await asyncio.sleep(0)
            lanes.prune([])
            assert lanes.pool(here, False) is not pool
            await lanes.close()

    asyncio.run(run())


def test_pruning_goes_on_while_the_block_runs(serving, dial):
    async def run():
        async with serving() as server:
            lanes = Lanes(lambda member: dial(server), PoolSettings())
            here = ("127.0.0.1", server.port)
            with lanes.pruning(list, seconds=0.01):
                for _ in range(2):
                    pool = lanes.pool(here, False)
                    connection = await pool.take("a")
                    pool.give(connection)
                    await connection.gone
            pool = lanes.pool(here, False)
            connection = await pool.take("a")
            pool.give(connection)
            await asyncio.sleep(0.03)
            assert connection.usable
            await lanes.close()

    asyncio.run(run())
