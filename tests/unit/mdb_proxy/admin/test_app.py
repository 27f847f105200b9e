"""The admin pages: what each says, and a port that is there only while it is needed."""

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from mdb_proxy.admin import Watch, admin_app, serving

GOOD = {"primary": True, "apps": True}


def watch(*, alive: bool = True, checks: Mapping[str, bool] = GOOD) -> Watch:
    return Watch(lambda: alive, lambda: checks, lambda: {"connections": 3}, lambda: b"x 1.0\n")


def ask(path: str, method: str = "GET", given: Watch | None = None) -> tuple[str, Any, bytes]:
    environ: dict[str, Any] = {"PATH_INFO": path, "REQUEST_METHOD": method}
    setup_testing_defaults(environ)
    heard: list[Any] = []
    body = admin_app(given or watch())(environ, lambda *said: heard.extend(said))  # type: ignore[arg-type, return-value]
    return heard[0], dict(heard[1]), b"".join(body)


@pytest.mark.parametrize(
    ("path", "given", "status", "body"),
    [
        ("/livez", watch(), "200 OK", b"ok\n"),
        (
            "/livez",
            watch(alive=False),
            "503 Service Unavailable",
            b"the event loop does not answer\n",
        ),
        ("/readyz", watch(), "200 OK", b"ok\n"),
        ("/readyz", watch(alive=False), "200 OK", b"ok\n"),
        (
            "/readyz",
            watch(checks={"primary": False, "apps": True, "serving": False}),
            "503 Service Unavailable",
            b"not ready: primary, serving\n",
        ),
        ("/metrics", watch(), "200 OK", b"x 1.0\n"),
        ("/", watch(), "404 Not Found", b"no such page\n"),
        ("/livez/", watch(), "404 Not Found", b"no such page\n"),
        ("/../livez", watch(), "404 Not Found", b"no such page\n"),
    ],
)
def test_pages(path: str, given: Watch, status: str, body: bytes) -> None:
    found = ask(path, given=given)
    assert (found[0], found[2]) == (status, body)
    assert found[1]["Content-Length"] == str(len(body))
    assert found[1]["Cache-Control"] == "no-store"
    assert ask(path, "HEAD", given)[2] == b""


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        (
            watch(),
            "200 OK",
            {"status": "healthy", "checks": {"alive": True, **GOOD}, "connections": 3},
        ),
        (
            watch(alive=False),
            "503 Service Unavailable",
            {"status": "unhealthy", "checks": {"alive": False, **GOOD}, "connections": 3},
        ),
    ],
)
def test_health_in_detail(given: Watch, status: str, said: dict[str, Any]) -> None:
    found = ask("/healthz", given=given)
    assert (found[0], found[1]["Content-Type"]) == (status, "application/json")
    assert json.loads(found[2]) == said


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_there_is_nothing_to_change(method: str) -> None:
    assert ask("/livez", method)[0] == "405 Method Not Allowed"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port(host: str, capfd: pytest.CaptureFixture[str]) -> None:
    try:
        with serving((host, 0), admin_app(watch())) as address:
            assert address[0] == host
            with pytest.raises(OSError, match="ddress already in use"), serving(address, None):  # type: ignore[arg-type]
                pass
            for path, status in (("/livez", 200), ("/readyz", 200), ("/nothing", 404)):
                connection = http.client.HTTPConnection(*address, timeout=5)
                connection.request("GET", path)
                assert connection.getresponse().status == status
                connection.close()
            with socket.create_connection(address) as early:
                early.send(b"GET /met")
    except OSError as error:
        if host == "::1" and error.errno in (97, 99):
            pytest.skip("no IPv6 here")
        raise
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(address)
    assert capfd.readouterr() == ("", "")
