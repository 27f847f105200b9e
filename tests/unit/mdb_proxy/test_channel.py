"""What is known of a connection."""

import pytest

from mdb_proxy.channel import Channel


def test_an_unproven_connection_claims_nothing() -> None:
    channel = Channel("127.0.0.1:50000")
    assert (channel.secure, channel.subject, channel.server_name) == (False, "", "")


def test_facts_do_not_change() -> None:
    with pytest.raises(AttributeError):
        Channel("127.0.0.1:50000").subject = "CN=shop"  # type: ignore[misc]
