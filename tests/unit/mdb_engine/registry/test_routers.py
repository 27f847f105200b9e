"""The reports need a server (tests/e2e/test_registry.py); here is how their times fit together."""

from mdb_engine.registry import ledger, routers


def test_who_claims_waits_longer_than_a_silent_router_counts_as_alive() -> None:
    assert ledger.SETTLE_SECONDS < routers.ALIVE_SECONDS < ledger.PATIENCE_SECONDS
