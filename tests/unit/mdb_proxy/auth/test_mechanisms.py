from mdb_proxy.auth import ADVERTISED, MECHANISMS


def test_these_are_the_ways_to_log_in() -> None:
    assert list(MECHANISMS) == [
        "MONGODB-OIDC",
        "MONGODB-X509",
        "PLAIN",
        "SCRAM-SHA-1",
        "SCRAM-SHA-256",
    ]


def test_hello_says_what_drivers_should_take() -> None:
    assert ADVERTISED == ("SCRAM-SHA-256",)
