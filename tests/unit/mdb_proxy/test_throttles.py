"""Failed logins are counted, and forgotten again; nobody pays for another's."""

from collections.abc import Iterable

import pytest

from mdb_engine.exceptions import OverloadedError
from mdb_proxy import throttles
from mdb_proxy.throttles import Throttle

HERE, THERE = "10.0.0.1:5", "10.0.0.2:5"


def refused(throttle: Throttle, peer: str, name: str, now: float) -> bool:
    try:
        throttle.check(peer, name, now)
    except OverloadedError:
        return True
    return False


def fail(throttle: Throttle, peer: str, names: Iterable[str], now: float = 0.0) -> int:
    """Try to log in; gives how many attempts were looked at."""
    looked_at = 0
    for name in names:
        if not refused(throttle, peer, name, now):
            looked_at += 1
            throttle.failed(peer, name, now)
    return looked_at


def test_a_thousand_wrong_passwords_stop_nobody_else() -> None:
    throttle = Throttle(most=10, per_second=100)
    heard: list[None] = []
    throttle.heard = lambda: heard.append(None)
    assert fail(throttle, HERE, 1000 * ["shop"]) == 10
    assert len(heard) == 990
    assert refused(throttle, HERE, "shop", 0.0)
    assert refused(throttle, "10.0.0.1:6", "shop", 0.0), "the port does not count"
    assert not refused(throttle, THERE, "shop", 0.0)
    assert not refused(throttle, HERE, "crm", 0.0)


def test_time_and_success_forgive() -> None:
    throttle = Throttle(most=10)
    assert fail(throttle, HERE, 20 * ["shop"]) == 10
    assert fail(throttle, HERE, 20 * ["shop"], 6.0) == 1
    assert fail(throttle, HERE, 20 * ["shop"], 18.5) == 2
    assert fail(throttle, HERE, 20 * ["shop"], 1000.0) == 10
    throttle.succeeded(HERE, "shop")
    assert fail(throttle, HERE, 20 * ["shop"], 1000.0) == 10


def test_altogether_those_are_let_in_who_were_here_before() -> None:
    throttle = Throttle(most=10, per_second=10)
    throttle.succeeded(THERE, "shop")
    assert fail(throttle, HERE, map(str, range(1000))) == 100
    assert refused(throttle, THERE, "crm", 0.0)
    assert not refused(throttle, THERE, "shop", 0.0)
    assert fail(throttle, THERE, ["shop"]) == 1, "does not count altogether"
    assert refused(throttle, THERE, "crm", 0.05)
    assert not refused(throttle, THERE, "crm", 1.0)


def test_an_ipv6_network_is_one_address() -> None:
    throttle = Throttle(most=2)
    assert fail(throttle, "2001:db8::1:5", 9 * ["shop"]) == 2
    assert refused(throttle, "2001:db8::2:5", "shop", 0.0)
    assert not refused(throttle, "2001:db8:0:1::2:5", "shop", 0.0)
    assert fail(throttle, "local", 9 * ["shop"]) == 2


def test_memory_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttles, "MAX_PAIRS", 100)
    throttle = Throttle(most=1, per_second=1e9)
    for number in range(1000):
        throttle.failed(HERE, f"{number}", 0.0)
        throttle.succeeded(THERE, f"{number}")
    assert len(throttle._failures) == len(throttle._good) == 100
    assert refused(throttle, HERE, "999", 0.0)
    assert not refused(throttle, HERE, "1", 0.0)
    throttle.failed(HERE, 10_000_000 * "x", 0.0)
    assert max(len(name) for _, name in throttle._failures) == 128
