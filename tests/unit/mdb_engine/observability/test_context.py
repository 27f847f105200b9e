import asyncio
import logging

import pytest
import structlog

from mdb_engine.observability import get_correlation_id, get_logger, set_correlation_id
from mdb_engine.observability.context import clear_correlation_id, set_app


def test_lines_tell_what_they_belong_to(caplog: pytest.LogCaptureFixture) -> None:
    given = set_correlation_id()
    set_app("shop")
    try:
        assert get_correlation_id() == given
        with caplog.at_level(logging.INFO):
            get_logger("a.b").info("done", extra={"n": 1})
        record = caplog.records[0]
        told = (record.correlation_id, record.app, record.n)  # type: ignore[attr-defined]
        assert told == (given, "shop", 1)
        assert structlog.contextvars.get_contextvars()["correlation_id"] == given
    finally:
        set_app(None)
        clear_correlation_id()
    assert get_correlation_id() is None
    assert "correlation_id" not in structlog.contextvars.get_contextvars()


def test_each_task_has_its_own() -> None:
    async def one(name: str) -> str | None:
        set_correlation_id(name)
        await asyncio.sleep(0)
        return get_correlation_id()

    async def both() -> list[str | None]:
        return list(await asyncio.gather(one("a"), one("b")))

    assert asyncio.run(both()) == ["a", "b"]


def test_errors_are_shown(caplog: pytest.LogCaptureFixture) -> None:
    try:
        int("x")
    except ValueError:
        get_logger("a").error("failed", exc_info=True)
    assert caplog.records[0].exc_info
