import asyncio

import pytest

from mdb_proxy.upstream.news import News


def test_all_who_wait_hear_of_a_change():
    async def run():
        state = [object()]
        news = News(lambda: state[0])
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            tasks = [group.create_task(news.wait()) for _ in range(3)]
            await asyncio.sleep(0.05)
            assert not any(task.done() for task in tasks)
            tasks[0].cancel()
            state[0] = object()
        await asyncio.gather(*tasks[1:])

    asyncio.run(run())


def test_nobody_looks_when_nobody_waits():
    async def run():
        looks = []
        news = News(lambda: looks.append(1))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await news.wait()
        seen = len(looks)
        assert seen > 1
        await asyncio.sleep(0.05)
        assert len(looks) == seen

    asyncio.run(run())


def test_it_can_be_waited_for_again():
    async def run():
        state = [0]
        news = News(lambda: state[0])

        async def follow(until):
            while state[0] < until:
                await news.wait()

        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            for until in (1, 2, 3):
                group.create_task(follow(until))
            for number in (1, 2, 3):
                await asyncio.sleep(0.02)
                state[0] = number

    asyncio.run(run())
