"""What is known of a connection."""

import pytest

from mdb_proxy.channel import Channel


def test_an_unproven_connection_claims_nothing() -> None:
    channel = Channel("127.0.0.1:50000")
    assert (channel.secure, channel.subject, channel.server_name) == (False, "", "")


@pytest.mark.parametrize(
    ("peer", "address"),
    [("127.0.0.1:50000", "127.0.0.1"), ("::1:50000", "::1"), ("local", "local")],
)
def test_an_address_has_no_port(peer: str, address: str) -> None:
    assert Channel(peer).address == address


def test_facts_do_not_change() -> None:
    with pytest.raises(AttributeError):
        Channel("127.0.0.1:50000").subject = "CN=shop"  # type: ignore[misc]
