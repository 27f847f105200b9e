"""`token_management`."""

from typing import Any

import pytest

from mdb_engine.exceptions import ManifestValidationError
from mdb_engine.manifest import parse


def tokens(**keys: Any) -> Any:
    document = {"slug": "shop", "name": "Shop", "token_management": keys}
    return parse(document).token_management


def test_defaults() -> None:
    found = tokens()
    rates = found.security.rate_limiting
    assert (found.access_token_ttl, found.refresh_token_ttl) == (900, 604_800)
    assert (rates.login.max_attempts, rates.login.window_seconds) == (5, 300)
    assert (rates.register_.max_attempts, rates.register_.window_seconds) == (3, 600)
    assert (rates.refresh.max_attempts, rates.refresh.window_seconds) == (10, 60)
    assert found.security.password_policy.min_length == 8
    assert found.security.account_lockout.lockout_duration_seconds == 900
    assert found.security.ip_validation.enabled is False


def test_register_is_a_key() -> None:
    found = tokens(security={"rate_limiting": {"register": {"max_attempts": 1}}})
    assert found.security.rate_limiting.register_.max_attempts == 1


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"access_token_ttl": 59}, "token_management.access_token_ttl"),
        ({"refresh_token_ttl": 3_599}, "token_management.refresh_token_ttl"),
        ({"security": {"cookie_secure": True}}, "token_management.security.cookie_secure"),
        (
            {"security": {"rate_limiting": {"logout": {}}}},
            "token_management.security.rate_limiting.logout",
        ),
        ({"acess_token_ttl": 900}, "token_management.acess_token_ttl"),
    ],
)
def test_refused(keys: dict[str, Any], path: str) -> None:
    with pytest.raises(ManifestValidationError) as caught:
        tokens(**keys)
    assert caught.value.path == path
