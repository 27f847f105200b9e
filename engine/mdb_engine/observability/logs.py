"""Logs: every line, ours or a library's, in one shape on stderr.

An event is named noun.verb (`command.refused`) and carries fields; never documents, never secrets.
"""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, Final, TextIO

import orjson
import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

# A driver logs whole commands at its debug level; those hold the tenants' documents.
QUIET: Final = ("pymongo", "asyncio")
URI_PASSWORD: Final = re.compile(r"(mongodb(?:\+srv)?://)[^\s\"'<>]*@")


def configure_logging(
    level: str,
    format: str,  # noqa: A002
    stream: TextIO | None = None,
    **fields: int | str,
) -> None:
    """Send structlog's and the standard library's lines to stderr in one shape.

    Args:
        level: debug, info, warning or error; below it nothing is built.
        format: json (one object per line: timestamp, level, event, ...), console (for people),
            auto (console on a terminal, else json).
        stream: where to write instead of stderr.
        fields: what every line carries.
    """
    shared = [_adder(fields), *_shared()]
    target = stream or sys.stderr
    terminal = target.isatty()
    pretty = format == "console" or (format == "auto" and terminal)
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                ProcessorFormatter.remove_processors_meta,
                _console(terminal) if pretty else structlog.processors.JSONRenderer(_dumps),
            ],
        )
    )
    number = logging.getLevelNamesMapping()[level.upper()]
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(number)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(number, logging.INFO))
    structlog.configure(
        processors=[*shared, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def mask_uris(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Take user and password out of every MongoDB URI in a line's strings."""
    for name, value in event.items():
        if isinstance(value, str) and "mongodb" in value:
            event[name] = URI_PASSWORD.sub(r"\1***@", value)
    return event


def _adder(fields: Mapping[str, int | str]) -> Processor:
    """Give the step that adds what every line carries."""

    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**fields, **event}

    return add


def _shared() -> list[Processor]:
    """Give the steps that our lines and foreign lines go through alike."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        mask_uris,
    ]


def _console(colors: bool) -> Processor:
    """Give the renderer for people."""
    return structlog.dev.ConsoleRenderer(colors=colors)


def _dumps(event: dict[str, Any], **_options: Any) -> str:
    """Give one line of JSON, timestamp, level and event first."""
    first = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
    return orjson.dumps(first | event, default=str).decode()
