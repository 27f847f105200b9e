"""`limits`: what a manifest may change, and what the kernel gets."""

from typing import Any

import pytest

from mdb_engine.exceptions import ManifestValidationError
from mdb_engine.manifest import parse
from mdb_engine.manifest.limits import OPERATOR_ONLY, LimitsSection, limits_of
from mdb_engine.scope.model import Limits


def limits(*, trusted: bool = False, **keys: Any) -> Limits:
    document = {"slug": "shop", "name": "Shop", "limits": keys}
    return limits_of(parse(document, trusted=trusted).limits)


def test_nothing_written_is_the_kernel_s_default() -> None:
    assert limits() == Limits()


def test_every_key_is_one_of_the_kernel_s() -> None:
    assert set(LimitsSection.model_fields) <= set(Limits.__dataclass_fields__)
    assert set(OPERATOR_ONLY) <= set(LimitsSection.model_fields)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"max_results": 500}, Limits(max_results=500)),
        ({"max_batch": 1_000}, Limits()),
        ({"max_time_ms": 60_000}, Limits(max_time_ms=60_000)),
        ({"max_time_ms": 5_000}, Limits(max_time_ms=5_000, default_time_ms=5_000)),
        ({"default_time_ms": 100_000}, Limits(default_time_ms=100_000)),
        ({"result_overflow": "error"}, Limits(result_overflow="error")),
        ({"disk_use": True, "pre_images": True}, Limits(disk_use=True, pre_images=True)),
        ({"max_in_flight": 128}, Limits(max_in_flight=128)),
        ({"requests_per_second": 5, "burst": 10}, Limits(requests_per_second=5.0, burst=10)),
        ({"storage_bytes": 1 << 40}, Limits(storage_bytes=1 << 40)),
    ],
)
def test_written(keys: dict[str, Any], expected: Limits) -> None:
    assert limits(**keys) == expected


@pytest.mark.parametrize("key", OPERATOR_ONLY)
def test_only_the_operator_raises(key: str) -> None:
    above = getattr(Limits(), key) + 1
    with pytest.raises(ManifestValidationError) as caught:
        limits(**{key: above})
    assert caught.value.path == f"limits.{key}"
    assert "operator" in caught.value.reason
    assert getattr(limits(trusted=True, **{key: above}), key) == above


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"max_results": 0}, "limits.max_results"),
        ({"max_results": -1}, "limits.max_results"),
        ({"max_results": 10.5}, "limits.max_results"),
        ({"max_results": True}, "limits.max_results"),
        ({"max_time_ms": 2**31}, "limits.max_time_ms"),
        ({"max_document_bytes": 16_777_217}, "limits.max_document_bytes"),
        ({"max_indexes": 65}, "limits.max_indexes"),
        ({"max_depth": 101}, "limits.max_depth"),
        ({"result_overflow": "drop"}, "limits.result_overflow"),
        ({"requests_per_second": 0}, "limits.requests_per_second"),
        ({"default_time_ms": 300_001}, "limits.default_time_ms"),
        ({"default_time_ms": 2_000, "max_time_ms": 1_000}, "limits.default_time_ms"),
        ({"burst": 3}, "limits.burst"),
        ({"max_result": 3}, "limits.max_result"),
    ],
)
def test_refused(keys: dict[str, Any], path: str) -> None:
    with pytest.raises(ManifestValidationError) as caught:
        limits(**keys)
    assert caught.value.path == path
