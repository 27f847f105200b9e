"""What a log line knows by itself: the correlation id and the app of the work it belongs to."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any, Final
from uuid import uuid4

import structlog

_correlation: Final[ContextVar[str | None]] = ContextVar("correlation_id", default=None)
_app: Final[ContextVar[str | None]] = ContextVar("app", default=None)


def set_correlation_id(correlation_id: str | None = None) -> str:
    """Name the work that begins here; gives the name, a new one when none is given."""
    chosen = correlation_id or uuid4().hex
    _correlation.set(chosen)
    structlog.contextvars.bind_contextvars(correlation_id=chosen)
    return chosen


def get_correlation_id() -> str | None:
    """The name of the work that is going on."""
    return _correlation.get()


def clear_correlation_id() -> None:
    """The work is done."""
    _correlation.set(None)
    structlog.contextvars.unbind_contextvars("correlation_id")


def set_app(slug: str | None) -> None:
    """Say for which app the following work is."""
    _app.set(slug)
    if slug is None:
        structlog.contextvars.unbind_contextvars("app")
    else:
        structlog.contextvars.bind_contextvars(app=slug)


class ContextLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger of the standard library whose lines carry the context as fields."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Put the context beside what the caller gives."""
        context = {"correlation_id": _correlation.get(), "app": _app.get()}
        known = {name: value for name, value in context.items() if value is not None}
        return msg, {**kwargs, "extra": {**known, **(kwargs.get("extra") or {})}}


def get_logger(name: str) -> ContextLogger:
    """A logger whose lines tell the correlation id and the app; takes `exc_info=True`."""
    return ContextLogger(logging.getLogger(name), {})
