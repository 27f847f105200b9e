"""The benches run; what they find is a matter of the machine."""

import asyncio

from tests.bench.overhead import OPERATIONS, figures, measured


def test_the_overhead_of_a_handle_is_measured() -> None:
    found = asyncio.run(measured(rounds=2, calls=5))
    assert found.keys() == OPERATIONS.keys()
    assert all(each["raw_us"] > 0 for each in found.values())


def test_figures() -> None:
    assert figures([10.0, 12.0, 11.0], [15.0, 19.0, 16.0]) == {
        "raw_us": 11.0, "added_us": 5.0, "quiet_us": 5.0,
    }  # fmt: skip
