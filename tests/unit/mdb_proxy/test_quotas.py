from contextlib import ExitStack, suppress

import pytest

from mdb_engine.exceptions import OverloadedError
from mdb_engine.scope.model import Limits
from mdb_proxy.quotas import OVERDUE_SECONDS, Quotas, shared


def test_an_app_may_have_so_many_commands_in_flight_and_its_neighbour_too() -> None:
    quotas = Quotas()
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(quotas.flight("shop", 3))
        with pytest.raises(OverloadedError), quotas.flight("shop", 3):
            pytest.fail("the fourth one flew")
        with quotas.flight("crm", 1):
            assert quotas.in_flight("crm") == 1
        assert quotas.in_flight("shop") == 3
    assert (quotas.in_flight("shop"), quotas.in_flight("crm")) == (0, 0)


def test_a_command_that_fails_leaves_its_place() -> None:
    quotas = Quotas()
    with pytest.raises(KeyError), quotas.flight("shop", 1):
        raise KeyError
    assert quotas.in_flight("shop") == 0


@pytest.mark.parametrize(
    ("limits", "times", "allowed"),
    [
        (Limits(), [0.0] * 50, 50),
        (Limits(requests_per_second=2.0), [0.0] * 5, 2),
        (Limits(requests_per_second=2.0, burst=4), [0.0] * 5, 4),
        (Limits(requests_per_second=2.0), [0.0, 0.0, 0.0, 0.5, 0.5, 1.0], 4),
        (Limits(requests_per_second=0.5), [0.0, 1.0, 2.0, 3.0, 4.0], 3),
        (Limits(requests_per_second=1.0), [0.0, 100.0, 100.0], 2),
    ],
)
def test_requests_per_second(limits: Limits, times: list[float], allowed: int) -> None:
    quotas = Quotas()
    passed = 0
    for now in times:
        with suppress(OverloadedError):
            quotas.spend("shop", limits, now)
            passed += 1
    assert passed == allowed
    quotas.spend("crm", limits, times[-1])


def test_an_app_whose_command_does_not_end_in_time_is_suspended_until_it_ends() -> None:
    quotas, limits = Quotas(), Limits()
    with quotas.flight("shop", 9, 30.0), quotas.flight("shop", 9, 31.0), quotas.flight("crm", 9):
        assert quotas.overdue(30.0 + OVERDUE_SECONDS) == []
        quotas.spend("shop", limits, 40.0)
        assert quotas.overdue(30.5 + OVERDUE_SECONDS) == ["shop"]
        assert quotas.overdue(30.5 + OVERDUE_SECONDS) == []
        with pytest.raises(OverloadedError):
            quotas.spend("shop", limits, 41.0)
        quotas.spend("crm", limits, 41.0)
    quotas.spend("shop", limits, 42.0)


def test_one_of_several_processes_has_its_part() -> None:
    whole = Limits(max_cursors=10, max_transactions=1, requests_per_second=4.0, burst=8)
    part = shared(whole, 4)
    assert (part.max_cursors, part.max_transactions) == (2, 1), "never nothing"
    assert (part.requests_per_second, part.burst) == (1.0, 2)
    assert part.max_results == whole.max_results
    assert shared(Limits(), 1) == Limits()
    assert shared(Limits(), 8).requests_per_second is None
