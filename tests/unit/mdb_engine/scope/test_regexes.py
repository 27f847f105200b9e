"""Patterns within the limits pass; nothing hides a quantifier from the count."""

from dataclasses import replace

import pytest

from mdb_engine.exceptions import QueryValidationError
from mdb_engine.scope.model import Limits
from mdb_engine.scope.regexes import check_regex, complexity
from tests.support.kernel import WHERE


@pytest.mark.parametrize(
    ("pattern", "score"),
    [
        ("", 0),
        ("^plain text$", 0),
        ("a*b+c?d{2}", 4),
        ("a|b|c", 2),
        (r"a\*b\+\?\{\|\(\)", 0),
        (r"a\\*", 1),
        ("(a)(b)(c)", 0),
        ("(a(b(c)))", 2),
        ("(?:a)", 0),
        ("(?:a)?", 1),
        ("(?i)a", 0),
        ("(?=a)(?!b)(?<=c)(?<!d)", 4),
        ("((?=a))", 2),
        ("(?<name>a)+", 1),
        ("a+?", 2),
        ("(a+)+", 2),
        ("a)))((b)", 1),
        ("\\", 0),
        ("(", 0),
        ("a\\c", 0),
    ],
)
def test_complexity(pattern: str, score: int) -> None:
    assert complexity(pattern) == score


@pytest.mark.parametrize(
    "start",
    [r"\Q[\E", r"\c[", "(?#[)", "(?x)# [\n", "[", "[^", "[]", "[[:alpha:]", r"\c\\", r"[)))]"],
)
def test_nothing_hides_what_follows(start: str) -> None:
    assert complexity(start + "(a+)+b*|c") >= complexity("(a+)+b*|c")


def test_a_control_character_takes_the_backslash() -> None:
    assert complexity("\\c\\+" * 10) == 10


@pytest.mark.parametrize(
    ("pattern", "options", "text"),
    [
        ("a" * 1000, "", ""),
        ("a" * 1001, "", "maximum length (1000)"),
        ("é" * 1000, "", ""),
        ("a*" * 50, "", ""),
        ("a*" * 51, "", "maximum complexity (50)"),
        ("a", "imsx" * 2, ""),
        ("a", "imsx" * 2 + "i", "maximum number of options (8)"),
    ],
)
def test_limits(pattern: str, options: str, text: str) -> None:
    if not text:
        check_regex(pattern, options, Limits(), WHERE)
        return
    with pytest.raises(QueryValidationError) as caught:
        check_regex(pattern, options, Limits(), WHERE)
    assert text in caught.value.reason
    assert caught.value.at == "filter"


def test_limits_are_the_apps_own() -> None:
    limits = replace(Limits(), max_regex_length=2, max_regex_complexity=0)
    check_regex("ab", "", limits, WHERE)
    for pattern in ("abc", "a*"):
        with pytest.raises(QueryValidationError):
            check_regex(pattern, "", limits, WHERE)
