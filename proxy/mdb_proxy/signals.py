"""Runs the event loop and turns signals into wishes: to stop, to read again."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

Result = TypeVar("Result")

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def run(
    work: Callable[[asyncio.Event], Coroutine[Any, Any, Result]],
    again: asyncio.Event | None = None,
    *,
    patient: bool = False,
) -> Result:
    """Run `work(stop)` to its end; the first SIGINT or SIGTERM sets `stop`, SIGHUP sets `again`.

    A second signal ends the process at once: whoever sends it does not want to wait. Where that
    is another process's business (`patient`) it is heard and changes nothing.
    """

    async def main() -> Result:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()

        def asked() -> None:
            stop.set()
            if not patient:
                _forget(loop)

        for number in SIGNALS:
            loop.add_signal_handler(number, asked)
        if again is not None:
            loop.add_signal_handler(signal.SIGHUP, again.set)
        try:
            return await work(stop)
        finally:
            _forget(loop)
            if again is not None:
                loop.remove_signal_handler(signal.SIGHUP)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main())


def _forget(loop: asyncio.AbstractEventLoop) -> None:
    """Give the signals back their usual meaning."""
    for number in SIGNALS:
        loop.remove_signal_handler(number)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Give uvloop's loop where it is installed; None: asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - not there on every platform
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
