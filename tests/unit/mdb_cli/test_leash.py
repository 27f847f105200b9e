"""The leash: a program that ends with its parent."""

import os
import subprocess
import sys
import time

import pytest

from mdb_cli import leash

PARENT = """
import subprocess, sys, time, os
child = subprocess.Popen([sys.executable, sys.argv[1], str(os.getpid()), "/bin/sleep", "60"])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_it_stays_when_the_parent_is_gone_already() -> None:
    assert leash.become(os.getpid(), ["/bin/false"]) is None  # our parent is another one


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_the_program_ends_with_its_parent() -> None:
    command = [sys.executable, "-c", PARENT, leash.__file__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:  # noqa: S603
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
    for _ in range(500):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    pytest.fail("the program outlived its parent")
