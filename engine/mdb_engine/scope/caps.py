"""Numbers that a client may lower but not raise: time, results, batches."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any, Final

from bson.decimal128 import Decimal128

from mdb_engine.exceptions import (
    NegativeLimitError,
    QueryValidationError,
    TypeMismatchError,
    UnknownFieldError,
)
from mdb_engine.rawbson import DECIMAL, Document, Raw
from mdb_engine.scope.model import Scope, Where
from mdb_engine.scope.names import type_name

MAX_INT32: Final = 2**31 - 1
MAX_INT64: Final = 2**63 - 1


class Time(StrEnum):
    """Which `maxTimeMS` a command gets."""

    DEFAULT = "default"  # the client's, capped; else the default
    DEFINITION = "definition"  # builds may take long
    CLIENT = "client"  # the client's, capped; else none
    REFUSED = "refused"  # the cursor keeps the budget of its first command
    IGNORED = "ignored"  # checked, not forwarded


def number(value: Any) -> float | int | None:
    """A BSON number of any kind as Python's; None for every other type."""
    if isinstance(value, Raw) and value.kind == DECIMAL:
        decimal = Decimal128.from_bid(value.data).to_decimal()
        return math.nan if decimal.is_nan() else float(decimal)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value


def truth(value: Any) -> bool | None:
    """A number's or bool's truth as the server sees it (NaN is true); None for the rest."""
    if isinstance(value, bool):
        return value
    given = number(value)
    return None if given is None else given != 0


def integer(value: Any, where: Where) -> int:
    """A number of any kind as the server's 64-bit integer.

    Raises:
        TypeMismatchError: not a number.
    """
    given = number(value)
    if given is None:
        msg = (
            f"BSON field '{where.field}' is the wrong type '{type_name(value)}',"
            " expected types '[long, int, decimal, double']"
        )
        raise TypeMismatchError(msg, str(where))
    return _whole(given)


def _count(value: Any, where: Where) -> int:
    given = integer(value, where)
    if given < 0:
        msg = f"BSON field '{where.path[-1]}' value must be >= 0, actual value '{given}'"
        raise NegativeLimitError(msg, str(where))
    return given


_PARSED: Final = {"aggregate": _count, "getMore": integer}
"""Commands whose `maxTimeMS` is read by another parser than that of all others (6.0.5)."""


def parse_time(value: Any, where: Where) -> int:
    """Milliseconds, read as the server reads them.

    Raises:
        QueryValidationError: not a number, not whole, out of range.
    """
    given = number(value)
    if where.command in _PARSED:
        _PARSED[where.command](value, where)
    if given is None:
        msg = "maxTimeMS must be a number"
        raise QueryValidationError(msg, str(where))
    if not math.isfinite(given) or given != int(given):
        msg = "maxTimeMS has non-integral value"
        raise QueryValidationError(msg, str(where))
    if not 0 <= given <= MAX_INT32:
        msg = f"{int(given)} value for maxTimeMS is out of range"
        raise QueryValidationError(msg, str(where))
    return int(given)


def max_time(value: Any, kind: Time, scope: Scope, where: Where) -> int | None:
    """What is forwarded as `maxTimeMS`; None: nothing."""
    limits = scope.limits
    given = 0 if value is None else parse_time(value, where)
    if kind is Time.IGNORED:
        return None
    if kind is Time.REFUSED:
        if given:
            msg = "cannot set maxTimeMS on getMore command for a non-awaitData cursor"
            raise QueryValidationError(msg, str(where))
        return None
    if kind is Time.CLIENT:
        return min(given, limits.max_time_ms) or None
    default = {Time.DEFAULT: limits.default_time_ms}.get(kind, limits.definition_time_ms)
    cap = max(limits.max_time_ms, default)
    if given > cap:
        where.notes.caps.append("max_time_ms")
    return min(given, cap) or default


def _whole(given: float) -> int:
    """A number as the server's 64-bit integer: cut off, clamped, and 0 for what is none."""
    return 0 if math.isnan(given) else int(max(-(2**63), min(given, MAX_INT64)))


def low_half(given: float) -> int:
    """A number as the server's 32-bit integer: the lower half of the whole one, with its sign.

    >>> low_half(2**40 + 7), low_half(2**31), low_half(1.9)
    (7, -2147483648, 1)
    """
    return (_whole(given) + 2**31) % 2**32 - 2**31


def limit(value: Any, scope: Scope, where: Where) -> int | None:
    """`find.limit`: never absent, never above the app's maximum (a tailable cursor's excepted)."""
    given = 0 if value is None else _count(value, where)
    if where.owner.get("tailable"):
        return given or None
    most = scope.limits.max_results
    if where.owner.get("singleBatch") is True:
        most = min(most, scope.limits.max_batch)
    if given > most:
        where.notes.caps.append("max_results")
    if given == 0 or given > most:
        return most if most < scope.limits.max_results else read_limit(scope, where)
    return given


def read_limit(scope: Scope, where: Where) -> int:
    """The most documents that are asked for; one more where the app wants to know of the rest."""
    most = scope.limits.max_results
    if not scope.limits.overflow_fails:
        return most
    where.notes.allowance = most
    return most + 1


def batch_size(value: Any, scope: Scope, where: Where) -> int | None:
    """`batchSize` of a first batch: absent stays absent (the server's own 101)."""
    if value is None:
        return None
    return min(_count(value, where), scope.limits.max_batch)


def more_batch_size(value: Any, scope: Scope, where: Where) -> int:
    """`batchSize` of `getMore`: absent or 0 would return everything up to 16 MB."""
    most = scope.limits.max_batch
    return min(0 if value is None else _count(value, where), most) or most


def cursor_options(value: Any, scope: Scope, where: Where) -> dict[str, Any]:
    """`aggregate.cursor`: `{batchSize}`."""
    if not isinstance(value, Document):
        msg = "cursor field must be missing or an object"
        raise TypeMismatchError(msg, str(where))
    for name in value:
        if name != "batchSize":
            msg = f"BSON field 'cursor.{name}' is an unknown field."
            raise UnknownFieldError(msg, str(where.at(name)))
    size = batch_size(value.get("batchSize"), scope, where.at("batchSize"))
    return {} if size is None else {"batchSize": size}
