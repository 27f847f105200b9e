"""Who owns which cursor, which member holds which transaction, and how many are too many."""

from dataclasses import replace

import pytest

from mdb_engine.exceptions import CursorNotFoundError, OverloadedError
from mdb_proxy.cursors import IDLE_SECONDS, SESSION_SECONDS, Cursor, Cursors, Sessions

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


def cursor(app: str = "shop", user: str = "shop", session: bytes | None = None) -> Cursor:
    return Cursor(app, user, app, "tasks", f"{app}_tasks", "appdata", "m1:27017", session)


@pytest.mark.parametrize(
    ("number", "app", "user"),
    [(5, "shop", "shop-2"), (5, "crm", "shop"), (6, "shop", "shop")],
)
def test_only_the_owner_finds_a_cursor(number: int, app: str, user: str) -> None:
    cursors = Cursors()
    cursors.open(5, cursor(), 0)
    assert cursors.owned(5, "shop", "shop") == cursor()
    with pytest.raises(CursorNotFoundError) as caught:
        cursors.owned(number, app, user)
    assert caught.value.reason == f"cursor id {number} not found"


def test_closing_twice_or_what_was_never_there() -> None:
    cursors = Cursors()
    cursors.open(5, cursor(), 0)
    cursors.close([5, 5, 6])
    assert cursors.count("shop") == 0
    with pytest.raises(CursorNotFoundError):
        cursors.owned(5, "shop", "shop")


def test_each_app_has_its_own_count() -> None:
    cursors = Cursors()
    for number in (1, 2, 2, 1):
        cursors.open(number, cursor(), 0)
    cursors.open(3, cursor("crm"), 0)
    assert (cursors.count("shop"), cursors.count("crm"), cursors.count("other")) == (2, 1, 0)
    # an id that the cluster gave away again
    cursors.open(2, cursor("crm"), 0)
    assert (cursors.count("shop"), cursors.count("crm")) == (1, 2)


@pytest.mark.parametrize(
    ("session", "idle", "admitted"),
    [
        (None, IDLE_SECONDS, False),
        (None, IDLE_SECONDS + 1, True),
        (A, IDLE_SECONDS + 1, False),
        (A, SESSION_SECONDS + 1, True),
    ],
)
def test_what_the_server_has_dropped_does_not_count(
    session: bytes | None, idle: float, admitted: bool
) -> None:
    cursors = Cursors()
    cursors.open(1, cursor(session=session), 0)
    cursors.admit("shop", 2, idle)
    cursors.admit("crm", 1, idle)
    if admitted:
        cursors.admit("shop", 1, idle)
        assert cursors.count("shop") == 0
    else:
        with pytest.raises(OverloadedError):
            cursors.admit("shop", 1, idle)


def test_the_cursors_of_a_session_end_with_it() -> None:
    cursors = Cursors()
    for number, session in enumerate((A, A, B, None)):
        cursors.open(number, cursor(session=session), 0)
    cursors.close_in({A})
    assert cursors.count("shop") == 2
    assert cursors.owned(2, "shop", "shop").session == B


def test_one_transaction_is_pinned_per_session() -> None:
    sessions = Sessions()
    sessions.pin("shop", A, 1, "m1:1")
    assert sessions.pinned("shop", A, 1) is None, "a session that is not known holds nothing"
    sessions.use("shop", "shop", A, 10, 0)
    assert sessions.pinned("shop", A, 1) is None
    sessions.pin("shop", A, 1, "m1:1")
    assert sessions.pinned("shop", A, 1) == "m1:1"
    assert sessions.pinned("crm", A, 1) is None
    assert sessions.pinned("shop", A, 2) is None
    sessions.pin("shop", A, 2, "m2:1")
    assert sessions.pinned("shop", A, 1) is None
    assert sessions.pinned("shop", A, 2) == "m2:1"
    sessions.use("shop", "shop", A, 10, 1)
    assert sessions.pinned("shop", A, 2) == "m2:1", "using it again keeps the pin"
    sessions.unpin("shop", A, 1)
    assert sessions.pinned("shop", A, 2) == "m2:1"
    sessions.unpin("shop", A, 2)
    sessions.unpin("shop", B, 2)
    assert sessions.pinned("shop", A, 2) is None
    assert sessions.transactions("shop") == [(A, 2, None)], "it may be open still"


def test_an_app_may_not_use_up_the_sessions_of_the_cluster() -> None:
    sessions = Sessions()
    sessions.use("shop", "shop", A, 2, 0)
    sessions.use("shop", "shop", B, 2, 10)
    sessions.use("crm", "crm", C, 2, 10)
    with pytest.raises(OverloadedError):
        sessions.use("shop", "shop", C, 2, 20)
    sessions.use("shop", "shop", A, 2, 20)
    assert sessions.of("shop", "shop") == [B, A], "known ones go on"
    sessions.use("shop", "shop", C, 2, 10 + SESSION_SECONDS + 1)
    assert sessions.of("shop", "shop") == [A, C], "what the server has dropped makes room"
    sessions.use("shop", "shop", B, 1, 3 * SESSION_SECONDS)
    assert sessions.of("shop", "shop") == [B]


def test_sessions_by_user_and_their_end() -> None:
    sessions = Sessions()
    sessions.use("shop", "shop", A, 9, 0)
    sessions.use("shop", "shop-2", B, 9, 0)
    assert sessions.of("shop", "shop") == [A]
    assert sessions.of("shop", "shop-2") == [B]
    assert sessions.of("crm", "crm") == []
    sessions.end("shop", [A, C])
    sessions.end("crm", [B])
    assert sessions.of("shop", "shop") == []
    assert sessions.of("shop", "shop-2") == [B]


def test_open_transactions_of_an_app_are_limited() -> None:
    sessions = Sessions()
    for number in range(3):
        session = bytes([number])
        sessions.use("shop", "u", session, 10, 0.0)
        sessions.admit("shop", 3, 0.0)
        sessions.pin("shop", session, 1, "a:1")
    with pytest.raises(OverloadedError):
        sessions.admit("shop", 3, 1.0)
    sessions.admit("crm", 1, 1.0)
    sessions.unpin("shop", b"\0", 1)
    sessions.ended("shop", b"\0", 7)
    with pytest.raises(OverloadedError):
        sessions.admit("shop", 3, 1.0)
    sessions.ended("shop", b"\0", 1)
    sessions.admit("shop", 3, 1.0)
    sessions.ended("shop", b"\1")
    sessions.ended("shop", b"unknown")
    sessions.ended("nobody", b"\1")
    sessions.admit("shop", 2, 1.0)
    sessions.admit("shop", 1, 61.0)


def test_change_streams_have_a_count_of_their_own() -> None:
    cursors = Cursors()
    stream = replace(cursor(), stream=True, awaits=True)
    cursors.open(1, cursor(), 0)
    cursors.open(2, stream, 0)
    cursors.open(2, stream, 1)
    cursors.admit_stream("shop", 2, 2)
    cursors.admit_stream("crm", 1, 2)
    cursors.open(3, stream, 2)
    with pytest.raises(OverloadedError, match="change streams"):
        cursors.admit_stream("shop", 2, 3)
    cursors.close([2])
    cursors.admit_stream("shop", 2, 3)
    cursors.admit_stream("shop", 1, 3 + IDLE_SECONDS)


def test_the_cursors_of_an_app() -> None:
    cursors = Cursors()
    for number, app in ((5, "shop"), (6, "crm"), (7, "shop")):
        cursors.open(number, cursor(app), 0)
    assert cursors.of("shop") == {5: cursor(), 7: cursor()}
    assert cursors.of("other") == {}


def test_a_transaction_is_open_where_it_began() -> None:
    sessions = Sessions()
    sessions.use("shop", "shop", A, 1, 0)
    sessions.pin("shop", A, 1, "m1:1", begun=False)
    sessions.admit("shop", 1, 0)
    assert sessions.pinned("shop", A, 1) == "m1:1"
    sessions.pin("shop", A, 2, "m1:1")
    sessions.pin("shop", A, 2, "m1:1", begun=False)
    with pytest.raises(OverloadedError):
        sessions.admit("shop", 1, 0)
    sessions.pin("shop", A, 3, "m1:1", begun=False)
    sessions.admit("shop", 1, 0)
