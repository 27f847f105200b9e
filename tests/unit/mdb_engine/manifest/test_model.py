"""The manifest as a whole."""

from typing import Any

import pytest

from mdb_engine.exceptions import ManifestValidationError
from mdb_engine.manifest import Manifest, parse


def loaded(**keys: Any) -> Manifest:
    return parse({"slug": "shop", "name": "Shop", **keys})


@pytest.mark.parametrize(
    ("database", "homes"),
    [(None, ("shop",)), ("store", ("store",)), (["a", "b"], ("a", "b"))],
)
def test_homes(database: Any, homes: tuple[str, ...]) -> None:
    assert loaded(**({} if database is None else {"database": database})).homes == homes


@pytest.mark.parametrize(
    ("access", "scopes"),
    [
        ({}, ()),
        ({"read_scopes": ["shop"]}, ()),
        ({"read_scopes": ["crm", "shop", "crm", "hr"]}, ("crm", "hr")),
        ({"read_scopes": ["crm"], "cross_app_policy": "deny_all"}, ()),
    ],
)
def test_read_scopes(access: dict[str, Any], scopes: tuple[str, ...]) -> None:
    assert loaded(data_access=access).read_scopes == scopes


@pytest.mark.parametrize(
    ("status", "active"), [("active", True), ("inactive", False), ("draft", False)]
)
def test_status(status: str, active: bool) -> None:
    assert loaded(status=status).active is active
    assert loaded().active is True


def test_own_keys_are_kept() -> None:
    found = loaded(**{"x-team": {"any": [1]}, "metadata": {"a": 1}, "$schema": "manifest.json"})
    assert found.model_extra == {"x-team": {"any": [1]}}
    assert found.metadata == {"a": 1}


@pytest.mark.parametrize(
    ("keys", "path", "hint"),
    [
        ({"limit": {}}, "limit", "limits"),
        ({"managed_index": {}}, "managed_index", "managed_indexes"),
        ({"X-team": {}}, "X-team", None),
        ({"schema": "x"}, "schema", "$schema"),
        ({"data_access": {"read_scope": []}}, "data_access.read_scope", "read_scopes"),
    ],
)
def test_unknown_keys(keys: dict[str, Any], path: str, hint: str | None) -> None:
    with pytest.raises(ManifestValidationError) as caught:
        loaded(**keys)
    assert caught.value.path == path
    assert hint is None or f"'{hint}'" in caught.value.reason


@pytest.mark.parametrize("missing", ["slug", "name"])
def test_required(missing: str) -> None:
    document = {"slug": "shop", "name": "Shop"}
    del document[missing]
    with pytest.raises(ManifestValidationError, match=f"{missing}: this key is required"):
        parse(document)
