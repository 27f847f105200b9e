"""What an app holds open under names that a newer slug took, and what it may keep."""

import asyncio

import pytest
import structlog

from mdb_engine.exceptions import UpstreamError
from mdb_proxy import captures
from mdb_proxy.captures import let_go, under
from mdb_proxy.cursors import Cursor, Cursors, Sessions
from tests.support.talks import Cluster, told

TAKEN = ("shop_new_",)


@pytest.fixture(autouse=True)
def all_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log everything, whatever was configured before."""
    structlog.reset_defaults()
    monkeypatch.setattr(captures, "log", structlog.get_logger())


def cursor(physical: str, *, stream: bool = False, app: str = "shop") -> Cursor:
    return Cursor(app, app, app, "x", physical, "appdata", "m1:27017", stream=stream)


HELD: list[tuple[str, bool, bool]] = [
    # physical name, is it a stream, is it ended
    ("shop_new_tasks", False, True),
    ("shop_new_tasks", True, True),
    ("shop_newer", False, False),
    ("shop_tasks", False, False),
    ("shop_tasks", True, False),
    ("$cmd.aggregate", True, True),
    ("$cmd.aggregate", False, False),
    ("crm_new_tasks", False, False),
]


@pytest.mark.parametrize(("physical", "stream", "ended"), HELD)
def test_what_is_ended(physical: str, stream: bool, ended: bool) -> None:
    held = {5: cursor(physical, stream=stream)}
    assert under(held, TAKEN) == (held if ended else {})


@pytest.mark.parametrize("error", [None, UpstreamError("away")])
def test_cursors_and_transactions_are_ended_in_the_cluster(error: Exception | None) -> None:
    cursors, sessions, cluster = Cursors(), Sessions(), Cluster()
    cursors.open(5, cursor("shop_new_tasks"), 0)
    cursors.open(6, cursor("shop_tasks"), 0)
    cursors.open(7, cursor("crm_tasks", app="crm"), 0)
    for app, session in (("shop", b"s" * 16), ("crm", b"c" * 16), ("shop", b"e" * 16)):
        sessions.use(app, app, session, 9, 0)
        sessions.pin(app, session, 3, "m2:27017")
    sessions.ended("shop", b"e" * 16)
    if error is not None:
        cluster.answers.append(error)
    asyncio.run(let_go("shop", TAKEN, (cursors, sessions), cluster.exchange))
    sent = [told(exchange) for exchange in cluster.asked]
    assert sent[0] == {"killCursors": "shop_new_tasks", "cursors": [5], "$db": "appdata"}
    assert sent[1]["$db"] == "admin"
    assert [session["id"].bytes for session in sent[1]["killSessions"]] == [b"s" * 16]
    assert [exchange.pin for exchange in cluster.asked] == ["m1:27017", "m2:27017"]
    assert set(cursors.of("shop")) == {6}
    assert sessions.transactions("shop") == []
    assert len(sessions.transactions("crm")) == 1
