"""The short way is the long way: what is plain comes out of the kernel as it went in."""

from datetime import UTC, datetime
from typing import Any

import bson
from bson import Int64, ObjectId
from hypothesis import given
from hypothesis import strategies as st

from mdb_engine.rawbson import Document, encode
from mdb_engine.scope import plain
from mdb_engine.scope.clauses import tag
from mdb_engine.scope.commands import rewrite
from mdb_engine.scope.model import Where
from mdb_engine.scope.walk import MATCH_OPERATORS
from tests.support.kernel import SHOP

NAMES = st.sampled_from(["a", "b.c", "_id", "app_id", "app_id.x", "x$y", "", "$a", "$and", "$expr"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.floats(-9, 9), st.binary(max_size=3),
    st.sampled_from(["x", "$a", "$$ROOT", "$where", "app_id", "$jsonSchema", "(a+)+", "shop"]),
    st.just(Int64(1)), st.just(ObjectId("0" * 24)), st.just(datetime(2030, 1, 1, tzinfo=UTC)),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
CONDITIONS = st.dictionaries(
    st.sampled_from(sorted(MATCH_OPERATORS)), SCALARS | st.lists(SCALARS, max_size=2), max_size=3
)
FILTERS = st.dictionaries(NAMES, SCALARS | CONDITIONS | VALUES, max_size=3)
OPERATORS = st.sampled_from(["$set", "$inc", "$unset", "$push", "$pull", "$rename", "$setOnInsert"])
UPDATES = st.dictionaries(OPERATORS, st.dictionaries(NAMES, VALUES, max_size=3), max_size=2)


def logical(**fields: Any) -> Document:
    return Document(bson.encode({**fields, "$db": "app"}))


def inner(value: Any) -> Document:
    """As the driver writes it inside a command; alone it would get its `_id` moved forward."""
    found: Document = Document(bson.encode({"": value}))[""]
    return found


@given(FILTERS)
def test_filters(value: dict[str, Any]) -> None:
    if plain.plain_filter(value, SHOP.limits) is None:
        return
    for write in (False, True):
        if write:
            statements = [{"q": value, "limit": 1}]
            made: Any = rewrite(logical(delete="tasks", deletes=statements), SHOP)
            assert not made.refused
            found = made.command["deletes"][0]["q"]
        else:
            found = rewrite(logical(find="tasks", filter=value), SHOP).command["filter"]
        guard = {"app_id": "shop"}
        expected = {"$and": [guard, inner(value)]} if value else guard
        assert encode(found) == encode(expected)


@given(UPDATES)
def test_updates(value: dict[str, Any]) -> None:
    if plain.plain_update(value) is None:
        return
    made = rewrite(logical(update="tasks", updates=[{"q": {}, "u": value}]), SHOP)
    assert not made.refused
    assert encode(made.command["updates"][0]["u"]) == inner(value).data


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_documents(value: dict[str, Any]) -> None:
    if not plain.plain_document(value):
        return
    data = bson.encode(value)
    short = plain.stored(data, plain.tag_of(SHOP), SHOP)
    where = Where("insert", "shop", path=("documents", "0"))
    if short is not None:
        assert short == tag(Document(data), SHOP, where).data
    flat = plain.flat_document({"_id": 1, **value}, SHOP)
    if flat is not None:
        whole = Document(bson.encode({"_id": 1, **value}))
        assert bson.encode(flat) == tag(whole, SHOP, where).data
