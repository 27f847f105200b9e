"""Slow work: a few at a time, some wait, the others are told to come again."""

import asyncio
import threading

import pytest

from mdb_engine.exceptions import OverloadedError
from mdb_proxy import chores as module
from mdb_proxy.chores import THREADS, Chores
from mdb_proxy.decisions import KEYS, PASSWORDS, Chore


def test_the_loop_does_not_wait() -> None:
    async def main() -> None:
        chores, go = Chores(), threading.Event()

        def work() -> bytes:
            assert threading.current_thread() is not threading.main_thread()
            go.wait(10)
            return b"done"

        task = asyncio.ensure_future(chores.done(Chore(work, PASSWORDS)))
        await asyncio.sleep(0.01)
        assert await chores.done(Chore(lambda: b"other", KEYS)) == b"other"
        assert not task.done()
        go.set()
        assert await task == b"done"

    asyncio.run(main())


def test_what_fails_is_told() -> None:
    def work() -> bytes:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        asyncio.run(Chores().done(Chore(work, KEYS)))


def test_few_at_a_time_and_few_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 5)
    at_once: list[int] = []
    working = 0

    async def main() -> None:
        nonlocal working
        chores, go = Chores(), threading.Event()

        def work() -> bytes:
            nonlocal working
            working += 1
            at_once.append(working)
            go.wait(10)
            working -= 1
            return b""

        tasks = [asyncio.ensure_future(chores.done(Chore(work, PASSWORDS))) for _ in range(5)]
        await asyncio.sleep(0.01)
        with pytest.raises(OverloadedError) as caught:
            await chores.done(Chore(work, PASSWORDS))
        assert caught.value.code == 462
        tasks[4].cancel()
        await asyncio.sleep(0.01)
        go.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await chores.done(Chore(work, PASSWORDS)) == b"", "there is room again"

    asyncio.run(main())
    assert max(at_once) == THREADS[PASSWORDS] == 1
    assert len(at_once) == 5, "who went away was not waited for"
