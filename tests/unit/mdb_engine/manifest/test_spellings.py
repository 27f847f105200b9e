"""Settings that two keys can spell."""

from typing import Any

import pytest

from mdb_engine.exceptions import ManifestValidationError
from mdb_engine.manifest import Manifest, parse
from mdb_engine.manifest.spellings import SPELLINGS, Spelling, unify


def nested(path: str, value: object) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    return value  # type: ignore[return-value]


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    result = dict(one)
    for key, value in other.items():
        result[key] = merged(result[key], value) if key in result else value
    return result


def at(manifest: Manifest, path: str) -> Any:
    value: Any = manifest.model_dump(by_alias=True)
    for key in path.split("."):
        value = value[key]
    return value


VALUES = {
    "auth.csrf_protection": (False, True),
    "auth.jwt.token_expiry_hours": (2, 3),
    "embedding_config.default_max_tokens": (500, 501),
    "embedding_config.default_tokenizer_model": ("a", "b"),
}


def values(spelling: Spelling) -> tuple[Any, Any]:
    last = spelling.path.rsplit(".", 1)[-1]
    numeric = last in {"min_length", "max_attempts", "window_seconds"}
    return VALUES.get(spelling.path, (17, 18) if numeric else (True, False))


SPELLED = pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda s: s.path)


@SPELLED
def test_the_written_one_counts(spelling: Spelling) -> None:
    one, _ = values(spelling)
    manifest = parse({"slug": "shop", "name": "Shop", **nested(spelling.path, one)})
    assert at(manifest, spelling.canonical) == spelling.convert(one)


@SPELLED
def test_equal_ones_are_fine(spelling: Spelling) -> None:
    one, _ = values(spelling)
    both = merged(nested(spelling.path, one), nested(spelling.canonical, spelling.convert(one)))
    assert unify(both) == both


@SPELLED
def test_different_ones_are_refused_with_both_paths(spelling: Spelling) -> None:
    one, other = values(spelling)
    both = merged(nested(spelling.path, one), nested(spelling.canonical, spelling.convert(other)))
    with pytest.raises(ManifestValidationError) as caught:
        unify(both)
    assert caught.value.path == spelling.path
    assert spelling.path in caught.value.reason
    assert spelling.canonical in caught.value.reason


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"auth": 3},
        {"auth": {"csrf_protection": {"token_ttl": 60}}},
        {"auth": {"jwt": {"token_expiry_hours": "2"}}},
        {"auth": {"password_policy": {"min_length": None}}},
        {"auth": {"csrf_protection": True}, "token_management": 3},
    ],
)
def test_left_alone(document: dict[str, Any]) -> None:
    assert unify(document) == document


def test_nothing_written_is_the_default_of_token_management() -> None:
    manifest = parse({"slug": "shop", "name": "Shop"})
    assert manifest.token_management.security.password_policy.min_length == 8
    assert manifest.auth.password_policy.min_length is None
