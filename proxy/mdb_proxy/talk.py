"""A conversation as the listener sees it: for whom it counts, and what the log is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import structlog

from mdb_engine.rawbson import Document
from mdb_proxy import envelope
from mdb_proxy.decisions import Answer, Exchange
from mdb_proxy.departures import Guest
from mdb_proxy.metrics import Metrics
from mdb_proxy.session import Event, Refusal, Session


class Done(NamedTuple):
    """What a client is told, how it went, and the seconds that the cluster took for it."""

    message: bytes
    outcome: str
    behind: float = 0.0


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

    def tally(self, metrics: Metrics, done: Done, seconds: float, received: int) -> None:
        """Count a command: how long it took, and how many bytes came and went."""
        metrics.own(seconds - done.behind)
        metrics.command(self.session.app, self.session.command, done.outcome, seconds)
        metrics.moved(self.app, received, len(done.message))


def tally(metrics: Metrics, exchange: Exchange, found: Answer, seconds: float) -> None:
    """Count an exchange with the cluster."""
    metrics.answered(Document(exchange.body).first or "", seconds, found.waited)
    metrics.limited(exchange.app, exchange.caps)
    documents = envelope.documents(found.body)
    if documents is not None:
        metrics.returned(exchange.app, documents)


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
