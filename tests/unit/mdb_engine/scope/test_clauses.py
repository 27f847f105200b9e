from typing import Any

import pytest

from mdb_engine.exceptions import (
    InvalidBSONError,
    NotSingleValueFieldError,
    RefusedError,
    ResourceLimitExceeded,
    TypeMismatchError,
)
from mdb_engine.rawbson import Document, element, encode, splice_end, walk
from mdb_engine.scope.clauses import (
    TAG,
    blind,
    conditions,
    expression,
    forced_tag,
    foreign_collation,
    guarded,
    predicate,
    read_filter,
    splice_tag,
    tag,
    write_filter,
)
from mdb_engine.scope.model import Limits, Scope
from tests.support.kernel import SHOP, lazy, shown, where

SHOWN = Scope("shop", "appdata", ("app",), expose_app_id=True)
GRANTED = Scope("shop", "appdata", ("app",), readable=("shared", "pool"))
FRENCH = {"collation": {"locale": "fr"}}


@pytest.mark.parametrize(
    ("scope", "write", "expected"),
    [
        (SHOP, False, {"app_id": "shop"}),
        (SHOP, True, {"app_id": "shop"}),
        (GRANTED, False, {"app_id": {"$in": ["shop", "shared", "pool"]}}),
        (GRANTED, True, {"app_id": "shop"}),
    ],
)
def test_the_condition(scope: Scope, write: bool, expected: Any) -> None:
    assert predicate(scope, write=write) == expected
    assert conditions(scope, {}, write=write) == [expected]


@pytest.mark.parametrize(
    ("collation", "foreign"),
    [
        ({"locale": "simple"}, False),
        ({"locale": "simple", "strength": 1}, False),
        ({"locale": "en"}, True),
        ({"locale": "Simple"}, True),
        ({"strength": 1}, True),
        ({}, True),
        (None, False),  # the server wants a document
        ("en", False),
    ],
)
def test_a_collation_that_could_equate_tags(collation: Any, foreign: bool) -> None:
    assert foreign_collation(lazy({"collation": collation})) is foreign
    assert not foreign_collation({})


@pytest.mark.parametrize(
    ("scope", "write", "guard"),
    [
        (SHOP, False, {"$regex": "^shop\\z"}),
        (GRANTED, True, {"$regex": "^shop\\z"}),
    ],
)
def test_the_guard_compares_byte_by_byte(scope: Scope, write: bool, guard: Any) -> None:
    assert conditions(scope, lazy(FRENCH), write=write)[1:] == [{"app_id": guard}]


def test_the_guard_of_several() -> None:
    (_, guard) = conditions(GRANTED, lazy(FRENCH), write=False)
    patterns = [item.pattern for item in shown(guard)["app_id"]["$in"]]
    assert patterns == ["^shop\\z", "^shared\\z", "^pool\\z"]


@pytest.mark.parametrize(
    ("given", "owner", "expected"),
    [
        (None, {}, {"app_id": "shop"}),
        ({}, {}, {"app_id": "shop"}),
        ({"a": 1}, {}, {"$and": [{"app_id": "shop"}, {"a": 1}]}),
        (
            {},
            FRENCH,
            {"$and": [{"app_id": "shop"}, {"app_id": {"$regex": "^shop\\z"}}]},
        ),
        (
            {"a": 1},
            FRENCH,
            {"$and": [{"app_id": "shop"}, {"app_id": {"$regex": "^shop\\z"}}, {"a": 1}]},
        ),
    ],
)
def test_a_filter_is_narrowed(given: Any, owner: Any, expected: Any) -> None:
    place = where("filter", **owner)
    value = None if given is None else lazy(given)
    assert shown(guarded(SHOP, place, value, write=False)) == expected
    assert shown(read_filter(value, SHOP, place)) == expected


def test_the_clients_part_is_left_whole() -> None:
    given = lazy({"a": {"b": [1, 2]}})
    assert guarded(SHOP, where("filter"), given, write=True)["$and"][1] is given


BARE_ROOT = {"$unsetField": {"field": "app_id", "input": "$$ROOT"}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"$expr": "$$ROOT"}, {"$expr": BARE_ROOT}),
        ({"$and": [{"$or": [{"$expr": "$app_id"}, 5]}]},
         {"$and": [{"$or": [{"$expr": "$$REMOVE"}, 5]}]}),
        ({"$nor": [{"$jsonSchema": {"maxProperties": 1}}]},
         {"$nor": [{"$jsonSchema": {"maxProperties": 2}}]}),
        ({"$and": 5, "$expr": 1}, {"$and": 5, "$expr": 1}),
        ({"a": {"$elemMatch": {"$expr": "$$ROOT"}}}, {"a": {"$elemMatch": {"$expr": "$$ROOT"}}}),
        ({"a": 1}, {"a": 1}),
    ],
)  # fmt: skip
def test_a_filter_does_not_notice_the_tag(given: Any, expected: Any) -> None:
    assert shown(blind(lazy(given), SHOP, where("filter"))) == expected
    assert shown(blind(lazy(given), SHOWN, where("filter"))) == given


def test_a_writer_compares_the_tag_but_its_schemas_do_not() -> None:
    given = {"$expr": {"$eq": ["$app_id", "shop"]}, "$jsonSchema": {"minProperties": 2}}
    found = shown(write_filter(lazy(given), SHOP, where("q")))["$and"][1]
    assert found == {**given, "$jsonSchema": {"minProperties": 3}}


SAME = ["shop", {"$eq": "shop"}, {"$in": ["shop"]}, {"$all": ["shop"]}]
OTHER = ["crm", 5, None, b"shop", ["shop"], {"x": 1}, {}]
OTHER += [{"$eq": "crm"}, {"$eq": ["shop"]}, {"$eq": "shop", "$gt": "a"}]
OTHER += [{"$in": ["crm"]}, {"$all": ["shop", "crm"]}, {"$all": []}]
NO_VALUE = [{"$ne": "crm"}, {"$exists": True}, {"$gt": "a"}, {"$regex": "^s"}]
NO_VALUE += [{"$in": ["shop", "crm"]}, {"$in": []}, {"$in": 5}]
PLACES = [
    lambda c: {"app_id": c},
    lambda c: {"$and": [{"app_id": c}]},
    lambda c: {"$and": [{"$and": [{"app_id": c}]}]},
    lambda c: {"$or": [{"app_id": c}]},
]
EVERYWHERE = pytest.mark.parametrize("place", PLACES)


def upsert(given: Any) -> Any:
    return shown(write_filter(lazy(given), SHOP, where("q", upsert=True)))


@EVERYWHERE
@pytest.mark.parametrize("condition", SAME)
def test_an_upsert_may_repeat_the_tag(place: Any, condition: Any) -> None:
    """The server refuses to find one value twice, so the client's goes."""
    assert str(upsert({**place(condition), "a": 1})).count("app_id") == 1
    assert shown(write_filter(lazy(place(condition)), SHOP, where("q")))["$and"][1] == place(
        condition
    )


@EVERYWHERE
@pytest.mark.parametrize("condition", OTHER)
def test_an_upsert_may_not_ask_for_another(place: Any, condition: Any) -> None:
    with pytest.raises(NotSingleValueFieldError, match="'app_id' is matched twice"):
        upsert(place(condition))
    assert shown(write_filter(lazy(place(condition)), SHOP, where("q")))


@EVERYWHERE
@pytest.mark.parametrize("condition", NO_VALUE)
def test_conditions_that_give_no_value_stay(place: Any, condition: Any) -> None:
    assert upsert(place(condition)) == {"$and": [{"app_id": "shop"}, place(condition)]}


@pytest.mark.parametrize(
    "given",
    [
        {"$or": [{"app_id": "crm"}, {"a": 1}]},
        {"$nor": [{"app_id": "crm"}]},
        {"a": {"app_id": "crm"}},
        {"a.app_id": "crm"},
        {"app_id.x": 1},
        {"$and": [5], "x.app_id": 1},
    ],
)
def test_elsewhere_the_tag_gives_no_value_either(given: Any) -> None:
    assert upsert(given) == {"$and": [{"app_id": "shop"}, given]}


DOCUMENTS = [
    {},
    {"a": 1},
    {"_id": 1, "a": 1},
    {"_id": "x", "a": 1},
    {"_id": {"a": 1}, "b": 1},
    {"a": 1, "_id": 1},
    {"app_id": "crm"},
    {"_id": 1, "a": 1, "app_id": ["crm"]},
    {"a": {"app_id": "crm"}},
    {"app_id": {"app_id": 1}, "_id": 5},
    {"app_idx": 1, "xapp_id": 2},
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_has_one_tag_its_own(document: dict[str, Any]) -> None:
    made = tag(lazy(document), SHOP, where("documents", "0"))
    names = [item.name for item in walk(made.data)]
    assert names.count(b"app_id") == 1
    assert shown(made) == {**document, "app_id": "shop"}
    assert names.index(b"app_id") == int(names[0] == b"_id" and isinstance(document["_id"], int))


def test_a_tag_that_came_twice_is_one() -> None:
    twice = b"".join(element(b"app_id", slug) for slug in ("shop", "crm"))
    made = tag(Document(splice_end(encode({"a": 1}), twice)), SHOP, where("documents", "0"))
    assert made.data == encode({"app_id": "shop", "a": 1})


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_shortcut_agrees_or_declines(document: dict[str, Any]) -> None:
    given = lazy(document)
    short = splice_tag(given.data, SHOP)
    assert short in (None, tag(given, SHOP, where("documents", "0")).data)
    assert (short is None) is (b"app_id\0" in given.data)
    assert (TAG.decoded, TAG.raw) == (tag, splice_tag)


@pytest.mark.parametrize("value", [5, "x", None, [1], b"x"])
def test_what_is_stored_is_a_document(value: Any) -> None:
    with pytest.raises(TypeMismatchError, match="expected type 'object'"):
        tag(lazy(value), SHOP, where("documents", "0", command="insert"))


@pytest.mark.parametrize("data", [b"", b"\5\0\0\0", b"\6\0\0\0\0", b"\x0b\0\0\0\x10a\0\1\0\0\0"])
def test_what_is_stored_is_bson(data: bytes) -> None:
    with pytest.raises(InvalidBSONError):
        tag(Document(data), SHOP, where("documents", "0"))


def test_the_tag_counts_as_part_of_the_document() -> None:
    given = lazy({"a": "x" * 50})
    size = len(given.data) + len(element(b"app_id", "shop"))
    for most, fits in ((size, True), (size - 1, False)):
        scope = Scope("shop", "appdata", ("app",), limits=Limits(max_document_bytes=most))
        if fits:
            assert len(tag(given, scope, where("documents", "0")).data) == size
            continue
        with pytest.raises(ResourceLimitExceeded, match=f"{size}, max size: {most}"):
            tag(given, scope, where("documents", "0"))


def test_the_forced_tag_is_no_expression() -> None:
    assert forced_tag(SHOP) == {"$set": {"app_id": {"$literal": "shop"}}}


def test_an_expression_is_checked() -> None:
    given = lazy({"a": {"$add": [1, 2]}})
    assert expression(given, SHOP, where("let")) is given
    with pytest.raises(RefusedError):
        expression(lazy({"a": {"$function": {}}}), SHOP, where("let"))
