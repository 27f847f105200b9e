from datetime import UTC, datetime

from mdb_engine.exceptions import QueryValidationError
from mdb_engine.observability.operations import Operations

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_operations_are_counted_and_timed() -> None:
    operations = Operations(lambda: NOW)
    for milliseconds in range(1, 101):
        operations.done("shop", "find", milliseconds / 1000, failed=milliseconds == 1)
    operations.done("crm", "insert_one", 0.5, failed=False)
    told = operations.summary()
    assert (told["timestamp"], told["total_operations"]) == (NOW.isoformat(), 101)
    find = told["summary"]["find"]
    assert (find["count"], find["errors"]) == (100, 1)
    assert round(find["avg_ms"], 1) == 50.5
    assert round(find["p95_ms"]) == 96
    assert list(told["summary"]) == ["find", "insert_one"]


def test_prometheus_tells_refusals_and_limits() -> None:
    operations = Operations()
    operations.refused("shop", "find", QueryValidationError("no", "filter.$where"))
    operations.capped("shop", "max_results")
    operations.granted("shop")
    operations.saw({"find": "x"})
    text = operations.prometheus()
    assert 'mdb_engine_blocked_total{app="shop",reason="BadValue"} 1.0' in text
    assert 'mdb_engine_capped_total{app="shop",limit="max_results"} 1.0' in text
    assert 'mdb_engine_explicit_scopes_total{app="shop"} 1.0' in text


def test_two_engines_count_apart() -> None:
    one, other = Operations(), Operations()
    one.done("shop", "find", 0.1, failed=True)
    assert other.summary()["total_operations"] == 0
    assert "mdb_engine_operation_errors_total{" not in other.prometheus()
