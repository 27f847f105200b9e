"""Looks at a running proxy's admin pages, and waits for what is to come true."""

import time
from collections.abc import Callable
from urllib.error import HTTPError
from urllib.request import urlopen

SECONDS = 5
PATIENCE_SECONDS = 30


def page(url: str) -> tuple[int, str]:
    """Give status and body."""
    try:
        with urlopen(url, timeout=SECONDS) as answer:  # noqa: S310 - our own port
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def soon(holds: Callable[[], bool], seconds: float = SECONDS) -> bool:
    """Whether it becomes true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return False


def metric(url: str, start: str) -> float:
    """Give the sum of all numbers of a page whose lines begin so."""
    lines = page(url)[1].splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(start))
