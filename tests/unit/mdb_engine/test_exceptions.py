"""Every error carries what its reader needs, and each MongoDB code has one class."""

from collections import Counter
from typing import Any

import pytest

from mdb_engine import exceptions
from mdb_engine.exceptions import (
    ManifestValidationError,
    MongoDBEngineError,
    OverloadedError,
    QueryValidationError,
    RefusedError,
    ResourceLimitExceeded,
    UpstreamError,
)

ERRORS = [v for v in vars(exceptions).values() if isinstance(v, type)]
REFUSALS = [e for e in ERRORS if issubclass(e, RefusedError)]
SHARED = {RefusedError, QueryValidationError, ResourceLimitExceeded}
"""BadValue has several reasons, which callers tell apart."""


def test_all_errors_have_one_root() -> None:
    assert [error for error in ERRORS if not issubclass(error, MongoDBEngineError)] == []


def test_each_code_has_one_class_and_one_name() -> None:
    codes = Counter(error.code for error in REFUSALS if error not in SHARED)
    assert [code for code, count in codes.items() if count > 1] == []
    assert {error.code for error in SHARED} == {2}
    assert all(error.code_name for error in REFUSALS)


@pytest.mark.parametrize("error", REFUSALS)
def test_a_code_without_a_name_is_a_location(error: Any) -> None:
    known = {322: "APIVersionError", 352: "UnsupportedOpQueryCommand", 462: None, 10334: None}
    known |= {391: "ReauthenticationRequired", 14031: "OutOfDiskSpace"}
    if error.code > 263 and error.code not in {*known, 13297}:
        assert error.code_name == f"Location{error.code}"


@pytest.mark.parametrize("error", REFUSALS)
def test_a_refusal_says_which_rule_and_where(error: Any) -> None:
    made = error("too deep", "filter.a")
    assert (made.reason, made.at, str(made)) == ("too deep", "filter.a", "too deep")
    assert 400 <= made.http_status < 500
    assert bool(made.labels) is (error is OverloadedError)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (("no such key",), "no such key"),
        (("no such key", "limits.x"), "limits.x: no such key"),
        (("no such key", "limits.x", "shop.json"), "shop.json: limits.x: no such key"),
        (("no such key", "", "shop.json"), "shop.json: no such key"),
    ],
)
def test_a_manifest_error_says_file_place_and_reason(parts: tuple[str, ...], text: str) -> None:
    assert str(ManifestValidationError(*parts)) == text


def test_an_upstream_error_carries_labels() -> None:
    error = UpstreamError("timed out", ("RetryableWriteError",))
    assert (error.code, error.code_name, error.labels) == (
        6,
        "HostUnreachable",
        ("RetryableWriteError",),
    )
    assert str(error) == error.reason == "timed out"


def test_bytes_that_are_not_utf8_can_be_printed() -> None:
    error = QueryValidationError("bad \udcff", "filter.\udcff\ud800.é")
    assert (error.reason, error.at) == ("bad \ufffd", "filter.\ufffd\ufffd.é")
    assert str(error) == error.reason
