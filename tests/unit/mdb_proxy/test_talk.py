"""What the log is told of a conversation."""

import pytest
from structlog.testing import capture_logs

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
    with capture_logs() as lines:
        note(log_of(connection_id=5), Metrics({"shop"}), event)
    (found,) = lines
    assert found.items() >= {**line, "connection_id": 5}.items()
