"""Who is let in: counts by listener and by address, and so many in a second."""

import pytest

from mdb_proxy.admission import ADDRESS, FULL, Admission
from mdb_proxy.bounds import Bounds


def admission(most: int | None = None, **bounds: int) -> Admission:
    return Admission(Bounds(**bounds), most)


def test_so_many_at_a_time() -> None:
    door = admission(max_connections=2)
    assert [door.enter() for _ in range(3)] == ["", "", FULL]
    door.leave(None)
    assert [door.enter() for _ in range(2)] == ["", FULL]
    assert [admission(1, max_connections=2).enter() for _ in range(1)] == [""]
    assert admission(1, max_connections=2).most == 1


def test_so_many_of_one_address() -> None:
    door = admission(max_connections_per_address=2)
    assert [door.claim("a") for _ in range(3)] == ["", "", ADDRESS]
    assert door.claim("b") == ""
    for _ in range(3):
        door.enter()
    door.leave("a")
    assert [door.claim("a") for _ in range(2)] == ["", ADDRESS]
    for host in ("a", "a", "b"):
        door.leave(host)
    assert door._addresses == {}


def test_so_many_in_a_second() -> None:
    door = admission(connections_per_second=10)
    assert door.pause(100.0) == 0.0
    for _ in range(10):
        assert door.pause(100.0) == 0.0
        door.claim("a")
    assert door.pause(100.0) == pytest.approx(0.1)
    assert door.pause(100.05) == pytest.approx(0.05)
    assert door.pause(100.11) == 0.0
    door.claim("a")
    assert door.pause(100.11) > 0.08
    assert door.pause(1000.0) == 0.0


def test_who_is_refused_takes_no_place() -> None:
    door = admission(connections_per_second=1, max_connections_per_address=1)
    door.pause(1.0)
    assert door.claim("a") == ""
    door.pause(2.0)
    for _ in range(5):
        assert door.claim("a") == ADDRESS
    assert door.pause(2.0) == 0.0
