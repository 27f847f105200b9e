"""A real HAProxy in front of several proxies: TCP, with PROXY headers of version 2."""

import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import config
from tests.support.pages import soon
from tests.support.replicas import lasting_port

SECONDS = 10
CONFIG = """
global
  maxconn 2000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend apps
  bind 127.0.0.1:{port}
  default_backend proxies
backend proxies
  balance roundrobin
{servers}
"""
SERVER = "  server p{number} 127.0.0.1:{port} send-proxy-v2 check inter 500ms\n"


def haproxy_path() -> str:
    """Give its path; without it the test is skipped, in CI it fails."""
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if found is None and config.CI:
        pytest.fail("HAProxy is missing", pytrace=False)
    if found is None:
        pytest.skip("HAProxy is missing: apt-get install haproxy")
    return found


@contextmanager
def haproxy(folder: Path, ports: Sequence[int]) -> Iterator[int]:
    """Run it in front of these ports of 127.0.0.1; gives its own port."""
    path, port = haproxy_path(), lasting_port()
    servers = "".join(SERVER.format(number=n, port=each) for n, each in enumerate(ports))
    file = folder / "haproxy.cfg"
    file.write_text(CONFIG.format(port=port, servers=servers))
    with (folder / "haproxy.log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603 - our own arguments
            [path, "-db", "-f", str(file)], stdout=log, stderr=log
        )
        try:
            assert soon(lambda: _listens(port), SECONDS), (folder / "haproxy.log").read_text()
            yield port
        finally:
            process.terminate()
            process.wait(SECONDS)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
