"""What the log is told of a conversation."""

import logging
from typing import Any

import pytest
import structlog

from mdb_proxy.metrics import Metrics
from mdb_proxy.session import Attempt, Event, Refusal
from mdb_proxy.talk import log_of, note


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            Refusal("find", 2, "filter.$where", "shop"),
            {"event": "command.refused", "slug": "shop", "at": "filter.$where", "code": 2},
        ),
        (Attempt("shop", "PLAIN", 18), {"event": "login.failed", "name": "shop", "code": 18}),
        (Attempt("shop", "PLAIN", 0, "shop"), {"event": "login.succeeded", "slug": "shop"}),
    ],
)
def test_lines(event: Event, line: dict[str, object]) -> None:
    lines: list[dict[str, Any]] = []

    def kept(_logger: object, _name: str, fields: Any) -> Any:
        lines.append(dict(fields))
        raise structlog.DropEvent

    # Whatever other tests have set: every level.
    every = structlog.make_filtering_bound_logger(logging.DEBUG)
    log: Any = structlog.wrap_logger(None, processors=[kept], wrapper_class=every)
    note(log, Metrics({"shop"}), event)
    (found,) = lines
    assert found.items() >= line.items()


def test_a_connection_has_a_number() -> None:
    with structlog.testing.capture_logs() as lines:
        log_of(connection_id=5).error("x")
    assert lines == [{"connection_id": 5, "event": "x", "log_level": "error"}]
