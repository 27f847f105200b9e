"""Stages of a search process; whole rows in tests/cases/searchStages.json."""

from mdb_engine.scope.search_stages import listed
from mdb_engine.scope.stages import STAGES
from tests.support.cases import scope_of

FIELD = {"type": "vector", "path": "v", "numDimensions": 2, "similarity": "cosine"}
SCOPE = scope_of(
    {
        "vectors": [
            {"collection": "shop_a", "name": "z", "id": "1", "fields": [FIELD]},
            {"collection": "shop_a", "name": "b", "id": "2", "fields": [FIELD]},
            {"collection": "shop_b", "name": "c", "id": "3", "fields": [FIELD]},
        ]
    }
)


def test_indexes_are_listed_by_name() -> None:
    assert [each["name"] for each in listed("shop_a", {}, SCOPE)] == ["b", "z"]
    assert [each["id"] for each in listed("shop_a", {"name": "z"}, SCOPE)] == ["1"]
    assert listed("shop_a", {"id": "3"}, SCOPE) == []
    assert listed("shop_c", {}, SCOPE) == []


def test_what_needs_a_search_process() -> None:
    needing = {name for name, rule in STAGES.items() if rule.searches}
    assert needing == {"$rankFusion", "$score", "$scoreFusion", "$search", "$searchMeta"}
    assert [name for name, rule in STAGES.items() if rule.scores] == ["$vectorSearch"]
