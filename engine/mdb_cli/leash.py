"""Becomes another program that is asked to end when its parent process ends, however that ends.

Run as `python leash.py PARENT PROGRAM ARGUMENT...`. The kernel does the watching (prctl(2),
PR_SET_PDEATHSIG: it outlives execve, and means the *thread* of the parent that started us). Where
there is no prctl the program runs without the leash.
"""

import ctypes
import os
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1


def become(parent: int, program: list[str]) -> None:
    """Replace this process by the program, tied to `parent`; returns only if the parent is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == parent:  # it may have ended before the kernel began to watch
        os.execv(program[0], program)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
