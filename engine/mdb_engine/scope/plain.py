"""The short way: values that no rule looks at. What is plain leaves the long way as it went in.

Python's own values, of these very types: their BSON form is known before it is written, so that
what would be found in the bytes can be said without them. What a function here declines (None)
is no error: it goes the long way. Each gives a copy, which nobody can change afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

from mdb_engine.rawbson import Document, element, encode, splice_first
from mdb_engine.scope.model import TAG_FIELD, Limits, Scope
from mdb_engine.scope.updates import PLAIN_OPERATORS
from mdb_engine.scope.walk import COMPARISONS, MEMBERSHIPS

SCALARS: Final = frozenset(
    {bool, bytes, datetime, Decimal128, float, int, Int64, ObjectId, str, type(None)}
)
"""Exact types of values that are data wherever a value may stand."""

MOST_LEVELS: Final = 20
_NAMES: Final = frozenset({str})
_CONTAINERS: Final = frozenset({dict, list})
_TAG: Final = TAG_FIELD.encode()
MARK: Final[Mapping[str, Any]] = {"": 0}
"""The filter of a specimen: a command that goes the long way once, to see what is put beside it."""

_MARKED: Final = encode(MARK)

_SIZED: Final = frozenset({bytes, str})
_MOST_OF_SCALAR: Final = 24
"""Bytes of an element beside its name and text: type, ends, length, and at most a decimal."""

_MOST_OF_LETTER: Final = 4

Plain = dict[str, Any]


def _named(value: Any) -> bool:
    """A dict, of that very type, whose names are texts."""
    return type(value) is dict and _NAMES.issuperset(map(type, value))


def plain_filter(value: Any, limits: Limits) -> Plain | None:
    """A filter of fields beside scalars, or beside comparisons with scalars."""
    if not _named(value):
        return None
    copy: Plain = value.copy()
    if "$" in "".join(copy) or len(copy) > limits.max_branches:
        return None
    if SCALARS.issuperset(map(type, copy.values())):
        return copy
    branches = len(copy)
    for name, item in copy.items():
        if type(item) not in SCALARS:
            condition = _condition(item)
            if condition is None:
                return None
            branches += len(condition)
            copy[name] = condition
    return copy if branches <= limits.max_branches and limits.max_depth else None


def _condition(value: Any) -> Plain | None:
    if not value or not _named(value):
        return None
    copy: Plain = value.copy()
    for operator, operand in copy.items():
        if operator in MEMBERSHIPS and type(operand) is list:
            copy[operator] = items = operand.copy()
            if not SCALARS.issuperset(map(type, items)):
                return None
        elif operator not in COMPARISONS or type(operand) not in SCALARS:
            return None
    return copy


def plain_update(value: Any) -> Plain | None:
    """An update by operators that change fields other than the tag; any data."""
    if not value or not _named(value):
        return None
    copy: Plain = {}
    for operator, members in value.items():
        if operator not in PLAIN_OPERATORS or type(members) is not dict:
            return None
        copy[operator] = fields = _data(members, 0)
        if fields is None or TAG_FIELD in "".join(fields):
            return None
    return copy


def plain_document(value: Any) -> bool:
    """Whether a document to store holds nothing but data."""
    return type(value) is dict and _data(value, 0) is not None


def _data(value: Any, level: int) -> Any | None:
    """A copy of a document or array that holds data only."""
    copy = value.copy()
    if type(value) is dict:
        if not _NAMES.issuperset(map(type, copy)):
            return None
        places, values = copy, copy.values()
    else:
        places, values = range(len(copy)), copy
    if SCALARS.issuperset(map(type, values)):
        return copy
    if level >= MOST_LEVELS:
        return None
    for place in places:
        item = copy[place]
        if type(item) not in SCALARS:
            inner = _data(item, level + 1) if type(item) in _CONTAINERS else None
            if inner is None:
                return None
            copy[place] = inner
    return copy


def flat_document(value: Any, scope: Scope) -> Plain | None:
    """A tagged copy of a document of scalars alone, which cannot be too large in any encoding."""
    if not _named(value) or TAG_FIELD in value or "_id" not in value:
        return None
    copy = {"_id": value["_id"], TAG_FIELD: scope.slug, **value}
    if not SCALARS.issuperset(map(type, copy.values())):
        return None
    texts = sum(len(item) for item in copy.values() if type(item) in _SIZED)
    most = _MOST_OF_SCALAR * len(copy) + _MOST_OF_LETTER * (texts + len("".join(copy)))
    return copy if most <= scope.limits.max_document_bytes else None


def tag_of(scope: Scope) -> bytes:
    """The element that a stored document gets."""
    return element(_TAG, scope.slug)


def stored(data: bytes, tag: bytes, scope: Scope) -> bytes | None:
    """An encoded plain document with the app's tag; None when it may hold one, or is too large."""
    tagged = splice_first(data, _TAG, tag)
    if tagged is None or len(tagged) > scope.limits.max_document_bytes:
        return None
    return tagged


def condition_of(found: Any) -> Mapping[str, Any] | None:
    """What the long way has put beside the specimen's filter; None when it did anything else."""
    parts = found.get("$and") if isinstance(found, dict) and len(found) == 1 else None
    if not isinstance(parts, list) or len(parts) != 2:  # noqa: PLR2004 - ours and the client's
        return None
    ours, theirs = parts
    same = isinstance(theirs, Document) and theirs.data == _MARKED
    return ours if same and isinstance(ours, dict) else None
