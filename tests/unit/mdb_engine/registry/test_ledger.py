"""The ledger's I/O needs a server (tests/e2e/test_registry.py); here is what it promises others."""

import inspect

from mdb_engine.registry import ledger


def test_routers_have_time_to_learn_of_a_claim() -> None:
    parameters = inspect.signature(ledger.register).parameters
    assert parameters["wait"].default == ledger.SETTLE_SECONDS == 5.0


def test_first_seen_is_an_aware_time() -> None:
    clock = inspect.signature(ledger.register).parameters["now"].default
    assert clock().tzinfo is not None
