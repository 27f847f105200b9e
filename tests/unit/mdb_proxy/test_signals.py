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
