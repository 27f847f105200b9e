"""Definitions are found again by their name and physical form, and come back byte for byte."""

from dataclasses import replace
from typing import Any

import pytest

from mdb_engine.rawbson import Array, Document, element, encode, splice_end
from mdb_engine.scope.originals import digest, every, key, moved, original, shown
from tests.support.kernel import SHOP, lazy
from tests.support.kernel import shown as plain

VIEW = lazy({"viewOn": "shop_tasks", "pipeline": [{"$match": {"app_id": "shop"}}]})
CHECKED = lazy({"validator": {"a": {"$gt": 1}}, "validationLevel": "strict"})


@pytest.mark.parametrize(
    "options",
    [{}, {"capped": True}, {"validator": {}}, {"validator": None}, {"validator": 5},
     {"viewOn": None}],
)  # fmt: skip
def test_what_defines_nothing_has_no_digest(options: Any) -> None:
    assert digest(lazy(options)) is None


def test_the_digest_is_of_the_definition_alone() -> None:
    assert digest(VIEW) == digest({**VIEW, "collation": {"locale": "en"}, "create": "shop_v"})
    assert digest(CHECKED) == digest({"validator": {"a": {"$gt": 1}}})


@pytest.mark.parametrize(
    "other",
    [{"viewOn": "shop_other"}, {"pipeline": []}, {"pipeline": [{"$match": {"app_id": "crm"}}]}],
)
def test_another_definition_has_another_digest(other: Any) -> None:
    assert digest(VIEW) != digest({**VIEW, **other})


def test_a_list_and_the_listed_array_have_one_digest() -> None:
    assert digest({"viewOn": "shop_tasks", "pipeline": [{"$match": {"app_id": "shop"}}]}) == digest(
        VIEW
    )


def test_nothing_is_kept_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing is defined"):
        original("shop_v", {}, {})


def odd_array() -> Array:
    """An array with names that are no numbers, and a name twice in an operand."""
    twice = element(b"a", 1) + element(b"a", 2)
    operand = Document(splice_end(encode({}), twice))
    stage = element(b"7", {"$match": {"x": {"$eq": operand}}})
    return Array(splice_end(encode({}), stage))


def test_a_pipeline_comes_back_byte_for_byte() -> None:
    written = odd_array()
    made = Document(encode(original("shop_v", VIEW, {"pipeline": written})))
    found = shown(VIEW, made, SHOP, "app")
    assert found["viewOn"] == "tasks"
    assert found["pipeline"].data == written.data


def test_a_validator_comes_back_byte_for_byte() -> None:
    twice = element(b"a", 1) + element(b"a", 2)
    written = Document(encode({"x": {"$eq": Document(splice_end(encode({}), twice))}}))
    made = Document(encode(original("shop_c", CHECKED, {"validator": written})))
    found = shown(CHECKED, made, SHOP, "app")
    assert found["validator"].data == written.data
    assert found["validationLevel"] == "strict"


def test_a_view_without_a_pipeline_has_an_empty_one() -> None:
    made = Document(encode(original("shop_v", VIEW, {})))
    assert plain(shown(VIEW, made, SHOP, "app")) == {"viewOn": "tasks", "pipeline": []}


def test_what_is_kept_moves_along() -> None:
    made = Document(encode(original("shop_c", CHECKED, {"validator": CHECKED["validator"]})))
    copy = moved(made, "shop_d")
    assert copy["_id"] == key("shop_d", made["of"])
    assert copy["collection"] == "shop_d"
    assert copy["validator"] == made["validator"]


@pytest.mark.parametrize(
    ("name", "found"),
    [("shop_v", True), ("shop_v2", False), ("shop_", False), ("shop_v.x", False),
     ("shop_V", False)],
)  # fmt: skip
def test_all_of_a_collection_is_found_by_its_name(name: str, found: bool) -> None:
    condition = every("shop_v")
    assert (condition["$gte"] <= key(name, "00ff") < condition["$lt"]) is found


def test_a_validator_of_another_kind_is_shown_as_it_is() -> None:
    assert shown({"validator": 5}, None, SHOP, "app") == {"validator": 5}


@pytest.mark.parametrize(
    ("source", "db", "name"),
    [
        ("shop_tasks", "app", "tasks"),
        ("shop_tasks", "alias", "tasks"),
        ("shop_@other.tasks", "other", "tasks"),
        ("shop_@other.tasks", "app", None),
        ("shop_tasks", "other", None),
        ("shop_eu_tasks", "app", None),
        ("shared_tasks", "app", None),
        ("crm_tasks", "app", None),
        ("_mdb_engine_views", "app", None),
    ],
)
def test_a_source_is_shown_by_the_name_it_has_here(source: str, db: str, name: str | None) -> None:
    scope = replace(SHOP, home=("app", "alias"), readable=("shared",))
    assert shown(lazy({"viewOn": source}), None, scope, db).get("viewOn") == name
