from typing import Any

import pytest

from mdb_engine.exceptions import RefusedError
from mdb_engine.rawbson import Document
from mdb_engine.scope.model import Limits, Rule, Scope
from mdb_engine.scope.statements import (
    DELETES,
    DOCUMENTS,
    SEQUENCES,
    STATEMENT_ERRORS,
    UPDATES,
)
from tests.support.kernel import SHOP, lazy, shown, where

SMALL = Scope("shop", "appdata", ("app",), limits=Limits(max_document_bytes=60))
GOOD, LARGE = {"n": 1}, {"n": "x" * 60}


def batch(*documents: Any, **owner: Any) -> tuple[list[Any], Any]:
    """What is left of some documents, and what is noted."""
    place = where("documents", command="insert", **owner)
    left = DOCUMENTS.decoded(lazy(list(documents)), SMALL, place)
    return [shown(item) for item in left], place.notes


@pytest.mark.parametrize(
    ("ordered", "kept", "refused"),
    [
        ({}, [0], [1]),
        ({"ordered": True}, [0], [1]),
        ({"ordered": None}, [0], [1]),
        ({"ordered": False}, [0, 2], [1, 3]),
        ({"ordered": False, "autocommit": False}, [0], [1]),
    ],
)
def test_a_refused_one_does_not_take_the_others_along(
    ordered: Any, kept: list[int], refused: list[int]
) -> None:
    left, notes = batch(GOOD, LARGE, GOOD, LARGE, **ordered)
    assert left == [{"app_id": "shop", "n": 1}] * len(kept)
    assert notes.kept == kept
    assert [(error.index, error.code) for error in notes.refused] == [(i, 2) for i in refused]
    assert "object to insert too large" in notes.refused[0].message


def test_a_whole_batch_needs_no_notes() -> None:
    _, notes = batch(GOOD, GOOD)
    assert (notes.kept, notes.refused) == (None, [])


def test_a_sequence_of_a_message_is_as_good_as_an_array() -> None:
    place = where("documents", command="insert")
    left = DOCUMENTS.decoded([lazy(GOOD), lazy(GOOD)], SHOP, place)
    assert [shown(item) for item in left] == [{"app_id": "shop", "n": 1}] * 2
    assert all(isinstance(item, Document) for item in left)


@pytest.mark.parametrize("rule", [DELETES, DOCUMENTS, UPDATES])
@pytest.mark.parametrize("value", [b"\1\2", "x", {"n": 1}, 5, None, b""])
def test_a_batch_is_an_array(rule: Rule, value: Any) -> None:
    with pytest.raises(RefusedError) as refused:
        rule.decoded(lazy(value), SHOP, where("batch"))
    code = 10065 if value is None else 14
    assert (refused.value.code, refused.value.at) == (code, "batch")


@pytest.mark.parametrize("rule", [DELETES, UPDATES])
def test_no_statement_goes_without_a_filter(rule: Rule) -> None:
    with pytest.raises(RefusedError, match=r"'delete\.deletes\.q' is missing"):
        rule.decoded(lazy([{}]), SHOP, where("deletes", command="delete"))


def test_what_is_explained_is_refused_as_a_whole() -> None:
    bad = [{"q": {}, "u": {"$unset": {"app_id": 1}}}]
    with pytest.raises(STATEMENT_ERRORS) as refused:
        UPDATES.decoded(lazy(bad), SHOP, where("explain", "updates", command="update"))
    assert refused.value.at == "explain.updates.0.u.$unset.app_id"


def test_other_refusals_take_the_whole_batch() -> None:
    bad = [{"q": {}, "u": {"$set": {"a": 1}}}, {"q": {"$where": "1"}, "u": {}}]
    with pytest.raises(RefusedError) as refused:
        UPDATES.decoded(lazy(bad), SHOP, where("updates", command="update", ordered=False))
    assert (refused.value.code, refused.value.at) == (2, "updates.1.q.$where")


def test_each_statement_has_a_collation_of_its_own() -> None:
    statements = [{"q": {}, "limit": 0, "collation": {"locale": "fr"}}, {"q": {}, "limit": 0}]
    place = where("deletes", command="delete")
    guarded, plain = DELETES.decoded(lazy(statements), SHOP, place)
    assert shown(guarded["q"]) == {"$and": [{"app_id": "shop"}, {"app_id": {"$regex": "^shop\\z"}}]}
    assert shown(plain["q"]) == {"app_id": "shop"}


def test_sequences_are_the_batches() -> None:
    assert sorted(SEQUENCES) == ["deletes", "documents", "nsInfo", "ops", "updates"]
