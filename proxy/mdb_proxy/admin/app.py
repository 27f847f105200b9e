"""Four pages over HTTP, served by a thread of their own: a page never delays a command."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from socketserver import TCPServer, ThreadingMixIn
from typing import Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

TEXT: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"
PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
POLL_SECONDS: Final = 0.1
"""How long the end may have to wait for the thread."""

METHODS: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Watch:
    """What the pages may ask, from their own thread.

    Attributes:
        alive: whether the event loop still answers.
        checks: what must hold before clients are sent here, by name.
        numbers: what else is worth knowing, by name.
        metrics: the page of Prometheus.
    """

    alive: Callable[[], bool]
    checks: Callable[[], Mapping[str, bool]]
    numbers: Callable[[], Mapping[str, int | str]]
    metrics: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Page:
    """What is sent."""

    status: HTTPStatus
    body: bytes
    kind: str = TEXT


def _verdict(good: bool, body: str) -> Page:
    return Page(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, f"{body}\n".encode())


def _livez(watch: Watch) -> Page:
    alive = watch.alive()
    return _verdict(alive, "ok" if alive else "the event loop does not answer")


def _readyz(watch: Watch) -> Page:
    missing = [name for name, holds in watch.checks().items() if not holds]
    return _verdict(not missing, f"not ready: {', '.join(missing)}" if missing else "ok")


def _healthz(watch: Watch) -> Page:
    checks = {"alive": watch.alive(), **watch.checks()}
    good = all(checks.values())
    status = "healthy" if good else "unhealthy"
    found = {"status": status, "checks": checks, **watch.numbers()}
    return Page(_verdict(good, "").status, json.dumps(found).encode(), JSON)


def _metrics(watch: Watch) -> Page:
    return Page(HTTPStatus.OK, watch.metrics(), PROMETHEUS)


PAGES: Final[Mapping[str, Callable[[Watch], Page]]] = {
    "/healthz": _healthz,
    "/livez": _livez,
    "/metrics": _metrics,
    "/readyz": _readyz,
}


def admin_app(watch: Watch) -> WSGIApplication:
    """The pages as a WSGI application."""

    def app(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        page = _page(environ, watch)
        headers = [
            ("Content-Type", page.kind),
            ("Content-Length", str(len(page.body))),
            ("Cache-Control", "no-store"),
        ]
        start(f"{page.status.value} {page.status.phrase}", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [page.body]

    return app


def _page(environ: WSGIEnvironment, watch: Watch) -> Page:
    if environ["REQUEST_METHOD"] not in METHODS:
        return Page(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET\n")
    page = PAGES.get(environ["PATH_INFO"])
    return Page(HTTPStatus.NOT_FOUND, b"no such page\n") if page is None else page(watch)


class _Handler(WSGIRequestHandler):
    timeout = 5.0

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
        """Say nothing: probes come every second."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without asking DNS for our own name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.bound
        self.setup_environ()

    @property
    def bound(self) -> tuple[str, int]:
        """Where it listens."""
        host, port, *_ = self.socket.getsockname()
        return str(host), int(port)

    def handle_error(self, request: object, client_address: object) -> None:
        """A visitor that left early is no news."""


@contextmanager
def serving(address: tuple[str, int], app: WSGIApplication) -> Iterator[tuple[str, int]]:
    """Serve the pages while the block runs; gives the address, port 0 takes a free one.

    Raises:
        OSError: the address cannot be had.
    """
    with _Server(address) as server:
        server.set_app(app)
        work = partial(server.serve_forever, poll_interval=POLL_SECONDS)
        thread = threading.Thread(target=work, name="admin", daemon=True)
        thread.start()
        try:
            yield server.bound
        finally:
            server.shutdown()
            thread.join()
