"""What stored views read; what becomes of a definition stands in `tests/cases/views.json`."""

from typing import Any

import pytest

from mdb_engine.scope.views import sources
from tests.support.kernel import lazy

GRAPH = {"from": "g", "startWith": "$a", "connectFromField": "a", "connectToField": "b", "as": "x"}

STORED: list[tuple[Any, tuple[str, ...]]] = [
    ({"viewOn": "a", "pipeline": []}, ("a",)),
    ({"viewOn": "a"}, ("a",)),
    ({"pipeline": [{"$unionWith": "b"}]}, ("b",)),
    ({"viewOn": "a", "pipeline": [{"$unionWith": "b"}, {"$unionWith": "b"}]}, ("a", "b", "b")),
    ({"viewOn": "a", "pipeline": [{"$unionWith": {"coll": "b", "pipeline": [
        {"$lookup": {"from": "c", "as": "x"}}]}}]}, ("a", "b", "c")),
    ({"viewOn": "a", "pipeline": [{"$lookup": {"from": "b", "pipeline": [
        {"$facet": {"x": [{"$graphLookup": GRAPH}], "y": [{"$unionWith": "c"}]}}]}}]},
     ("a", "b", "g", "c")),
    ({"viewOn": "a", "pipeline": [{"$lookup": {"pipeline": [{"$documents": []}], "as": "x"}}]},
     ("a",)),
    ({"viewOn": "a", "pipeline": [{"$match": {"from": "b", "coll": "c", "$unionWith": "d"}}]},
     ("a",)),
    ({"viewOn": "a", "pipeline": [{"$lookup": {"from": {"db": "local", "coll": "b"}}}]}, ("a",)),
    ({"viewOn": 5, "pipeline": [5, {"$facet": 5}, {"$lookup": 5}, {"$facet": {"x": "y"}}]}, ()),
]  # fmt: skip


@pytest.mark.parametrize(("options", "read"), STORED)
def test_what_a_view_reads(options: Any, read: tuple[str, ...]) -> None:
    """Drivers' dicts and the kernel's own documents alike."""
    assert sources(options) == read
    assert sources(lazy(options)) == read
