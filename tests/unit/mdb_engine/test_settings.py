from typing import Any

import pytest

from mdb_engine.manifest.collections import CollectionSettings
from mdb_engine.settings import differing, wanted


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({}, {}),
        ({"validation": {"validator": {"a": 1}, "validationLevel": "moderate"}},
         {"validator": {"a": 1}, "validationLevel": "moderate"}),
        ({"timeseries": {"timeField": "t", "granularity": "hours"}, "expireAfterSeconds": 60},
         {"timeseries": {"timeField": "t", "granularity": "hours"}, "expireAfterSeconds": 60}),
        ({"collation": {"locale": "sv", "numericOrdering": True}, "capped": False},
         {"collation": {"locale": "sv", "numericOrdering": True}, "capped": False}),
    ],
)  # fmt: skip
def test_options_are_those_of_create(settings: dict[str, Any], options: dict[str, Any]) -> None:
    assert wanted(CollectionSettings.model_validate(settings)) == options


@pytest.mark.parametrize(
    ("options", "there", "other"),
    [
        ({"size": 4000}, {"size": 4096}, []),
        ({"size": 4000}, {"size": 8192}, ["size"]),
        ({"collation": {"locale": "sv"}}, {"collation": {"locale": "sv", "strength": 3}}, []),
        ({"collation": {"locale": "sv"}}, {"collation": {"locale": "de"}}, ["collation"]),
        ({"collation": {"locale": "sv"}}, {}, ["collation"]),
        ({"validator": {"a": 1}}, {"validator": {"a": 1, "b": 1}}, ["validator"]),
        ({"max": 1, "capped": True}, {"max": 1, "capped": True}, []),
    ],
)
def test_what_is_otherwise(options: Any, there: Any, other: list[str]) -> None:
    assert differing(options, there) == other
