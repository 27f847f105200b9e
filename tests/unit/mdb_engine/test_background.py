import asyncio

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
