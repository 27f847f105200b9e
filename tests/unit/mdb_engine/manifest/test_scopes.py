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


VECTOR = {"fields": [{"type": "vector", "path": "v", "numDimensions": 3, "similarity": "cosine"}]}


def test_vector_indexes_of_the_manifest() -> None:
    hybrid = {
        "name": "h",
        "type": "hybrid",
        "hybrid": {"vector_index": {"definition": VECTOR}, "text_index": {"definition": {}}},
    }
    mine = {"name": "mine", "definition": VECTOR}
    named = {**hybrid, "name": "h2", "hybrid": {**hybrid["hybrid"], "vector_index": mine}}
    indexes = [
        {"name": "a", "type": "vector", "definition": VECTOR},
        {"name": "b", "type": "vectorSearch", "definition": VECTOR},
        {"name": "c", "type": "search", "definition": {}},
        {"name": "d", "type": "regular", "keys": {"a": 1}},
        {"name": "broken", "type": "vector", "definition": {"fields": []}},
        hybrid,
        named,
    ]
    found = scope(managed_indexes={"tasks": indexes, "eu_x": indexes[:1]}).vectors
    assert set(found) == {("shop_tasks", name) for name in ("a", "b", "h_vector", "mine")}
    assert all(index.managed for index in found.values())
    assert len({index.id for index in found.values()}) == 4
    assert found["shop_tasks", "a"].definition == VECTOR
