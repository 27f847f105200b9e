"""When a slug may be registered."""

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Timestamp

from mdb_engine.exceptions import ManifestValidationError
from mdb_engine.manifest import Manifest, parse
from mdb_engine.registry.claims import (
    CLAIMED,
    LIVE,
    LedgerEntry,
    Listing,
    check_capture,
    check_folds,
    check_names,
    claim,
    from_document,
    listing,
)
from mdb_engine.scope.names import fold

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def manifest(slug: str = "shop", **keys: Any) -> Manifest:
    return parse({"slug": slug, "name": "App", **keys})


def entry(slug: str) -> LedgerEntry:
    return LedgerEntry(slug, LIVE, NOW, Timestamp(1, 1), fold(slug), (slug,))


def holding(*names: str, **views: set[str]) -> Listing:
    sources = {view: frozenset(found) for view, found in views.items()}
    return Listing((*names, *views), sources)


def test_claim_and_entry() -> None:
    document = claim(manifest(database=["a", "b"]), NOW)
    assert document == {
        "_id": "shop",
        "state": CLAIMED,
        "first_seen": NOW,
        "since": None,
        "fold": "shop",
        "home": ["a", "b"],
    }
    assert from_document(document) == LedgerEntry("shop", CLAIMED, NOW, None, "shop", ("a", "b"))


def test_listing() -> None:
    pipeline = [
        {"$lookup": {"from": "shop_a", "pipeline": [{"$unionWith": "shop_b"}]}},
        {"$unionWith": {"coll": "shop_c", "pipeline": []}},
        {"$facet": {"x": [{"$graphLookup": {"from": "shop_d"}}]}},
        {"$match": {"from": 3}},
    ]
    found = listing(
        [
            {"name": "shop_tasks", "type": "collection", "options": {}},
            {
                "name": "shop_v",
                "type": "view",
                "options": {"viewOn": "shop_t", "pipeline": pipeline},
            },
        ]
    )
    assert found.collections == ("shop_tasks", "shop_v")
    assert found.views == {"shop_v": {"shop_t", "shop_a", "shop_b", "shop_c", "shop_d"}}


@pytest.mark.parametrize(
    ("new", "ledger", "refused"),
    [
        (["shop"], [], False),
        (["shop_eu"], ["shop"], False),
        (["shop"], ["shop"], False),
        (["shop-1"], ["shop1"], True),
        (["shop_01"], ["shop1"], True),
        (["wyk"], ["vik"], True),
    ],
)
def test_folds(new: list[str], ledger: list[str], refused: bool) -> None:
    entries = {slug: entry(slug) for slug in ledger}
    if not refused:
        check_folds(new, entries)
        return
    with pytest.raises(ManifestValidationError) as caught:
        check_folds(new, entries)
    assert caught.value.source == new[0]
    assert not any(f"'{slug}'" in str(caught.value) for slug in ledger)


@pytest.mark.parametrize(
    ("known", "found", "refused"),
    [
        ([], holding(), False),
        ([], holding("shop_eu_tasks"), False),
        (["crm"], holding("shop_eu_tasks"), False),
        (["shop"], holding("shop_tasks", "shop_eu", "shop_euro"), False),
        (["shop"], holding("shop_eu_"), False),
        (["shop"], holding("shop_eu_tasks"), True),
        (["shop", "shop_eu_x"], holding("shop_eu_x_tasks"), False),
        (["shop"], holding(other={"shop_eu_tasks"}), False),
        (["crm"], holding(crm_v={"shop_eu_tasks"}), True),
        (["shop"], holding(shop_v={"shop_tasks"}), False),
        (["shop"], holding(shop_v={"shop_eu_tasks"}), True),
        (["shop"], holding(shop_v={"shop_tasks", "shop_eu_@d.x"}), True),
        (["shop"], holding(shop_eu_v={"shop_tasks"}), True),
    ],
)
def test_capture(known: list[str], found: Listing, refused: bool) -> None:
    if not refused:
        check_capture("shop_eu", known, found)
        return
    with pytest.raises(ManifestValidationError) as caught:
        check_capture("shop_eu", known, found)
    assert (caught.value.source, caught.value.path) == ("shop_eu", "slug")
    assert "tasks" not in str(caught.value)
    assert "'shop'" not in str(caught.value)


SLUGS = frozenset({"shop", "shop_eu", "crm"})


@pytest.mark.parametrize(
    ("keys", "names", "path"),
    [
        ({}, (), None),
        ({"database": "store"}, ("shop_tasks", "shop_@other.tasks"), None),
        ({"database": "store"}, ("crm_@store.tasks",), None),
        ({"database": "store"}, ("shop_@store.tasks",), "database"),
        ({"database": "store"}, ("shop_@STORE.tasks",), "database"),
        ({"database": ["shop", "süd"]}, ("shop_@s%c3%bcd.tasks",), "database"),
        ({"data_access": {"read_scopes": ["crm"]}}, ("shop_tasks", "shop_crm"), None),
        ({"data_access": {"read_scopes": ["crm"]}}, ("shop_eu_crm_x", "crm_x"), None),
        ({"data_access": {"read_scopes": ["crm"]}}, ("shop_crm_x",), "data_access.read_scopes"),
        ({"data_access": {"read_scopes": ["crm"]}}, ("shop_@d.crm_x",), "data_access.read_scopes"),
        ({"data_access": {"read_scopes": ["hr"]}}, (), "data_access.read_scopes"),
        (
            {"data_access": {"read_scopes": ["hr"], "cross_app_policy": "deny_all"}},
            (),
            None,
        ),
    ],
)
def test_names(keys: dict[str, Any], names: tuple[str, ...], path: str | None) -> None:
    if path is None:
        check_names(manifest(**keys), SLUGS, holding(*names))
        return
    with pytest.raises(ManifestValidationError) as caught:
        check_names(manifest(**keys), SLUGS, holding(*names))
    assert (caught.value.source, caught.value.path) == ("shop", path)
