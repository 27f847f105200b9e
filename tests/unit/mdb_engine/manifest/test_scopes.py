"""From a manifest to a scope."""

from typing import Any

import pytest

from mdb_engine.manifest import parse
from mdb_engine.manifest.scopes import scope_of
from mdb_engine.scope.model import Features, Limits, Role, Scope

LEDGER = frozenset({"shop", "shop_eu", "crm", "crm_old", "hr"})


def scope(aliases: tuple[str, ...] = (), **keys: Any) -> Scope:
    return scope_of(
        parse({"slug": "shop", "name": "Shop", **keys}),
        database="mdb",
        slugs=LEDGER,
        role=Role.READ,
        address="db.example.com:27017",
        features=Features(version=(7, 0)),
        aliases=aliases,
    )


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, {"home": ("shop",), "longer": ("shop_eu",)}),
        ({"database": ["a", "b"]}, {"home": ("a", "b")}),
        ({"databases": "home"}, {"pinned": True}),
        ({"databases": "any"}, {"pinned": False}),
        (
            {"data_access": {"read_scopes": ["shop", "crm"]}},
            {"readable": ("crm",), "longer": ("crm_old", "shop_eu")},
        ),
        ({"data_access": {"read_scopes": ["gone"]}}, {"readable": ()}),
        (
            {"data_access": {"read_scopes": ["crm"], "cross_app_policy": "deny_all"}},
            {"readable": (), "longer": ("shop_eu",)},
        ),
        ({"data_access": {"expose_app_id": True}}, {"expose_app_id": True}),
        ({"data_access": {"expose_app_id": False}}, {"expose_app_id": False}),
        ({"limits": {"max_results": 7}}, {"limits": Limits(max_results=7)}),
    ],
)
def test_scope(keys: dict[str, Any], expected: dict[str, Any]) -> None:
    found = scope(**keys)
    assert {name: getattr(found, name) for name in expected} == expected


def test_what_the_caller_knows() -> None:
    found = scope()
    assert (found.slug, found.database, found.role) == ("shop", "mdb", Role.READ)
    assert found.address == "db.example.com:27017"
    assert found.features.version == (7, 0)


def test_former_home_names_stay_aliases() -> None:
    assert scope(aliases=("old", "a"), database=["a", "b"]).home == ("a", "b", "old")
