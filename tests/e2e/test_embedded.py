"""The embedded server: restarts, a port that was taken, an owner that died."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer

import pytest
from pymongo import MongoClient

from mdb_cli.embedded import EmbeddedError, embedded_server

HOLD = """
import sys, time, pathlib
from mdb_cli.embedded import embedded_server
with embedded_server(pathlib.Path(sys.argv[1])) as server:
    print(server.pid, flush=True)
    time.sleep(60)
"""


def documents(uri: str) -> list[int]:
    with MongoClient(uri, serverSelectionTimeoutMS=10_000) as client:
        client.test.kept.insert_one({})
        return [1 for _ in client.test.kept.find()]


def test_data_and_address_survive_a_restart(folder: Path) -> None:
    with embedded_server(folder) as first:
        assert len(documents(first.uri)) == 1
    with embedded_server(folder) as second:
        assert second.uri == first.uri
        assert len(documents(second.uri)) == 2
    with pytest.raises(ProcessLookupError):
        os.kill(second.pid, 0)


def test_another_port_is_taken_when_the_old_one_is_not_free(folder: Path) -> None:
    with embedded_server(folder) as first:
        documents(first.uri)
    with TCPServer(("127.0.0.1", first.port), BaseRequestHandler) as squatter:
        threading.Thread(target=squatter.serve_forever, daemon=True).start()
        try:
            with embedded_server(folder) as second:
                assert second.port != first.port
                assert len(documents(second.uri)) == 2
        finally:
            squatter.shutdown()


@pytest.fixture
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run another process that holds the folder."""
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def test_the_server_ends_when_its_owner_is_killed(
    folder: Path, holder: subprocess.Popen[str]
) -> None:
    assert holder.stdout is not None
    server = int(holder.stdout.readline())
    with (
        pytest.raises(EmbeddedError, match="in use by another `mdb dev`"),
        embedded_server(folder),
    ):
        pass
    holder.send_signal(signal.SIGKILL)
    for _ in range(500):
        try:
            os.kill(server, 0)
        except ProcessLookupError:
            break
        time.sleep(0.02)
    else:
        pytest.fail("the server outlived its owner")
    with embedded_server(folder) as after:
        assert after.port
