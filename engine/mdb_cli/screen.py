"""What a person sees while things start: one line per step on stderr, moving on a terminal only."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


class Screen:
    """Steps on stderr; stdout stays free for what scripts read."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Show that something is under way; it gets a line of its own when it is done."""
        started = time.monotonic()
        with self._console.status(f"{text} ...") if self._console.is_terminal else _nothing():
            yield
        self.say(f"{text} ({time.monotonic() - started:.1f} s)")

    def say(self, text: str) -> None:
        """Show one line."""
        self._console.print(f"- {text}", markup=False)


@contextmanager
def _nothing() -> Iterator[None]:
    yield
