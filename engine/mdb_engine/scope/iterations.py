"""How much work one expression may do: a single expression cannot be interrupted.

Measured on 6.0.5: three nested `$reduce` ran 11.6 s under `maxTimeMS: 500`, and an array that
doubles in each round took 1.7 GB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mdb_engine.exceptions import QueryValidationError
from mdb_engine.rawbson import Array, Document
from mdb_engine.scope.model import Limits, Where

ITERATIONS: Final[Mapping[str, str]] = {"$filter": "cond", "$map": "in", "$reduce": "in"}
"""Operator -> the member that is evaluated once per element."""

GROWING: Final = frozenset({"$concat", "$concatArrays", "$mergeObjects", "$setUnion", "$zip"})
SCALAR: Final = frozenset({
    "$abs", "$add", "$and", "$anyElementTrue", "$allElementsTrue", "$ceil", "$cmp", "$divide",
    "$eq", "$floor", "$gt", "$gte", "$in", "$indexOfArray", "$isArray", "$isNumber", "$lt", "$lte",
    "$mod", "$multiply", "$ne", "$not", "$or", "$pow", "$round", "$size", "$sqrt", "$strLenBytes",
    "$strLenCP", "$strcasecmp", "$subtract", "$toBool", "$toDouble", "$toInt", "$toLong",
    "$trunc", "$type",
})  # fmt: skip
"""Operators whose result cannot be larger than a number: what they read does not grow."""

_LITERALS: Final = ("$literal", "$const")


def check_iterations(value: Any, limits: Limits, where: Where) -> None:
    """Refuse an expression whose work is not bounded by its input.

    Raises:
        QueryValidationError: iterations nested too deep, a `$range` inside one or beyond its
            bounds, or a `$reduce` that uses its own result more than once to build the next.
    """
    _visit(value, 0, limits, where)


def _exceeded(where: Where) -> QueryValidationError:
    return QueryValidationError("expression exceeds the iteration limit", str(where))


def _visit(value: Any, level: int, limits: Limits, where: Where) -> None:
    if isinstance(value, Array):
        for index, item in enumerate(value):
            _visit(item, level, limits, where.at(index))
    if not isinstance(value, Document):
        return
    for name, item in value.items():
        here = where.at(name)
        if name in _LITERALS:
            continue
        if name == "$range":
            _check_range(item, level, limits, here)
        if name in ITERATIONS and isinstance(item, Document):
            _visit_iteration(name, item, level, limits, here)
        else:
            _visit(item, level, limits, here)


def _visit_iteration(
    operator: str, arguments: Document, level: int, limits: Limits, where: Where
) -> None:
    if level >= limits.max_iteration_nesting:
        raise _exceeded(where)
    for name, item in arguments.items():
        body = name == ITERATIONS[operator]
        _visit(item, level + body, limits, where.at(name))
        if body and operator == "$reduce" and _growth(item, growing=False) > 1:
            raise _exceeded(where.at(name))


def _check_range(value: Any, level: int, limits: Limits, where: Where) -> None:
    bounds = list(value) if isinstance(value, Array) else []
    whole = all(isinstance(b, int | float) and not isinstance(b, bool) for b in bounds)
    if level or not whole or len(bounds) not in (2, 3):
        raise _exceeded(where)
    start, end, step = (*bounds, 1)[:3]
    if step == 0 or abs((end - start) / step) > limits.max_range:
        raise _exceeded(where)


def _growth(value: Any, *, growing: bool) -> int:
    """How often a `$reduce` body takes `$$value` into something that can grow."""
    if isinstance(value, str):
        return growing and (value == "$$value" or value.startswith("$$value."))
    if isinstance(value, Array):
        return sum(_growth(item, growing=True) for item in value)
    if not isinstance(value, Document):
        return 0
    return sum(_growth_under(name, item, growing=growing) for name, item in value.items())


def _growth_under(name: str, value: Any, *, growing: bool) -> int:
    if name in _LITERALS or name in SCALAR:
        return 0
    if name in ITERATIONS or name == "$let":
        # A binding or an inner loop can repeat the value without naming it again.
        return 2 * _growth(value, growing=True)
    if name.startswith("$") and name not in GROWING:
        operands = value if isinstance(value, Array) else (value,)
        return sum(_growth(item, growing=growing) for item in operands)
    return _growth(value, growing=True)
