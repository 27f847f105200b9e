import re
from collections import OrderedDict
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson import SON, Code, DBRef, Decimal128, Int64, ObjectId, Regex
from bson.raw_bson import RawBSONDocument

from mdb_engine.rawbson import Document
from mdb_engine.scope import plain
from mdb_engine.scope.model import Limits
from tests.support.kernel import SHOP

SMALL = Limits(max_branches=3)


class Sly(dict[str, Any]):
    pass


class Text(str):
    __slots__ = ()


RAW = RawBSONDocument(bson.encode({"a": 1}))
DATA = [
    "x", 1, Int64(1), 1.5, True, None, b"x", ObjectId(), Decimal128("1"),
    datetime(2030, 1, 1, tzinfo=UTC),
]  # fmt: skip
NO_DATA = [
    re.compile("a"), Regex("a"), Code("x"), DBRef("a", 1), RAW, Sly(a=1), SON(a=1), Text("x"),
    OrderedDict(a=1), ("a",), object(),
]  # fmt: skip


@pytest.mark.parametrize("value", DATA)
def test_scalars_are_plain(value: Any) -> None:
    for given in ({"a": value}, {"a": {"$gt": value}}, {"a": {"$in": [value]}}, {"a.b": value}):
        assert plain.plain_filter(given, Limits()) == given
    assert plain.plain_update({"$set": {"a": value}}) == {"$set": {"a": value}}
    assert plain.plain_document({"a": [value, {"b": value}]})


@pytest.mark.parametrize("value", NO_DATA)
def test_everything_else_is_not(value: Any) -> None:
    for given in ({"a": value}, {"a": {"$gt": value}}, {"a": {"$in": [value]}}):
        assert plain.plain_filter(given, Limits()) is None
    for inner in (value, [value], {"b": value}, {"b": [{"c": value}]}):
        assert plain.plain_update({"$set": {"a": inner}}) is None
        assert not plain.plain_document({"a": inner})


@pytest.mark.parametrize(
    "value",
    [
        None, [], "x", Sly(a=1), SON(a=1), RAW, {Text("a"): 1}, {1: 1}, {b"a": 1},
        {"$where": "1"}, {"$and": [{"a": 1}]}, {"a$b": 1}, {"a": {}}, {"a": {"b": 1}},
        {"a": {"$gt": 1, "b": 1}}, {"a": {"$regex": "x"}}, {"a": {"$not": {"$gt": 1}}},
        {"a": {"$in": ("x",)}}, {"a": {"$gt": [1]}}, {"a": {"$elemMatch": {"b": 1}}},
        {"a": {Text("$gt"): 1}}, {"a": {"$text": "x"}}, {"a": {"$in": 1}}, {"a": ["x"]},
        {"a": 1, "b": 1, "c": 1, "d": 1}, {"a": {"$gt": 1, "$lt": 3}, "b": {"$gt": 1}},
    ],
)  # fmt: skip
def test_filters_that_go_the_long_way(value: Any) -> None:
    assert plain.plain_filter(value, SMALL) is None


def test_no_depth_is_allowed() -> None:
    flat = Limits(max_depth=0)
    assert plain.plain_filter({"a": 1}, flat) == {"a": 1}
    assert plain.plain_filter({"a": {"$gt": 1}}, flat) is None


@pytest.mark.parametrize(
    "value",
    [
        None, {}, [{"$set": {"a": 1}}], Sly({"$set": {"a": 1}}), {"a": 1}, {"$pull": {"a": 1}},
        {"$rename": {"a": "b"}}, {"$nothing": {"a": 1}}, {"$set": {"app_id": "shop"}},
        {"$set": {"a": 1}, "$unset": {"app_id.x": 1}}, {"$set": Sly(a=1)}, {"$set": None},
        {"$set": {Text("a"): 1}}, {Text("$set"): {"a": 1}}, {"$set": {"a": {1: 1}}},
    ],
)  # fmt: skip
def test_updates_that_go_the_long_way(value: Any) -> None:
    assert plain.plain_update(value) is None


def test_a_copy_cannot_be_changed_from_outside() -> None:
    values = [1]
    condition: dict[str, Any] = {"a": {"$in": values}}
    change: dict[str, Any] = {"$push": {"b": {"$each": values}}}
    copies = plain.plain_filter(condition, Limits()), plain.plain_update(change)
    values.append(2)
    condition["a"]["$where"] = condition["$where"] = "1"
    change["$push"]["app_id"] = change["$pull"] = "crm"
    assert copies == ({"a": {"$in": [1]}}, {"$push": {"b": {"$each": [1]}}})


def test_depth_has_an_end() -> None:
    deep: Any = {"a": 1}
    for _ in range(plain.MOST_LEVELS):
        deep = {"a": deep}
    assert plain.plain_document(deep)
    assert not plain.plain_document({"a": deep})


def test_a_stored_document_gets_the_tag() -> None:
    tag = plain.tag_of(SHOP)
    data = plain.stored(bson.encode({"_id": 1, "a": 1}), tag, SHOP)
    assert data == bson.encode({"_id": 1, "app_id": "shop", "a": 1})
    assert plain.stored(bson.encode({"app_id": "crm"}), tag, SHOP) is None
    most = SHOP.limits.max_document_bytes
    assert plain.stored(bson.encode({"a": "x" * most}), tag, SHOP) is None


def test_a_flat_document_gets_the_tag_before_it_is_encoded() -> None:
    given = {"a": "text", "_id": 1, "b": b"x", "c": None}
    found = plain.flat_document(given, SHOP)
    assert found is not None
    assert list(found.items()) == [
        ("_id", 1), ("app_id", "shop"), ("a", "text"), ("b", b"x"), ("c", None),
    ]  # fmt: skip
    given["a"] = {"$where": "1"}
    assert found["a"] == "text"


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1},
        {"_id": 1, "app_id": "crm"},
        {"_id": 1, "a": []},
        {"_id": 1, "a": {}},
        {"_id": {}},
        {"_id": 1, 2: 3},
        SON(_id=1),
        RawBSONDocument(bson.encode({"_id": 1})),
    ],
)
def test_documents_that_are_encoded_first(value: Any) -> None:
    assert plain.flat_document(value, SHOP) is None


@pytest.mark.parametrize(
    ("letters", "flat"), [(90, True), (91, False)], ids=["fits in any encoding", "may not fit"]
)
def test_texts_are_counted_as_if_each_letter_took_most(letters: int, flat: bool) -> None:
    """Beside them there are 14, of three names and the tag."""
    scope = replace(SHOP, limits=replace(SHOP.limits, max_document_bytes=3 * 24 + 4 * 104))
    value = {"_id": 1, "a": "x" * letters}
    found = plain.flat_document(value, scope)
    assert (found is not None) is flat
    if found is not None:
        most = value | {"app_id": "shop", "a": "\U0001f600" * letters}
        assert len(bson.encode(most)) <= scope.limits.max_document_bytes


MARKED = Document(bson.encode(plain.MARK))


@pytest.mark.parametrize(
    ("found", "condition"),
    [
        ({"$and": [{"t": 1}, MARKED]}, {"t": 1}),
        ({"$and": [{"t": 1}, Document(bson.encode({"x": 0}))]}, None),
        ({"$and": [MARKED, MARKED]}, None),
        ({"$and": [{"t": 1}, {"u": 1}, MARKED]}, None),
        ({"$and": MARKED}, None),
        ({"$and": [{"t": 1}, MARKED], "x": 1}, None),
        (MARKED, None),
        (None, None),
    ],
)
def test_what_stands_beside_a_mark(found: Any, condition: Any) -> None:
    assert plain.condition_of(found) == condition
