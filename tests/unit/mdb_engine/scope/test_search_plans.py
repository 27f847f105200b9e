"""Ids and keys of search indexes; the plans are transcripts in tests/cases/plans."""

import re
from typing import Any

import pytest
from bson import Int64

from mdb_engine.exceptions import OperationFailedError
from mdb_engine.rawbson import Document, encode
from mdb_engine.scope import search_plans
from mdb_engine.scope.commands import rewrite
from mdb_engine.scope.names import ENGINE_PREFIX, valid_collection
from mdb_engine.scope.replies import Asked
from mdb_engine.scope.search_plans import SEARCH_INDEXES, managed_id, searching
from tests.support.kernel import SHOP


def test_an_id_looks_like_one_and_stays() -> None:
    found = managed_id("shop_tasks", "i")
    assert re.fullmatch(r"[0-9a-f]{24}", found)
    assert found == managed_id("shop_tasks", "i")
    assert len({found, managed_id("shop_task", "si"), managed_id("shop_tasks", "j")}) == 3


def test_no_client_can_name_the_store() -> None:
    assert SEARCH_INDEXES.startswith(ENGINE_PREFIX)
    assert not valid_collection(SEARCH_INDEXES)


@pytest.mark.parametrize(("most", "fits"), [(300, True), (100, False)])
def test_searches_that_are_too_large_together(
    monkeypatch: pytest.MonkeyPatch, most: int, fits: bool
) -> None:
    near = {"index": "i", "path": "v", "queryVector": [1.0], "limit": 1, "exact": True}
    stages = [{"$vectorSearch": near}]
    command: dict[str, Any] = {"aggregate": "a", "pipeline": stages, "cursor": {}, "$db": "app"}
    given = dict(Document(encode(command)))
    plan = searching(Asked(given, rewrite(given, SHOP), SHOP))
    next(plan)
    empty = {"cursor": {"id": Int64(0), "ns": "x", "firstBatch": []}, "ok": 1.0}
    monkeypatch.setattr(search_plans, "MAX_COMMAND_BYTES", most)
    with pytest.raises(StopIteration if fits else OperationFailedError):
        plan.send(encode(empty))
