"""`collection_settings` and `data_api`."""

from typing import Any

import pytest

from mdb_engine.exceptions import ManifestValidationError
from mdb_engine.manifest import parse


def loaded(**sections: Any) -> Any:
    return parse({"slug": "shop", "name": "Shop", **sections})


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"capped": True, "size": 4096, "max": 10},
        {"validation": {"validator": {"a": {"$gt": 1}}, "validationLevel": "moderate"}},
        {"validation": {"validationAction": "warn"}},
        {"collation": {"locale": "en", "numericOrdering": True, "strength": 2}},
        {"timeseries": {"timeField": "t", "metaField": "m", "granularity": "hours"}},
        {"expireAfterSeconds": 60},
    ],
)
def test_settings(settings: dict[str, Any]) -> None:
    found = loaded(collection_settings={"t": settings}).collection_settings["t"]
    assert found.model_dump(by_alias=True, exclude_unset=True) == settings


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"size": 0}, "size"),
        ({"validation": {"validationLevel": "x"}}, "validation.validationLevel"),
        ({"validation": {"validation_level": "off"}}, "validation.validation_level"),
        ({"timeseries": {}}, "timeseries.timeField"),
        ({"timeseries": {"timeField": "t", "granularity": "days"}}, "timeseries.granularity"),
        ({"collation": {"strength": 6}}, "collation.strength"),
    ],
)
def test_refused_settings(settings: dict[str, Any], path: str) -> None:
    with pytest.raises(ManifestValidationError) as caught:
        loaded(collection_settings={"t": settings})
    assert caught.value.path == f"collection_settings.t.{path}"


def test_data_api_is_closed_unless_opened() -> None:
    found = loaded(data_api={"t": {"read": True}}).data_api["t"]
    assert (found.read, found.write, found.subscribe) == (True, False, False)
