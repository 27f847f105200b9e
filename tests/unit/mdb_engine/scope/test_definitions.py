from contextlib import nullcontext
from typing import Any

import pytest

from mdb_engine.exceptions import CannotCreateIndexError, InvalidOptionsError, RefusedError
from mdb_engine.scope.definitions import CREATE, CREATE_INDEXES
from mdb_engine.scope.fields import UNSUPPORTED
from mdb_engine.scope.model import Limits, Scope
from tests.support.kernel import SHOP, lazy, shown, where

IMAGES = Scope("shop", "appdata", ("app",), limits=Limits(pre_images=True))


def create(option: str, value: Any, scope: Scope = SHOP) -> Any:
    return CREATE[option].decoded(lazy(value), scope, where(option, command="create"))


def index(spec: Any, **owner: Any) -> Any:
    place = where("indexes", command="createIndexes", **owner)
    (made,) = CREATE_INDEXES["indexes"].decoded(lazy([spec]), SHOP, place)
    return shown(made)


@pytest.mark.parametrize("name", [n for n, rule in CREATE.items() if rule is UNSUPPORTED])
def test_an_option_that_we_do_not_support(name: str) -> None:
    with pytest.raises(InvalidOptionsError, match=f"^{name} is not supported$"):
        create(name, {})


@pytest.mark.parametrize("value", [{"timeField": "at"}, {"metaField": "x", "timeField": "t"}, 5])
def test_a_time_series(value: Any) -> None:
    assert shown(create("timeseries", value)) == value


@pytest.mark.parametrize("name", ["metaField", "timeField"])
def test_a_time_series_over_the_tag_would_lose_it(name: str) -> None:
    with pytest.raises(InvalidOptionsError, match=r"^app_id is reserved: ") as refused:
        create("timeseries", {name: "app_id"})
    assert refused.value.at == f"timeseries.{name}"


@pytest.mark.parametrize(
    ("value", "scope", "allowed"),
    [
        ({"enabled": True}, SHOP, False),
        ({"enabled": True}, IMAGES, True),
        ({"enabled": False}, SHOP, True),
        ({"enabled": 1}, SHOP, True),  # the server wants a bool
        ({}, SHOP, True),
        (True, SHOP, True),  # the server wants a document
    ],
)
def test_images_of_changes_cost_everybody(value: Any, scope: Scope, allowed: bool) -> None:
    refused = nullcontext() if allowed else pytest.raises(InvalidOptionsError)
    with refused:
        assert shown(create("changeStreamPreAndPostImages", value, scope)) == value


@pytest.mark.parametrize(
    ("given", "expected"),
    [({"key": {"_id": 1}, "ns": "a.b"}, {"key": {"_id": 1}}), ({}, {}), (5, 5)],
)
def test_an_old_namespace_is_left_out_of_an_id_index(given: Any, expected: Any) -> None:
    assert shown(create("idIndex", given)) == expected


@pytest.mark.parametrize(
    ("spec", "at"),
    [
        ({"key": {"a": 1, "app_id": "text"}}, "key"),
        ({"key": {"app_id": "2dsphere"}}, "key"),
        ({"key": {"a": "text"}, "weights": {"app_id": 1}}, "weights"),
        ({"key": {"a": "text"}, "language_override": "app_id"}, "language_override"),
    ],
)
def test_an_index_that_would_not_take_the_tag(spec: Any, at: str) -> None:
    with pytest.raises(CannotCreateIndexError, match=f"^app_id is reserved: {at}$") as refused:
        index(spec)
    assert refused.value.at == f"indexes.0.{at}"


@pytest.mark.parametrize(
    "spec",
    [
        {"key": {"app_id": 1}},
        {"key": {"app_id": "hashed"}},
        {"key": {"a": "text"}, "weights": {"a": 1}, "language_override": "app"},
        {"key": {"a": 1}, "partialFilterExpression": {"app_id": "shop"}},
        {"key": {"app_id.x": "text"}},
    ],
)
def test_an_index_that_takes_it(spec: Any) -> None:
    assert index(spec) == spec


def test_an_index_is_a_document() -> None:
    with pytest.raises(RefusedError, match=r"'createIndexes\.indexes\.0' is the wrong"):
        index(5)


def test_a_partial_filter_that_is_none_is_the_servers_to_refuse() -> None:
    assert index({"key": {"a": 1}, "partialFilterExpression": 5})["partialFilterExpression"] == 5


def test_a_partial_filter_is_checked() -> None:
    with pytest.raises(RefusedError) as refused:
        index({"key": {"a": 1}, "partialFilterExpression": {"$or": [{"$where": "1"}]}})
    assert refused.value.at == "indexes.0.partialFilterExpression.$or.0.$where"


UNKNOWN = {"key": {"a": 1}, "safe": True, "dropDups": True, "ns": "a.b"}


def test_unknown_options_are_left_out_for_those_who_ask() -> None:
    assert index(UNKNOWN, ignoreUnknownIndexOptions=True) == {"key": {"a": 1}}


@pytest.mark.parametrize("owner", [{}, {"ignoreUnknownIndexOptions": False}])
def test_unknown_options_are_refused(owner: Any) -> None:
    with pytest.raises(RefusedError, match="field 'safe' is not valid for an index"):
        index(UNKNOWN, **owner)


def test_the_quorum_is_the_default_one() -> None:
    rule = CREATE_INDEXES["commitQuorum"]
    assert rule.decoded("majority", SHOP, where("commitQuorum")) == "majority"
    with pytest.raises(InvalidOptionsError):
        rule.decoded(lazy(1), SHOP, where("commitQuorum"))
