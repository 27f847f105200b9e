"""Sections refuse what they do not know and say what was probably meant."""

from typing import Any

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from mdb_engine.manifest.base import Count, Email, Flag, Section, Whole, known_keys


class Box(Section):
    width: Count = 1
    deep: Flag = False
    class_: str | None = Field(default=None, alias="class")


def test_known_keys_are_spelled_as_in_a_manifest() -> None:
    assert known_keys(Box) == {"width", "deep", "class"}


@pytest.mark.parametrize(
    ("key", "hint"),
    [("widht", "; did you mean 'width'?"), ("class_", "; did you mean 'class'?"), ("zzz", "")],
)
def test_unknown_keys(key: str, hint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Box.model_validate({key: 1})
    assert caught.value.errors()[0]["msg"] == f"unknown key{hint}"


def test_sections_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Box().width = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kind", "value", "accepted"),
    [
        (Flag, True, True),
        (Flag, 1, False),
        (Flag, "true", False),
        (Count, 1, True),
        (Count, 0, False),
        (Count, True, False),
        (Count, "1", False),
        (Count, 1.0, False),
        (Whole, 0, True),
        (Whole, -1, False),
        (Email, "a@b", True),
        (Email, "a@b@c", False),
        (Email, "a b@c", False),
        (Email, "a@b\n", False),
        (Email, "@", False),
    ],
)
def test_kinds_of_values(kind: Any, value: object, accepted: bool) -> None:
    adapter = TypeAdapter(kind)
    if accepted:
        assert adapter.validate_python(value) == value
    else:
        with pytest.raises(ValidationError):
            adapter.validate_python(value)
