import asyncio

import bson
import pytest

from mdb_engine.exceptions import OverloadedError, UpstreamError
from mdb_proxy.upstream.pool import Pool, PoolSettings

PING = bson.encode({"ping": 1, "$db": "admin"})
SLOW = bson.encode({"slow": 1})
SETTINGS = PoolSettings(wait_seconds=0.02)


async def broken(exchange):
    with pytest.raises(OSError, match="closed"):
        await exchange


def test_the_last_one_given_back_is_the_next_one_taken(serving, dial):
    async def run():
        async with serving() as server:
            pool = Pool(lambda: dial(server), 3, SETTINGS)
            first, second = await pool.take("a"), await pool.take("a")
            assert pool.busy == 2
            pool.give(first)
            pool.give(second)
            assert await pool.take("a") is second
            assert await pool.take("a") is first
            assert len(server.peers) <= 2
            pool.give(first)
            pool.give(second)
            await pool.close()
            assert pool.empty

    asyncio.run(run())


def test_the_number_of_connections_has_a_top(serving, dial):
    async def run():
        async with serving() as server:
            pool = Pool(lambda: dial(server), 1, SETTINGS)
            connection = await pool.take("a")
            with pytest.raises(OverloadedError):
                await pool.take("a")
            pool.give(connection)
            assert await pool.take("a") is connection
            pool.give(connection)
            await pool.close()

    asyncio.run(run())


def test_a_connection_that_is_not_at_rest_is_never_given_again(serving, dial):
    async def run():
        async with serving(slow=lambda peer, message: None) as server:
            pool = Pool(lambda: dial(server), 1, SETTINGS)
            connection = await pool.take("a")
            async with asyncio.TaskGroup() as group:
                group.create_task(broken(connection.exchange(SLOW)))
                await server.until(lambda: bool(server.seen))
                pool.give(connection)
                fresh = await pool.take("a")
            assert fresh is not connection
            assert bson.decode(await fresh.exchange(PING))["from"] == 2
            pool.give(fresh)
            await pool.close()

    asyncio.run(run())


def test_a_connection_that_the_member_closed_is_replaced(serving, dial):
    async def run():
        async with serving() as server:
            pool = Pool(lambda: dial(server), 2, SETTINGS)
            first, second = await pool.take("a"), await pool.take("a")
            await first.exchange(PING)
            await second.exchange(PING)
            pool.give(first)
            pool.give(second)
            for peer in server.peers:
                peer.transport.close()
            await first.gone
            await second.gone
            fresh = await pool.take("a")
            assert fresh not in {first, second}
            assert bson.decode(await fresh.exchange(PING))["from"] == 3
            pool.give(fresh)
            await pool.close()

    asyncio.run(run())


def test_a_failed_connect_gives_its_place_back(serving, dial):
    async def run():
        async with serving() as server:
            outcomes = [UpstreamError("no"), None]

            async def connect():
                error = outcomes.pop(0)
                if error:
                    raise error
                return await dial(server)

            pool = Pool(connect, 1, SETTINGS)
            with pytest.raises(UpstreamError):
                await pool.take("a")
            assert pool.empty
            pool.give(await pool.take("a"))
            await pool.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("settings", "everything", "left"),
    [
        (SETTINGS, False, 1),
        (SETTINGS, True, 0),
        (PoolSettings(idle_seconds=-1), False, 0),
    ],
)
def test_pruning_closes_what_is_idle_for_long(serving, dial, settings, everything, left):
    async def run():
        async with serving() as server:
            pool = Pool(lambda: dial(server), 1, settings)
            connection = await pool.take("a")
            pool.give(connection)
            pool.prune(everything)
            await asyncio.sleep(0.01)
            assert (connection.usable, pool.empty) == (bool(left), not left)
            await pool.close()

    asyncio.run(run())


def test_an_old_connection_is_closed_at_rest(serving, dial):
    async def run():
        async with serving() as server:
            pool = Pool(lambda: dial(server), 1, PoolSettings(lifetime_seconds=-1))
            connection = await pool.take("a")
            pool.give(connection)
            await connection.gone
            assert pool.empty

    asyncio.run(run())


def test_closing_ends_what_is_in_use_and_what_comes_later(serving, dial):
    async def run():
        async with serving(slow=lambda peer, message: None) as server:
            pool = Pool(lambda: dial(server), 2, SETTINGS)
            connection = await pool.take("a")
            async with asyncio.TaskGroup() as group:
                group.create_task(broken(connection.exchange(SLOW)))
                await server.until(lambda: bool(server.seen))
                await pool.close()
            pool.give(connection)
            with pytest.raises(UpstreamError):
                await pool.take("a")
            assert pool.empty
            await server.until(lambda: len(server.lost) == len(server.peers) == 2)

    asyncio.run(run())
