"""How long and how tangled a regular expression may be. The pattern is never compiled here."""

from __future__ import annotations

from typing import Final

from mdb_engine.exceptions import QueryValidationError
from mdb_engine.scope.model import Limits, Where

MAX_OPTIONS: Final = 8
_QUANTIFIERS: Final = frozenset("*+?{")
_LOOKAROUNDS: Final = ("?=", "?!", "?<=", "?<!")


def complexity(pattern: str) -> int:
    r"""Quantifiers, alternations, nested groups and lookarounds of a pattern, added up.

    Characters in classes and quotations count as if they stood outside: where those begin and
    end is easily hidden (`\Q[\E`, `(?#[)`, `\c[`).

    >>> complexity("(a+)+|b")
    3
    """
    score = depth = position = 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "\\":
            position += 2 if pattern.startswith("c", position) else 1
        elif char == "(":
            score += (depth > 0) + pattern.startswith(_LOOKAROUNDS, position)
            depth += 1
            position += pattern.startswith("?", position)
        elif char == ")":
            depth = max(0, depth - 1)
        else:
            score += char in _QUANTIFIERS or char == "|"
    return score


def check_regex(pattern: str, options: str, limits: Limits, where: Where) -> None:
    """Refuse a pattern beyond the limits.

    Raises:
        QueryValidationError: too long (characters), too complex, or too many options.
    """
    if len(pattern) > limits.max_regex_length:
        msg = f"regular expression exceeds the maximum length ({limits.max_regex_length})"
        raise QueryValidationError(msg, str(where))
    if complexity(pattern) > limits.max_regex_complexity:
        msg = f"regular expression exceeds the maximum complexity ({limits.max_regex_complexity})"
        raise QueryValidationError(msg, str(where))
    if len(options) > MAX_OPTIONS:
        msg = f"regular expression exceeds the maximum number of options ({MAX_OPTIONS})"
        raise QueryValidationError(msg, str(where))
