"""What an app has stored decides what it may add."""

from dataclasses import replace
from typing import Any

import pytest

from mdb_engine.exceptions import OverloadedError, RefusedError
from mdb_engine.rawbson import Document, encode
from mdb_engine.scope.commands import rewrite
from mdb_engine.scope.holdings import Holdings, check_room
from mdb_engine.scope.model import Features, Limits, Scope

OWNED = frozenset({"shop_a", "shop_@Other.b"})
SHOP = Scope(
    "shop", "appdata", ("shop",), limits=Limits(max_collections=2), features=Features((8, 0))
)


def outcome(holdings: Holdings, command: dict[str, Any], scope: Scope = SHOP) -> int:
    logical = Document(encode({"$db": "shop", **command}))
    logical = Document(encode({next(iter(command)): command[next(iter(command))], **logical}))
    physical = rewrite(logical, scope)
    try:
        check_room(holdings, scope, next(iter(command)), physical.command)
    except RefusedError as error:
        return error.code
    return 0


def update(upsert: bool) -> dict[str, Any]:
    return {"update": "new", "updates": [{"q": {}, "u": {"$set": {"a": 1}}, "upsert": upsert}]}


def aggregate(*stages: dict[str, Any]) -> dict[str, Any]:
    return {"aggregate": "a", "pipeline": list(stages), "cursor": {}}


def bulk(*ops: dict[str, Any]) -> dict[str, Any]:
    spaces = [{"ns": "shop.a"}, {"ns": "shop.new"}]
    return {"bulkWrite": 1, "ops": list(ops), "nsInfo": spaces, "$db": "admin"}


NEW: list[tuple[dict[str, Any], bool]] = [
    ({"insert": "new", "documents": [{}]}, True),
    ({"insert": "a", "documents": [{}]}, False),
    ({"create": "new"}, True),
    ({"createIndexes": "new", "indexes": [{"key": {"a": 1}, "name": "a"}]}, True),
    ({"createIndexes": "a", "indexes": [{"key": {"a": 1}, "name": "a"}]}, False),
    (update(upsert=True), True),
    (update(upsert=False), False),
    ({"findAndModify": "new", "update": {"a": 1}, "upsert": True}, True),
    ({"findAndModify": "new", "update": {"a": 1}}, False),
    (aggregate({"$out": "new"}), True),
    (aggregate({"$merge": "new"}), True),
    (aggregate({"$merge": {"into": {"db": "Other", "coll": "b"}}}), False),
    (aggregate({"$match": {}}), False),
    (aggregate(), False),
    ({"renameCollection": "shop.a", "to": "shop.new", "$db": "admin"}, True),
    (bulk({"insert": 1, "document": {}}), True),
    (bulk({"insert": 0, "document": {}}), False),
    (bulk({"update": 1, "filter": {}, "updateMods": {}, "upsert": True}), True),
    (bulk({"update": 1, "filter": {}, "updateMods": {}}), False),
    (bulk({"delete": 1, "filter": {}}), False),
    ({"find": "new"}, False),
    ({"delete": "new", "deletes": [{"q": {}, "limit": 0}]}, False),
]


@pytest.mark.parametrize(("command", "creates"), NEW, ids=str)
def test_one_collection_too_many(command: dict[str, Any], creates: bool) -> None:
    assert outcome(Holdings({"shop": OWNED}), command) == (96 if creates else 0)
    assert outcome(Holdings({"crm": OWNED}), command) == 0


GROWING_INSIDE = ("$out", "$merge", "'insert': ", "updateMods")
GROWS = {"insert", "create", "createIndexes", "update", "findAndModify"}


@pytest.mark.parametrize(("command", "creates"), NEW, ids=str)
def test_a_full_app_reads_and_deletes(command: dict[str, Any], creates: bool) -> None:
    text = str(command)
    grows = next(iter(command)) in GROWS or any(name in text for name in GROWING_INSIDE)
    known = {"shop": OWNED | {"shop_new"}}
    assert outcome(Holdings(known, frozenset({"shop"})), command) == (14031 if grows else 0)
    assert outcome(Holdings(known, frozenset({"crm"})), command) == 0


def test_a_removal_of_one_document_is_a_delete() -> None:
    holdings = Holdings({"shop": OWNED}, frozenset({"shop"}))
    assert outcome(holdings, {"findAndModify": "a", "remove": True}) == 0


@pytest.mark.parametrize(
    ("db", "code"), [("Other", 0), ("other", 13297), ("OTHER", 13297), ("x", 0)]
)
def test_databases_differ_by_more_than_case(db: str, code: int) -> None:
    roomy = Scope("shop", "appdata", ("shop",))
    command = {"insert": "new", "documents": [{}], "$db": db}
    assert outcome(Holdings({"shop": OWNED}), command, roomy) == code
    assert outcome(Holdings({"shop": OWNED}), {"find": "b", "$db": db}, roomy) == 0


def test_what_was_made_a_moment_ago_counts() -> None:
    holdings = Holdings({"shop": frozenset({"shop_a"})})
    assert outcome(holdings, {"create": "b"}) == 0
    assert outcome(holdings, {"insert": "b", "documents": [{}]}) == 0
    assert outcome(holdings, {"create": "c"}) == 96
    assert outcome(holdings, {"create": "B", "$db": "OTHER"}, replace(SHOP, limits=Limits())) == 0
    assert (
        outcome(holdings, {"create": "b", "$db": "other"}, replace(SHOP, limits=Limits())) == 13297
    )


@pytest.mark.parametrize(
    "command",
    [
        {"drop": "shop_a", "$db": "appdata"},
        {"renameCollection": "appdata.shop_a", "to": "appdata.crm_a", "$db": "admin"},
    ],
    ids=str,
)
def test_what_was_dropped_a_moment_ago_does_not_count(command: dict[str, Any]) -> None:
    holdings = Holdings({"shop": OWNED})
    assert outcome(holdings, {"create": "new"}) == 96
    holdings.done("shop", {"find": "shop_a", "$db": "appdata"})
    assert outcome(holdings, {"create": "new"}) == 96
    holdings.done("shop", command)
    assert outcome(holdings, {"create": "new"}) == 0
    assert not holdings.has("shop", "shop_a")
    assert outcome(holdings, {"create": "a"}) == 96


def test_nothing_new_is_made_while_the_ledger_is_not_sure() -> None:
    holdings = Holdings({"shop": frozenset({"shop_a"})})
    check_room(holdings, SHOP, "insert", {"insert": "shop_a"}, sure=False)
    check_room(holdings, SHOP, "find", {"find": "shop_b"}, sure=False)
    with pytest.raises(OverloadedError):
        check_room(holdings, SHOP, "insert", {"insert": "shop_b"}, sure=False)


def test_every_collection_of_a_bulk_write_counts() -> None:
    roomy = replace(SHOP, limits=Limits(max_collections=3))
    insert = bulk({"insert": 0, "document": {}}, {"insert": 1, "document": {}})
    assert outcome(Holdings({"shop": OWNED}), insert, roomy) == 0
    insert["nsInfo"][0] = {"ns": "shop.newer"}
    assert outcome(Holdings({"shop": OWNED}), insert, roomy) == 96
