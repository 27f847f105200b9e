"""What counts as different; planning needs a server (tests/e2e/test_indexes.py)."""

from typing import Any

import pytest

from mdb_engine.indexes.planning import differences


@pytest.mark.parametrize(
    ("spec", "there", "found"),
    [
        ({"key": {"a": 1}}, {"key": {"a": 1.0}, "v": 2}, []),
        ({"key": {"a": 1, "b": 1}}, {"key": {"b": 1, "a": 1}}, ["key"]),
        ({"key": {"a": 1}, "unique": True}, {"key": {"a": 1}}, ["unique"]),
        ({"key": {"a": 1}, "unique": False}, {"key": {"a": 1}}, []),
        ({"key": {"a": 1}, "collation": {"locale": "en"}},
         {"key": {"a": 1}, "collation": {"locale": "en", "strength": 3}}, []),
        ({"key": {"a": "text"}}, {"key": {"_fts": "text", "_ftsx": 1}, "weights": {"a": 1}}, []),
        ({"key": {"a": "text"}}, {"key": {"_fts": "text"}, "weights": {"b": 1}}, ["key"]),
        ({"key": {"a": 1}, "expireAfterSeconds": 5}, {"key": {"a": 1}, "expireAfterSeconds": 6},
         ["expireAfterSeconds"]),
    ],
)  # fmt: skip
def test_in_what_two_differ(spec: Any, there: Any, found: list[str]) -> None:
    assert differences({"name": "i", **spec}, {"name": "i", **there}) == found
