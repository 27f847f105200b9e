"""Rules that one field cannot see."""

from typing import Any

import pytest

from mdb_engine.exceptions import ManifestValidationError
from mdb_engine.manifest import Manifest, parse
from mdb_engine.manifest.rules import check_together


def loaded(slug: str = "shop", **keys: Any) -> Manifest:
    return parse({"slug": slug, "name": "Shop", **keys})


INDEX = {"type": "regular", "name": "a", "keys": {"a": 1}}


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"slug": "admin"}, "slug"),
        ({"slug": "mdb_engine"}, "slug"),
        ({"slug": "Shop"}, "slug"),
        ({"slug": "shop\n"}, "slug"),
        ({"database": "admin"}, "database"),
        ({"database": "Config"}, "database"),
        ({"database": "a.b"}, "database"),
        ({"database": "x" * 64}, "database"),
        ({"database": ""}, "database"),
        ({"database": []}, "database"),
        ({"database": ["a", "A"]}, "database"),
        ({"database": ["a", "a"]}, "database"),
        ({"data_access": {"read_scopes": ["crm", "*"]}}, "data_access.read_scopes.1"),
        ({"data_access": {"read_scopes": ["C"]}}, "data_access.read_scopes.0"),
        ({"data_access": {"read_scopes": [""]}}, "data_access.read_scopes.0"),
        ({"data_access": {"write_scope": "*"}}, "data_access.write_scope"),
        ({"managed_indexes": {"a..b": [INDEX]}}, "managed_indexes.a..b"),
        ({"managed_indexes": {"a": [INDEX, INDEX]}}, "managed_indexes.a.1.name"),
        ({"managed_indexes": {"a": []}}, "managed_indexes.a"),
        ({"collection_settings": {"system.x": {}}}, "collection_settings.system.x"),
        ({"data_api": {"$x": {}}}, "data_api.$x"),
        ({"initial_data": {"_mdb_engine_x": []}}, "initial_data._mdb_engine_x"),
    ],
)
def test_refused(keys: dict[str, Any], path: str) -> None:
    with pytest.raises(ManifestValidationError) as caught:
        loaded(**keys)
    assert caught.value.path == path


@pytest.mark.parametrize(
    "keys",
    [
        {"database": ["shop", "Lager Süd".replace(" ", "-")]},
        {"data_access": {"read_scopes": ["shop", "crm"], "write_scope": "crm"}},
        {"managed_indexes": {"a": [INDEX], "b.c": [INDEX]}},
    ],
)
def test_accepted(keys: dict[str, Any]) -> None:
    loaded(**keys)


@pytest.mark.parametrize(
    ("slugs", "refused"),
    [
        (("shop", "crm"), False),
        (("shop", "shop_eu"), False),
        (("shop-eu", "shop_eu"), True),
        (("shop1", "shop01"), True),
        (("vik", "wyk"), True),
    ],
)
def test_slugs_of_one_folder(slugs: tuple[str, str], refused: bool) -> None:
    manifests = {slug: loaded(slug) for slug in slugs}
    if refused:
        with pytest.raises(ManifestValidationError) as caught:
            check_together(manifests)
        assert caught.value.source in slugs
    else:
        check_together(manifests)


def test_logins_of_one_folder() -> None:
    proxy = {"x509": [{"subject": "CN=a"}]}
    manifests = {slug: loaded(slug, proxy=proxy) for slug in ("crm", "shop")}
    with pytest.raises(ManifestValidationError, match=r"crm: proxy\.x509: .*'shop'"):
        check_together(manifests)
