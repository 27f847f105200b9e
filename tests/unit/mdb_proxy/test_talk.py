"""What the log is told of a conversation."""

import logging
from typing import Any

import bson
import pytest
import structlog

from mdb_proxy.decisions import Answer, Exchange
from mdb_proxy.metrics import Metrics
from mdb_proxy.session import Attempt, Event, Refusal
from mdb_proxy.talk import log_of, note, tally


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


def test_an_exchange_is_counted() -> None:
    metrics = Metrics(["shop"])
    body = bson.encode({"find": "c", "$db": "appdata"})
    reply = bson.encode({"cursor": {"firstBatch": [{}, {}], "id": 0}, "ok": 1.0})
    exchange = Exchange(body, app="shop", caps=("max_time_ms",))
    tally(metrics, exchange, Answer(reply, "m1:1", waited=0.5), 2.0)
    tally(metrics, exchange, Answer(bson.encode({"ok": 1.0}), "m1:1"), 2.0)
    page = metrics.page().decode()
    assert 'mdb_proxy_limited_total{app="shop",limit="max_time_ms"} 2.0' in page
    assert 'mdb_proxy_returned_documents_sum{app="shop"} 2.0' in page
    assert "mdb_proxy_backend_pool_wait_seconds_sum 0.5" in page
    assert 'mdb_proxy_backend_duration_seconds_count{command="find"} 2.0' in page


def test_a_connection_has_a_number() -> None:
    with structlog.testing.capture_logs() as lines:
        log_of(connection_id=5).error("x")
    assert lines == [{"connection_id": 5, "event": "x", "log_level": "error"}]
