"""Numbers as the server reads them, and lowered where the app asks for too much."""

from dataclasses import replace
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64

from mdb_engine.exceptions import (
    NegativeLimitError,
    QueryValidationError,
    RefusedError,
    TypeMismatchError,
    UnknownFieldError,
)
from mdb_engine.scope import caps
from mdb_engine.scope.caps import Time
from mdb_engine.scope.model import Limits
from tests.support.kernel import SHOP, lazy, where

INF = float("inf")
NAN = float("nan")
MAX = 2**63 - 1


@pytest.mark.parametrize(
    ("value", "number", "truth"),
    [
        (0, 0, False),
        (2, 2, True),
        (Int64(0), 0, False),
        (-0.0, 0, False),
        (1.5, 1.5, True),
        (INF, INF, True),
        (Decimal128("0"), 0, False),
        (Decimal128("-0E+5"), 0, False),
        (Decimal128("2.5"), 2.5, True),
        (Decimal128("-1E+6144"), -INF, True),
        (Decimal128("Infinity"), INF, True),
        (True, None, True),
        (False, None, False),
        ("1", None, None),
        (None, None, None),
        ({}, None, None),
        ([1], None, None),
        (b"1", None, None),
    ],
)
def test_numbers_and_truth(value: Any, number: float | None, *, truth: bool | None) -> None:
    assert caps.number(lazy(value)) == number
    assert caps.truth(lazy(value)) is truth


@pytest.mark.parametrize("value", [NAN, Decimal128("NaN"), Decimal128("sNaN"), Decimal128("-NaN")])
def test_not_a_number_is_one_and_true(value: Any) -> None:
    found = caps.number(lazy(value))
    assert found is not None
    assert found != found  # noqa: PLR0124 - only NaN differs from itself
    assert caps.truth(lazy(value)) is True


PLACE = where("maxTimeMS")


@pytest.mark.parametrize(
    ("kind", "value", "sent"),
    [
        (Time.DEFAULT, None, 30_000),
        (Time.DEFAULT, 0, 30_000),
        (Time.DEFAULT, 1, 1),
        (Time.DEFAULT, Int64(5), 5),
        (Time.DEFAULT, 5.0, 5),
        (Time.DEFAULT, Decimal128("5"), 5),
        (Time.DEFAULT, 300_000, 300_000),
        (Time.DEFAULT, 300_001, 300_000),
        (Time.DEFAULT, 2**31 - 1, 300_000),
        (Time.DEFINITION, None, 300_000),
        (Time.DEFINITION, 5, 5),
        (Time.DEFINITION, 10**6, 300_000),
        (Time.CLIENT, None, None),
        (Time.CLIENT, 0, None),
        (Time.CLIENT, 7, 7),
        (Time.CLIENT, 10**6, 300_000),
        (Time.IGNORED, 5, None),
        (Time.REFUSED, None, None),
        (Time.REFUSED, 0, None),
    ],
)
def test_times(kind: Time, value: Any, sent: int | None) -> None:
    assert caps.max_time(lazy(value), kind, SHOP, PLACE) == sent


@pytest.mark.parametrize("kind", Time)
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("5", "maxTimeMS must be a number"),
        (True, "maxTimeMS must be a number"),
        (1.5, "maxTimeMS has non-integral value"),
        (INF, "maxTimeMS has non-integral value"),
        (NAN, "maxTimeMS has non-integral value"),
        (Decimal128("sNaN"), "maxTimeMS has non-integral value"),
        (-1, "-1 value for maxTimeMS is out of range"),
        (2**31, "2147483648 value for maxTimeMS is out of range"),
    ],
)
def test_times_that_are_none(kind: Time, value: Any, text: str) -> None:
    with pytest.raises(QueryValidationError) as caught:
        caps.max_time(lazy(value), kind, SHOP, PLACE)
    assert (caught.value.reason, caught.value.at) == (text, "maxTimeMS")


def test_a_cursor_keeps_the_time_of_its_first_command() -> None:
    with pytest.raises(QueryValidationError, match="cannot set maxTimeMS on getMore"):
        caps.max_time(5, Time.REFUSED, SHOP, PLACE)


@pytest.mark.parametrize(("value", "noted"), [(None, []), (5, []), (999_999, ["max_time_ms"])])
def test_a_lowered_time_is_noted(value: Any, noted: list[str]) -> None:
    place = where("maxTimeMS")
    caps.max_time(value, Time.DEFAULT, SHOP, place)
    assert place.notes.caps == noted


@pytest.mark.parametrize(
    ("owner", "value", "sent"),
    [
        ({}, None, 10_000),
        ({}, 0, 10_000),
        ({}, NAN, 10_000),
        ({}, 5, 5),
        ({}, 5.9, 5),
        ({}, Int64(5), 5),
        ({}, 10_000, 10_000),
        ({}, 20_000, 10_000),
        ({}, INF, 10_000),
        ({}, Decimal128("1E+400"), 10_000),
        ({"singleBatch": True}, 1500, 1000),
        ({"singleBatch": True}, None, 1000),
        ({"singleBatch": False}, 1500, 1500),
        ({"tailable": True}, None, None),
        ({"tailable": True}, 0, None),
        ({"tailable": True}, 20_000, 20_000),
        ({"tailable": True}, INF, MAX),
    ],
)
def test_limits(owner: dict[str, Any], value: Any, sent: int | None) -> None:
    assert caps.limit(lazy(value), SHOP, where("limit", **owner)) == sent


@pytest.mark.parametrize(
    ("value", "shown"), [(-1, "-1"), (-1.5, "-1"), (-INF, str(-(2**63))), (Int64(-5), "-5")]
)
def test_negative_counts(value: Any, shown: str) -> None:
    with pytest.raises(NegativeLimitError) as caught:
        caps.limit(value, SHOP, where("limit"))
    assert caught.value.reason == f"BSON field 'limit' value must be >= 0, actual value '{shown}'"
    with pytest.raises(NegativeLimitError):
        caps.batch_size(value, SHOP, where("batchSize"))


@pytest.mark.parametrize(
    ("value", "kind"), [("5", "string"), (True, "bool"), ({}, "object"), ([], "array")]
)
def test_counts_that_are_none(value: Any, kind: str) -> None:
    with pytest.raises(TypeMismatchError) as caught:
        caps.limit(lazy(value), SHOP, where("limit"))
    assert caught.value.reason == (
        f"BSON field 'FindCommandRequest.limit' is the wrong type '{kind}',"
        " expected types '[long, int, decimal, double']"
    )


@pytest.mark.parametrize(
    ("value", "first", "more"),
    [
        (None, None, 1000),
        (0, 0, 1000),
        (1, 1, 1),
        (2.9, 2, 2),
        (1000, 1000, 1000),
        (5000, 1000, 1000),
        (INF, 1000, 1000),
        (NAN, 0, 1000),
        (0.5, 0, 1000),
    ],
)
def test_batches(value: Any, first: int | None, more: int) -> None:
    assert caps.batch_size(value, SHOP, where("batchSize")) == first
    assert caps.more_batch_size(value, SHOP, where("batchSize")) == more


@pytest.mark.parametrize(("value", "code"), [("5", 14), (True, 14), (-1, 51024), (-INF, 51024)])
def test_what_getmore_does_not_understand(value: Any, code: int) -> None:
    with pytest.raises(RefusedError) as refused:
        caps.more_batch_size(value, SHOP, where("batchSize"))
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("value", "sent"),
    [({}, {}), ({"batchSize": 5}, {"batchSize": 5}), ({"batchSize": None}, {}),
     ({"batchSize": 5000}, {"batchSize": 1000})],
)  # fmt: skip
def test_cursor_options(value: Any, sent: dict[str, int]) -> None:
    assert caps.cursor_options(lazy(value), SHOP, where("cursor")) == sent


@pytest.mark.parametrize(
    ("value", "error", "at"),
    [
        (1, TypeMismatchError, "cursor"),
        ([], TypeMismatchError, "cursor"),
        ({"batchsize": 1}, UnknownFieldError, "cursor.batchsize"),
        ({"batchSize": "1"}, TypeMismatchError, "cursor.batchSize"),
    ],
)
def test_cursor_options_that_are_none(value: Any, error: type[RefusedError], at: str) -> None:
    with pytest.raises(error) as caught:
        caps.cursor_options(lazy(value), SHOP, where("cursor"))
    assert caught.value.at == at


@pytest.mark.parametrize(
    ("value", "half"),
    [
        (5, 5), (-1, -1), (1.9, 1), (2**31 - 1, 2**31 - 1), (2**31, -(2**31)), (2**32 + 5, 5),
        (2**40, 0), (-(2**40) + 3, 3), (1e300, -1), (float("nan"), 0),
    ],
)  # fmt: skip
def test_the_lower_half_of_a_number(value: float, half: int) -> None:
    assert caps.low_half(value) == half


def test_an_apps_own_limits() -> None:
    small = replace(SHOP, limits=Limits(max_results=10, max_batch=5, max_time_ms=100,
                                        default_time_ms=50, definition_time_ms=200))  # fmt: skip
    assert caps.limit(None, small, where("limit")) == 10
    assert caps.batch_size(7, small, where("batchSize")) == 5
    assert caps.more_batch_size(None, small, where("batchSize")) == 5
    assert caps.max_time(None, Time.DEFAULT, small, PLACE) == 50
    assert caps.max_time(1000, Time.DEFAULT, small, PLACE) == 100
    assert caps.max_time(1000, Time.DEFINITION, small, PLACE) == 200
