"""Ids and keys of search indexes; the plans are transcripts in tests/cases/plans."""

import re

from mdb_engine.scope.names import ENGINE_PREFIX, valid_collection
from mdb_engine.scope.search_plans import SEARCH_INDEXES, managed_id


def test_an_id_looks_like_one_and_stays() -> None:
    found = managed_id("shop_tasks", "i")
    assert re.fullmatch(r"[0-9a-f]{24}", found)
    assert found == managed_id("shop_tasks", "i")
    assert len({found, managed_id("shop_task", "si"), managed_id("shop_tasks", "j")}) == 3


def test_no_client_can_name_the_store() -> None:
    assert SEARCH_INDEXES.startswith(ENGINE_PREFIX)
    assert not valid_collection(SEARCH_INDEXES)
