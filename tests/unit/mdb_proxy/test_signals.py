"""Signals become a wish to stop."""

import asyncio
import os
import signal

import pytest

from mdb_proxy.signals import SIGNALS, run


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_sets_stop(number: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGINT)

    async def work(stop: asyncio.Event) -> str:
        os.kill(os.getpid(), number)
        async with asyncio.timeout(5):
            await stop.wait()
        return "stopped"

    assert run(work) == "stopped"
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_comes_out() -> None:
    async def work(stop: asyncio.Event) -> None:
        raise OSError("in use")

    with pytest.raises(OSError, match="in use"):
        run(work)


def test_a_hangup_is_another_wish() -> None:
    before = signal.getsignal(signal.SIGHUP)
    again = asyncio.Event()

    async def work(stop: asyncio.Event) -> bool:
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(5):
            await again.wait()
        return stop.is_set()

    assert run(work, again) is False
    assert signal.getsignal(signal.SIGHUP) is before


def test_who_is_patient_hears_a_signal_twice() -> None:
    async def work(stop: asyncio.Event) -> str:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(5):
                await stop.wait()
            stop.clear()
        return "still here"

    assert run(work, patient=True) == "still here"
