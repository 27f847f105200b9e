"""One shape for all lines."""

import io
import json
import logging
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import structlog

from mdb_engine.observability import configure_logging


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(out: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_ours_and_a_librarys_lines_have_one_shape() -> None:
    out = StringIO()
    configure_logging("info", "json", out)
    structlog.contextvars.bind_contextvars(slug="shop")
    structlog.get_logger().info("command.refused", code=13)
    logging.getLogger("pymongo").warning("slow %s", "heartbeat", extra={"seconds": 2})
    ours, theirs = lines(out)
    assert list(ours)[:3] == list(theirs)[:3] == ["timestamp", "level", "event"]
    assert (ours["event"], ours["code"], ours["slug"]) == ("command.refused", 13, "shop")
    assert (theirs["event"], theirs["seconds"], theirs["slug"]) == ("slow heartbeat", 2, "shop")
    assert ours["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    ("level", "seen"),
    [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)],
)
def test_levels(level: str, seen: int) -> None:
    out = StringIO()
    configure_logging(level, "json", out)
    log = structlog.get_logger()
    for say in (log.debug, log.info, log.warning, log.error):
        say("thing.happened")
    assert len(lines(out)) == seen


def test_the_driver_never_logs_commands() -> None:
    out = StringIO()
    configure_logging("debug", "json", out)
    logging.getLogger("pymongo.command").debug("the documents of a tenant")
    assert lines(out) == []


@pytest.mark.parametrize(
    "uri", ["mongodb://me:s3cret@h/x", "mongodb+srv://me:s3cret@h", "mongodb://me:s3cret@@h:1,i:2"]
)
def test_no_password_of_a_uri(uri: str) -> None:
    out = StringIO()
    configure_logging("info", "json", out)
    structlog.get_logger().info("cluster.found", uri=uri, note=f"({uri})")
    logging.getLogger("pymongo").error("cannot reach %s", uri)
    assert "s3cret" not in out.getvalue()
    assert "mongodb" in out.getvalue()


def test_an_exception_is_a_field() -> None:
    out = StringIO()
    configure_logging("info", "json", out)
    try:
        {}["here"]
    except KeyError:
        structlog.get_logger().exception("bug.caught")
    (line,) = lines(out)
    assert "KeyError: 'here'" in line["exception"]


def test_lines_for_people() -> None:
    out = StringIO()
    configure_logging("info", "console", out)
    structlog.get_logger().info("proxy.ready", port=27018)
    assert "proxy.ready" in out.getvalue()
    assert "port=27018" in out.getvalue()
    assert not out.getvalue().startswith("{")


def test_auto_is_json_where_nobody_watches() -> None:
    out = StringIO()
    configure_logging("info", "auto", out)
    structlog.get_logger().info("proxy.ready")
    assert lines(out)[0]["event"] == "proxy.ready"


def test_what_every_line_carries() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream, worker=2)
    structlog.get_logger("x").info("a.b")
    logging.getLogger("library").warning("hm")
    assert [json.loads(line)["worker"] for line in stream.getvalue().splitlines()] == [2, 2]
