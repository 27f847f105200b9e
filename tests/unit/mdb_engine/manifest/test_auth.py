"""`auth`."""

from typing import Any

import pytest

from mdb_engine.exceptions import ManifestValidationError
from mdb_engine.manifest import parse


def auth(**keys: Any) -> Any:
    return parse({"slug": "shop", "name": "Shop", "auth": keys}).auth


def test_defaults() -> None:
    found = auth()
    assert found.mode == "app"
    assert (found.users.enabled, found.users.strategy) == (False, "app_users")
    assert (found.users.session_ttl_seconds, found.users.collection_name) == (86_400, "users")
    assert (found.audit.enabled, found.audit.retention_days) == (True, 90)
    assert found.security.hsts.max_age == 31_536_000
    assert found.jwt.algorithm == "EdDSA"
    assert found.password_policy.min_entropy_bits == 50


@pytest.mark.parametrize(
    "keys",
    [
        {"users": {"strategy": "global_users"}},
        {"users": {"demo_users": [{"email": "a@b.c", "password": "x", "nickname": "Al"}]}},
        {"csrf_protection": True},
        {"csrf_protection": {"enabled": False, "exempt_routes": ["/hook"], "token_ttl": 60}},
        {"rate_limits": {"login": {"max_attempts": 3}, "upload": {"window_seconds": 5}}},
        {"jwt": {"algorithm": "HS256", "token_expiry_hours": 1}},
        {"oauth": {"acme": {"issuer": "https://id", "client_id": "x", "scopes": ["openid"]}}},
        {"public_routes": ["/", "/about"], "roles": ["a"], "default_role": "a"},
    ],
)
def test_accepted(keys: dict[str, Any]) -> None:
    auth(**keys)


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"mode": "both"}, "auth.mode"),
        ({"users": {"strategy": "x"}}, "auth.users.strategy"),
        ({"users": {"session_ttl_seconds": 59}}, "auth.users.session_ttl_seconds"),
        ({"users": {"session_cookie_name": "A"}}, "auth.users.session_cookie_name"),
        ({"users": {"demo_users": [{"email": "x"}]}}, "auth.users.demo_users.0.email"),
        ({"csrf_protection": "on"}, "auth.csrf_protection"),
        ({"csrf_protection": {"token_ttl": 5}}, "auth.csrf_protection.token_ttl"),
        ({"jwt": {"algorithm": "none"}}, "auth.jwt.algorithm"),
        ({"password_policy": {"min_length": 5}}, "auth.password_policy.min_length"),
        ({"rate_limits": {"login": {"max": 3}}}, "auth.rate_limits.login.max"),
        ({"oauth": {"acme": {"client_id": "x"}}}, "auth.oauth.acme.issuer"),
        ({"polices": {}}, "auth.polices"),
    ],
)
def test_refused(keys: dict[str, Any], path: str) -> None:
    with pytest.raises(ManifestValidationError) as caught:
        auth(**keys)
    assert caught.value.path == path


def test_passwords_of_demo_users_are_not_shown() -> None:
    found = auth(users={"demo_users": [{"email": "a@b.c", "password": "topsecret"}]})
    assert "topsecret" not in repr(found)
    assert found.users.demo_users[0].password.get_secret_value() == "topsecret"
