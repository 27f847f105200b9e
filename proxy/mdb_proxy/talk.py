"""A conversation as the listener sees it: for whom it counts, and what the log is told of it."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from mdb_proxy.departures import Guest
from mdb_proxy.metrics import Metrics
from mdb_proxy.session import Event, Refusal, Session


@dataclass(slots=True)
class Talk:
    """A conversation, the app that its connection counts for, its commands, when the last began."""

    session: Session
    number: int
    address: str
    app: str = ""
    guest: Guest | None = None
    commands: int = 0
    heard: float = 0.0


def log_of(**bound: object) -> structlog.typing.FilteringBoundLogger:
    """The log of one connection."""
    found: structlog.typing.FilteringBoundLogger = structlog.get_logger("mdb_proxy.server")
    return found.bind(**bound)


def note(served: structlog.typing.FilteringBoundLogger, metrics: Metrics, event: Event) -> None:
    """Log a refused command (which rule and where, never what it held), or a login."""
    if isinstance(event, Refusal):
        metrics.refusal(event.app, event.code)
        served.info(
            "command.refused", slug=event.app, command=event.command, code=event.code, at=event.at
        )
        return
    metrics.attempt(event.mechanism, event.code)
    fields = {"name": event.name, "mechanism": event.mechanism}
    if event.code:
        served.warning("login.failed", code=event.code, **fields)
    else:
        served.debug("login.succeeded", slug=event.app, **fields)
