import asyncio

import pytest

from mdb_engine import background
from mdb_engine.background import Supervisor


def test_a_failing_job_takes_none_along() -> None:
    async def body() -> None:
        jobs, done = Supervisor(), []

        async def fails() -> None:
            raise ValueError("a bug")

        async def works() -> None:
            await asyncio.sleep(0)
            done.append(1)

        jobs.start("fails", fails)
        jobs.start("works", works)
        assert len(jobs) == 2
        await jobs.idle()
        assert (done, jobs.failures, len(jobs)) == ([1], 1, 0)

    asyncio.run(body())


def test_closing_waits_for_work_and_ends_what_lasts() -> None:
    async def body() -> None:
        jobs, seen = Supervisor(), []

        async def lasts() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("ended")

        async def finishes() -> None:
            await asyncio.sleep(0)
            seen.append("finished")

        jobs.start("lasts", lasts, lasting=True)
        jobs.start("stuck", lasts)
        jobs.start("finishes", finishes)
        await asyncio.sleep(0)
        await jobs.close(0.01)
        assert sorted(seen) == ["ended", "ended", "finished"]
        await jobs.close()

    asyncio.run(body())


def test_a_job_that_was_not_told_of_its_end_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `asyncio.wait_for` does it before Python 3.12, when both come at once."""

    async def body() -> None:
        jobs, told = Supervisor(), []
        monkeypatch.setattr(background, "AGAIN_SECONDS", 0.01)

        async def forgets() -> None:
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    told.append(1)
                    if len(told) > 1:
                        raise

        jobs.start("forgets", forgets, lasting=True)
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await jobs.close(0.01)
        assert len(told) == 2

    asyncio.run(body())
