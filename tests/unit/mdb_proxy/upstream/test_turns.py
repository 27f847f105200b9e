import asyncio

import pytest

from mdb_engine.exceptions import OverloadedError
from mdb_proxy.upstream.turns import Turns


def test_free_places_are_taken_at_once():
    async def run():
        turns = Turns(2)
        await turns.take("a", 0)
        await turns.take("a", 0)
        assert turns.taken == 2
        turns.release()
        await turns.take("b", 0)
        assert turns.taken == 2

    asyncio.run(run())


def test_who_waits_too_long_is_told_to_try_again():
    async def run():
        turns = Turns(1)
        await turns.take("a", 0)
        with pytest.raises(OverloadedError) as caught:
            await turns.take("a", 0.01)
        assert (caught.value.code, turns.taken) == (462, 1)
        assert caught.value.labels == ("SystemOverloadedError", "RetryableError")
        turns.release()
        await turns.take("b", 0)

    asyncio.run(run())


def test_apps_get_places_in_turn():
    async def run():
        turns, order = Turns(1), []
        await turns.take("busy", 0)

        async def use(app):
            await turns.take(app, 5)
            order.append(app)
            turns.release()

        async with asyncio.TaskGroup() as group:
            for app in ["noisy"] * 4 + ["quiet", "other", "quiet"]:
                group.create_task(use(app))
            await asyncio.sleep(0)
            turns.release()
        assert order == ["noisy", "quiet", "other", "noisy", "quiet", "noisy", "noisy"]
        assert turns.taken == 0

    asyncio.run(run())


def test_who_leaves_the_queue_is_skipped():
    async def run():
        turns = Turns(1)
        await turns.take("a", 0)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(turns.take("a", 5)) for _ in range(3)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            tasks[1].cancel()
            await asyncio.sleep(0)
            turns.release()
        assert turns.taken == 1
        turns.release()
        await turns.take("a", 0)

    asyncio.run(run())


def test_a_place_given_in_the_moment_of_leaving_is_passed_on():
    async def run():
        turns = Turns(1)
        await turns.take("a", 0)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(turns.take("a", 5))
            second = group.create_task(turns.take("b", 5))
            await asyncio.sleep(0)
            turns.release()
            first.cancel()
        assert second.done()
        assert turns.taken == 1
        turns.release()
        await turns.take("a", 0)

    asyncio.run(run())


def test_a_place_is_not_given_to_one_that_is_leaving():
    async def run():
        turns = Turns(1)
        await turns.take("a", 0)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(turns.take("a", 5))
            await asyncio.sleep(0)
            task.cancel()
            turns.release()
        await turns.take("a", 0)
        assert turns.taken == 1

    asyncio.run(run())
