"""Guests: what rules make of claims, who is over, and which host is whose."""

import pytest

from mdb_proxy.auth import Doors, Guest
from mdb_proxy.auth.guests import NoKeys
from tests.support.talks import NOW
from tests.support.tokens import RULE


def test_a_rule_is_about_its_own_issuer_and_audience() -> None:
    claims = {"iss": RULE.issuer, "aud": RULE.audience, "app": "shop"}
    assert RULE.opens(claims) == ("shop", "readWrite")
    for change in ({"iss": "x"}, {"aud": None}, {"aud": ["x"]}, {"app": ["shop"]}):
        assert RULE.opens(claims | change) is None


def test_a_certificate_is_never_over() -> None:
    assert Guest("CN=a", "shop", "read").over(NOW) is False


@pytest.mark.parametrize(
    ("domain", "nameless", "asked", "leads"),
    [
        ("", False, "", True),
        ("", False, "crm.db.example.com", True),
        ("db.example.com", False, "shop.db.example.com", True),
        ("db.example.com", False, "SHOP.DB.Example.com.", True),
        ("DB.example.com", False, "shop.db.example.com", True),
        ("db.example.com", False, "crm.db.example.com", False),
        ("db.example.com", False, "shop.crm.db.example.com", False),
        ("db.example.com", False, "x.shop.db.example.com", False),
        ("db.example.com", False, "db.example.com", False),
        ("db.example.com", False, "shop.db.example.org", False),
        ("db.example.com", False, "shopxdb.example.com", False),
        ("db.example.com", False, "", False),
        ("db.example.com", True, "", True),
        ("db.example.com", True, "crm.db.example.com", False),
    ],
)
def test_hosts(domain: str, nameless: bool, asked: str, leads: bool) -> None:
    assert Doors(domain=domain, nameless=nameless).leads_to(asked, "shop") is leads


def test_without_issuers_there_are_no_keys() -> None:
    none = NoKeys()
    assert (none.known("x"), none.find("x", None), none.due("x")) == (False, None, False)
    assert none.renew("x") == b""
