"""`auth.policy`."""

from typing import Any

import pytest

from mdb_engine.exceptions import ManifestValidationError
from mdb_engine.manifest import parse


def policy(**keys: Any) -> Any:
    return parse({"slug": "shop", "name": "Shop", "auth": {"policy": keys}}).auth.policy


def test_defaults() -> None:
    found = policy()
    assert (found.required, found.provider, found.engine) == (True, "casbin", "cloud")
    assert (found.allow_anonymous, found.owner_can_access) == (False, True)
    assert found.authorization.model == "rbac"
    assert found.authorization.policies_collection == "casbin_policies"
    assert found.authorization.link_users_roles is True


@pytest.mark.parametrize(
    "keys",
    [
        {"provider": "oso", "engine": "library"},
        {"provider": "custom", "class": "acme.rules.Provider"},
        {"authorization": {"model": "acl", "default_roles": ["user"]}},
        {"authorization": {"initial_roles": [{"user": "a@b.c", "role": "admin"}]}},
        {"authorization": {"initial_policies": [{"role": "admin", "action": "write"}]}},
        {"custom_resource": "shop:orders", "custom_actions": ["ship"]},
    ],
)
def test_accepted(keys: dict[str, Any]) -> None:
    policy(**keys)


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"provider": "opa"}, "auth.policy.provider"),
        ({"class_": "x"}, "auth.policy.class_"),
        ({"required": "yes"}, "auth.policy.required"),
        ({"custom_resource": "Shop"}, "auth.policy.custom_resource"),
        (
            {"authorization": {"policies_collection": "a-b"}},
            "auth.policy.authorization.policies_collection",
        ),
        (
            {"authorization": {"initial_roles": [{"user": "nobody", "role": "x"}]}},
            "auth.policy.authorization.initial_roles.0.user",
        ),
        (
            {"authorization": {"initial_policies": [{"role": "x"}]}},
            "auth.policy.authorization.initial_policies.0.action",
        ),
    ],
)
def test_refused(keys: dict[str, Any], path: str) -> None:
    with pytest.raises(ManifestValidationError) as caught:
        policy(**keys)
    assert caught.value.path == path


def test_keys_of_a_provider_are_not_shown() -> None:
    assert "topsecret" not in repr(policy(authorization={"api_key": "topsecret"}))
