"""The sweep of temporary collections; that it drops them is seen in tests/e2e/test_serving.py."""

from mdb_engine.scope.model import Limits
from mdb_proxy.sweep import SWEEP_SECONDS


def test_no_plan_takes_as_long() -> None:
    limits = Limits()
    longest = 2 * limits.definition_time_ms + limits.max_time_ms
    assert longest / 1000 <= SWEEP_SECONDS
