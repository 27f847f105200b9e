"""The walker: finds code, hidden reads and excess wherever an operator can stand.

Two languages, two tables: `MATCH_OPERATORS` for filters, `EXPRESSION_OPERATORS` for expressions.
What is data (operands of comparisons, `$literal`) is not looked into, save for its depth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mdb_engine.exceptions import QueryValidationError, TypeMismatchError
from mdb_engine.rawbson import (
    CODE,
    CODE_WITH_SCOPE,
    REGEX,
    Array,
    Document,
    Raw,
    nesting,
    regex_parts,
)
from mdb_engine.scope.iterations import WATCHED, check_iterations
from mdb_engine.scope.model import Limits, Scope, Where
from mdb_engine.scope.names import type_name
from mdb_engine.scope.regexes import check_regex

FORBIDDEN_OPERATORS: Final = frozenset({"$accumulator", "$eval", "$function", "$where"})
FORBIDDEN_PREFIXES: Final = ("$_", "$internal")
FORBIDDEN_VARIABLES: Final = frozenset({"IS_MR", "JS_SCOPE", "USER_ROLES"})


@dataclass(slots=True)
class Budget:
    """What one filter or expression has used up of its limits."""

    limits: Limits
    branches: int = 0
    regexes: int = 0
    iterates: bool = False


def forbidden(operator: str) -> bool:
    """Whether an operator runs code, or is the server's own."""
    return operator in FORBIDDEN_OPERATORS or operator.startswith(FORBIDDEN_PREFIXES)


def refuse_operator(operator: str, where: Where) -> QueryValidationError:
    """The error for an operator that nobody may use here; the server's own words."""
    return QueryValidationError(f"{operator} is not allowed in this context", str(where))


def check_filter(value: Any, scope: Scope, where: Where) -> None:
    """Refuse a filter that holds code or exceeds a limit.

    Raises:
        TypeMismatchError: not a document. QueryValidationError: operator, depth, branches, regex.
    """
    if not isinstance(value, Document):
        kind = type_name(value)
        msg = f"BSON field '{where.field}' is the wrong type '{kind}', expected type 'object'"
        if where.command == "find" and where.path == ("filter",):
            msg = f"Expected field {where.path[-1]}to be of type object"
        raise TypeMismatchError(msg, str(where))
    budget = Budget(scope.limits)
    _match(value, 0, budget, where)


def check_expression(value: Any, scope: Scope, where: Where) -> None:
    """Refuse an expression that holds code or exceeds a limit; its own document has depth 0."""
    budget = Budget(scope.limits)
    _expression(value, -1, budget, where)
    if budget.iterates:
        check_iterations(value, scope.limits, where)


def _too_deep(depth: int, budget: Budget, where: Where) -> None:
    if depth > budget.limits.max_depth:
        msg = f"query exceeds the maximum nesting depth ({budget.limits.max_depth})"
        raise QueryValidationError(msg, str(where))


def _branch(count: int, budget: Budget, where: Where) -> None:
    budget.branches += count
    if budget.branches > budget.limits.max_branches:
        msg = f"query exceeds the maximum number of branches ({budget.limits.max_branches})"
        raise QueryValidationError(msg, str(where))


def _match(document: Document, depth: int, budget: Budget, where: Where) -> None:
    _too_deep(depth, budget, where)
    _branch(len(document), budget, where)
    for name, value in document.items():
        here = where.at(name)
        if name.startswith("$"):
            if forbidden(name):
                raise refuse_operator(name, here)
            MATCH_OPERATORS.get(name, _unknown)(value, depth, budget, here)
        else:
            _condition(value, depth, budget, here)


def _condition(value: Any, depth: int, budget: Budget, where: Where) -> None:
    """What stands beside a field name: operators, a regular expression, or a value to equal."""
    if isinstance(value, Document) and (value.first or "").startswith("$"):
        _match(value, depth + 1, budget, where)
    else:
        _regex_or_data(value, depth, budget, where)


def _data(value: Any, depth: int, budget: Budget, where: Where) -> None:
    if isinstance(value, Document | Array):
        own = isinstance(value, Document)
        _too_deep(depth + own + nesting(value.data), budget, where)


def _regex_or_data(value: Any, depth: int, budget: Budget, where: Where) -> None:
    if isinstance(value, Raw) and value.kind == REGEX:
        _count_regex(*regex_parts(value), budget, where)
    else:
        _data(value, depth, budget, where)


def _count_regex(pattern: str, options: str, budget: Budget, where: Where) -> None:
    budget.regexes += 1
    if budget.regexes > budget.limits.max_regexes:
        msg = (
            f"query exceeds the maximum number of regular expressions ({budget.limits.max_regexes})"
        )
        raise QueryValidationError(msg, str(where))
    check_regex(pattern, options, budget.limits, where)


def _filters(value: Any, depth: int, budget: Budget, where: Where) -> None:
    if not isinstance(value, Array):
        return _unknown(value, depth, budget, where)
    _branch(len(value), budget, where)
    for index, item in enumerate(value):
        _filter_or_data(item, depth, budget, where.at(index))
    return None


def _filter_or_data(value: Any, depth: int, budget: Budget, where: Where) -> None:
    if isinstance(value, Document):
        _match(value, depth + 1, budget, where)
    else:
        _regex_or_data(value, depth, budget, where)


def _values(value: Any, depth: int, budget: Budget, where: Where) -> None:
    if not isinstance(value, Array):
        return _unknown(value, depth, budget, where)
    for index, item in enumerate(value):
        if isinstance(item, Document) and item.first == "$elemMatch":
            _match(item, depth + 1, budget, where.at(index))
        elif not isinstance(item, str | int):
            _regex_or_data(item, depth, budget, where.at(index))
    return None


def _regex(value: Any, depth: int, budget: Budget, where: Where) -> None:
    if isinstance(value, str):
        _count_regex(value, "", budget, where)
    else:
        _regex_or_data(value, depth, budget, where)


def _options(value: Any, depth: int, budget: Budget, where: Where) -> None:
    if isinstance(value, str):
        check_regex("", value, budget.limits, where)
    else:
        _data(value, depth, budget, where)


def _schema(value: Any, depth: int, budget: Budget, where: Where) -> None:
    """`$jsonSchema`: no code, but patterns."""
    if isinstance(value, Array):
        for index, item in enumerate(value):
            _schema(item, depth, budget, where.at(index))
    if not isinstance(value, Document):
        return
    _too_deep(depth + 1, budget, where)
    for name, item in value.items():
        here = where.at(name)
        if name == "pattern" and isinstance(item, str):
            _count_regex(item, "", budget, here)
        if name == "patternProperties" and isinstance(item, Document):
            for pattern in item:
                _count_regex(pattern, "", budget, here)
        if name != "enum" or isinstance(item, Document):
            _schema(item, depth + 1, budget, here)


def _match_expression(value: Any, depth: int, budget: Budget, where: Where) -> None:
    inner = Budget(budget.limits, regexes=budget.regexes)
    _expression(value, depth, inner, where)
    budget.regexes = inner.regexes
    if inner.iterates:
        check_iterations(value, budget.limits, where)


def _unknown(value: Any, depth: int, budget: Budget, where: Where) -> None:
    """An operator, or a form of one, that we do not know: the server will refuse it.

    Should it not, nothing forbidden may hide in it.
    """
    if isinstance(value, Document):
        _too_deep(depth + 1, budget, where)
        for name, item in value.items():
            if forbidden(name):
                raise refuse_operator(name, where.at(name))
            _unknown(item, depth + 1, budget, where.at(name))
    elif isinstance(value, Array):
        for index, item in enumerate(value):
            _unknown(item, depth, budget, where.at(index))
    elif isinstance(value, Raw) and value.kind in (CODE, CODE_WITH_SCOPE):
        raise _code(where)


def _code(where: Where) -> QueryValidationError:
    return QueryValidationError("BSON type code is not allowed here", str(where))


Check = Callable[[Any, int, Budget, Where], None]
MATCH_OPERATORS: Final[Mapping[str, Check]] = {
    "$all": _values,
    "$alwaysFalse": _data,
    "$alwaysTrue": _data,
    "$and": _filters,
    "$bitsAllClear": _data,
    "$bitsAllSet": _data,
    "$bitsAnyClear": _data,
    "$bitsAnySet": _data,
    "$comment": lambda *_: None,
    "$elemMatch": _filter_or_data,
    "$eq": _data,
    "$exists": _data,
    "$expr": _match_expression,
    "$geoIntersects": _data,
    "$geoWithin": _data,
    "$gt": _data,
    "$gte": _data,
    "$in": _values,
    "$jsonSchema": _schema,
    "$lt": _data,
    "$lte": _data,
    "$maxDistance": _data,
    "$minDistance": _data,
    "$mod": _data,
    "$ne": _data,
    "$near": _data,
    "$nearSphere": _data,
    "$nin": _values,
    "$nor": _filters,
    "$not": _filter_or_data,
    "$options": _options,
    "$or": _filters,
    "$regex": _regex,
    "$sampleRate": _data,
    "$size": _data,
    "$text": _data,
    "$type": _data,
}


COMPARISONS: Final = frozenset(
    name for name, check in MATCH_OPERATORS.items() if check is _data and name != "$text"
)
"""Operators whose operand is data: a scalar beside one is nothing to look at."""

MEMBERSHIPS: Final = frozenset(name for name, check in MATCH_OPERATORS.items() if check is _values)
"""Operators with an array of values."""


def _expression(value: Any, depth: int, budget: Budget, where: Where) -> None:
    if isinstance(value, Document):
        _too_deep(depth + 1, budget, where)
        for name, item in value.items():
            here = where.at(name)
            if forbidden(name):
                raise refuse_operator(name, here)
            EXPRESSION_OPERATORS.get(name, _expression)(item, depth + 1, budget, here)
    elif isinstance(value, Array):
        for index, item in enumerate(value):
            _expression(item, depth, budget, where.at(index))
    else:
        _leaf(value, where)


def _leaf(value: Any, where: Where) -> None:
    if isinstance(value, Raw) and value.kind in (CODE, CODE_WITH_SCOPE):
        raise _code(where)
    if isinstance(value, str) and value.startswith("$$"):
        variable = value[2:].partition(".")[0]
        if variable in FORBIDDEN_VARIABLES:
            raise refuse_operator(f"$${variable}", where)


def _iteration(value: Any, depth: int, budget: Budget, where: Where) -> None:
    budget.iterates = True
    _expression(value, depth, budget, where)


def _regex_call(value: Any, depth: int, budget: Budget, where: Where) -> None:
    """`{input, regex, options}`: a constant pattern counts, a computed one is data."""
    if isinstance(value, Document):
        pattern, options = value.get("regex"), value.get("options")
        text = options if isinstance(options, str) else ""
        if isinstance(pattern, Document) and len(pattern) == 1:
            pattern = pattern.get("$literal", pattern.get("$const"))
        if isinstance(pattern, Raw) and pattern.kind == REGEX:
            _count_regex(*regex_parts(pattern), budget, where.at("regex"))
        elif isinstance(pattern, str) and not pattern.startswith("$"):
            _count_regex(pattern, text, budget, where.at("regex"))
    _expression(value, depth, budget, where)


EXPRESSION_OPERATORS: Final[Mapping[str, Check]] = {
    "$const": lambda *_: None,
    "$elemMatch": _filter_or_data,
    "$literal": lambda *_: None,
    "$regexFind": _regex_call,
    "$regexFindAll": _regex_call,
    "$regexMatch": _regex_call,
    **dict.fromkeys(WATCHED, _iteration),
}
