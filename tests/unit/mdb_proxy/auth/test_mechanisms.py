from mdb_proxy.auth import MECHANISMS, scram_sha_256


def test_hello_may_offer_exactly_these() -> None:
    assert dict(MECHANISMS) == {"SCRAM-SHA-256": scram_sha_256}
