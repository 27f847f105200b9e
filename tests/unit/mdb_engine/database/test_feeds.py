import asyncio

import pytest

from mdb_engine.database.feeds import empty_feed


def test_a_result_without_documents() -> None:
    async def body() -> None:
        feed = empty_feed()
        assert await feed.take(None) == []
        with pytest.raises(StopAsyncIteration):
            await feed.next()
        await feed.close()
        assert (feed.alive(), feed.full) == (False, False)

    asyncio.run(body())
