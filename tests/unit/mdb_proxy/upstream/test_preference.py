import bson
import pytest
from pymongo.read_preferences import Nearest, PrimaryPreferred, Secondary, SecondaryPreferred

from mdb_engine import rawbson
from mdb_engine.exceptions import QueryValidationError
from mdb_proxy.upstream.preference import PRIMARY, selector


@pytest.mark.parametrize(
    ("preference", "rule"),
    [
        (None, PRIMARY),
        ({}, PRIMARY),
        ({"mode": "primary"}, PRIMARY),
        ({"mode": "primaryPreferred"}, PrimaryPreferred()),
        ({"mode": "secondary"}, Secondary()),
        ({"mode": "nearest", "tags": []}, Nearest()),
        (
            {"mode": "secondaryPreferred", "tags": [{"dc": "a"}, {}], "maxStalenessSeconds": 120},
            SecondaryPreferred([{"dc": "a"}, {}], max_staleness=120),
        ),
        (
            rawbson.Document(
                bson.encode(
                    {"mode": "secondary", "tags": [{"a": "b"}], "maxStalenessSeconds": 90.0}
                )
            ),
            Secondary([{"a": "b"}], max_staleness=90),
        ),
    ],
)
def test_drivers_words_become_rules(preference, rule):
    assert selector(preference) == rule


@pytest.mark.parametrize(
    "preference",
    [
        {"mode": "fastest"},
        {"mode": "secondary", "tags": [1]},
        {"mode": "secondary", "tags": 1},
        {"mode": "secondary", "maxStalenessSeconds": -2},
        {"mode": "secondary", "maxStalenessSeconds": "long"},
        {"mode": "secondary", "maxStalenessSeconds": None},
    ],
)
def test_anything_else_is_refused(preference):
    with pytest.raises(QueryValidationError):
        selector(preference)
