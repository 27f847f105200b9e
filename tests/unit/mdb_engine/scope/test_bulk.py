"""Statements of `bulkWrite`; the whole commands stand in tests/cases/bulkWrite.json."""

from typing import Any

import pytest

from mdb_engine.exceptions import RefusedError
from mdb_engine.scope.bulk import BULK_WRITE
from tests.support.kernel import SHOP, lazy, shown, where

SPACES = [{"ns": "app.a"}, {"ns": "app.b"}]


def ops(*statements: Any) -> list[Any]:
    place = where("ops", command="bulkWrite", db="admin", nsInfo=SPACES)
    return [shown(each) for each in BULK_WRITE["ops"].decoded(lazy(list(statements)), SHOP, place)]


@pytest.mark.parametrize("place", [0, 1, 1.0])
def test_every_filter_holds_the_condition(place: float) -> None:
    found = ops({"delete": place, "filter": {}}, {"update": place, "filter": {}, "updateMods": {}})
    assert found == [
        {"delete": place, "filter": {"app_id": "shop"}},
        {"update": place, "filter": {"app_id": "shop"}, "updateMods": {"app_id": "shop"}},
    ]


@pytest.mark.parametrize("place", [2, -1, 0.5, "0", None, True, float("nan"), float("inf")])
def test_a_place_that_there_is_not(place: Any) -> None:
    with pytest.raises(RefusedError, match="invalid nsInfo index") as refused:
        ops({"insert": 0, "document": {}}, {"insert": place, "document": {}})
    assert (refused.value.code, refused.value.at) == (2, "ops.1.insert")


def test_statements_without_namespaces() -> None:
    place = where("ops", command="bulkWrite", db="admin", nsInfo=1)
    with pytest.raises(RefusedError, match="invalid nsInfo index"):
        BULK_WRITE["ops"].decoded(lazy([{"insert": 0, "document": {}}]), SHOP, place)


def test_namespaces_are_noted_for_the_reply() -> None:
    place = where("nsInfo", command="bulkWrite", db="admin")
    found = BULK_WRITE["nsInfo"].decoded(lazy(SPACES), SHOP, place)
    assert found == [{"ns": "appdata.shop_a"}, {"ns": "appdata.shop_b"}]
    assert place.notes.names == {"shop_a": "app.a", "shop_b": "app.b"}
