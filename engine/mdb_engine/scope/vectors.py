"""`$vectorSearch` by ordinary stages, exactly, where the cluster has no search process.

The score of every candidate is computed: 10,000 vectors of 384 dimensions take 0.6 s (dotProduct,
euclidean) or 0.9 s (cosine) when each dimension is a term of its own, where `$map` over `$range`
needs 1.2 s (6.0.5, one core).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from bson.binary import VECTOR_SUBTYPE, Binary

from mdb_engine.exceptions import InvalidNamespaceError, QueryValidationError
from mdb_engine.rawbson import BINARY, Array, Document, Raw
from mdb_engine.scope.caps import number
from mdb_engine.scope.clauses import guarded
from mdb_engine.scope.joins import EMPTY_DOCUMENT, Place, Stages, members
from mdb_engine.scope.model import TAG_FIELD, Scope, Search, VectorField, VectorIndex, Where
from mdb_engine.scope.scores import SCORE
from mdb_engine.scope.walk import check_filter

MAX_CANDIDATES: Final = 50_000
"""Documents whose score one search may compute: no single expression of it can be interrupted."""

MAX_LIMIT: Final = 10_000
_LARGEST: Final = 1.7976931348623157e308

_FIELDS: Final = frozenset(
    {"exact", "filter", "index", "limit", "numCandidates", "path", "queryVector"}
)
_JOINING: Final = frozenset({"$and", "$nor", "$or"})
_COMPARING: Final = frozenset(
    {"$eq", "$exists", "$gt", "$gte", "$in", "$lt", "$lte", "$ne", "$nin", "$not"}
)
"""What a filter may hold, as where there is a search process."""


def check_place(where: Where, place: Place) -> None:
    """Refuse a search without a collection.

    Raises:
        InvalidNamespaceError: `{aggregate: 1}`. (In `$facet` it is misplaced anyway.)
    """
    if not place.guarded and place.inside != "$facet":
        msg = f"{where.path[-1]} needs a collection"
        raise InvalidNamespaceError(msg, str(where))


def vector_search(value: Any, scope: Scope, where: Where, place: Place) -> Stages:
    """The stages that find the nearest vectors, each with its score in the field SCORE.

    An index that does not exist finds nothing.

    Raises:
        QueryValidationError: a malformed search. UnknownFieldError: a member too many.
    """
    check_place(where, place)
    spec = members(value, _FIELDS, where)
    name, path = _text(spec, "index", where), _text(spec, "path", where)
    query = _query_vector(spec.get("queryVector"), where.at("queryVector"))
    most = _counts(spec, where)
    condition = spec.get("filter", EMPTY_DOCUMENT)
    check_filter(condition, scope, where.at("filter"))
    index = scope.vectors.get((place.source, name))
    if index is None:
        where.notes.searches.append(Search(place.source, name))
        nothing = guarded(scope, where, {"$alwaysFalse": 1}, write=False)
        return [{"$match": nothing}]
    _check_condition(condition, index, where.at("filter"))
    field = _field(index, path, query, where)
    own = guarded(scope, where, condition, write=False)
    some = {field.path: {"$type": "array", "$size": field.dimensions}}
    where.notes.searches.append(Search(place.source, name, {"$and": [own, some]}))
    score = _SCORES[field.similarity](f"${field.path}", query)
    return [
        {"$match": {"$and": [own, some, *_numeric(field.path)]}},
        {"$set": {SCORE: score}},
        {"$match": {SCORE: {"$gte": -_LARGEST, "$lte": _LARGEST}}},
        {"$sort": {SCORE: -1, "_id": 1}},
        {"$limit": most},
    ]


def _wrong(reason: str, where: Where) -> QueryValidationError:
    return QueryValidationError(reason, str(where))


def _text(spec: Document, name: str, where: Where) -> str:
    value = spec.get(name)
    if not isinstance(value, str) or not value:
        raise _wrong(f'"{name}" is required and must be a string', where.at(name))
    return value


def _query_vector(value: Any, where: Where) -> list[float]:
    items = _unpacked(value) if isinstance(value, Raw) else value
    if not isinstance(items, Array | list) or not items:
        raise _wrong('"queryVector" is required and must be an array of numbers', where)
    found = []
    for index, item in enumerate(items):
        if isinstance(item, bool) or not isinstance(item, int | float) or not math.isfinite(item):
            raise _wrong('"queryVector" holds what is no finite number', where.at(index))
        found.append(float(item))
    return found


def _unpacked(value: Raw) -> Any:
    """The numbers of a vector in binary form; None for what is none."""
    if value.kind != BINARY or value.data[4] != VECTOR_SUBTYPE:
        return None
    try:
        return list(Binary(value.data[5:], VECTOR_SUBTYPE).as_vector().data)
    except (IndexError, NotImplementedError, ValueError, struct.error):
        return None


def _whole(value: Any, name: str, where: Where) -> int:
    given = number(value)
    if given is None or given != given // 1 or not 1 <= given <= MAX_LIMIT:
        raise _wrong(f'"{name}" must be a whole number from 1 to {MAX_LIMIT}', where.at(name))
    return int(given)


def _counts(spec: Document, where: Where) -> int:
    """The limit, once it fits the other numbers; all candidates are looked at in any case."""
    exact = spec.get("exact", False)
    if not isinstance(exact, bool):
        raise _wrong('"exact" must be a bool', where.at("exact"))
    most = _whole(spec.get("limit"), "limit", where)
    if exact and "numCandidates" in spec:
        msg = '"numCandidates" must not be given when "exact" is true'
        raise _wrong(msg, where.at("numCandidates"))
    if not exact and _whole(spec.get("numCandidates"), "numCandidates", where) < most:
        msg = '"numCandidates" must be greater than or equal to "limit"'
        raise _wrong(msg, where.at("numCandidates"))
    return most


def _check_condition(value: Document, index: VectorIndex, where: Where) -> None:
    """Only what a search process knows, on fields that the index lists."""
    for name, item in value.items():
        here = where.at(name)
        if name in _JOINING and isinstance(item, Array):
            for number_, part in enumerate(item):
                _check_part(part, index, here.at(number_))
        elif name.startswith("$"):
            raise _wrong(f"Operator {name} is not supported in the filter", here)
        elif name not in (*index.filters, TAG_FIELD):
            raise _wrong(f"Path '{name}' needs to be indexed as filter", here)
        else:
            _check_operators(item, here)


def _check_part(part: Any, index: VectorIndex, where: Where) -> None:
    if not isinstance(part, Document):
        raise _wrong("a part of the filter must be an object", where)
    _check_condition(part, index, where)


def _check_operators(value: Any, where: Where) -> None:
    if isinstance(value, Raw) and value.type_name == "regex":
        raise _wrong("a regular expression is not supported in the filter", where)
    if not isinstance(value, Document) or not (value.first or "").startswith("$"):
        return
    for name, item in value.items():
        here = where.at(name)
        if name not in _COMPARING:
            raise _wrong(f"Operator {name} is not supported in the filter", here)
        if name == "$not":
            _check_operators(item, here)


def _field(index: VectorIndex, path: str, query: list[float], where: Where) -> VectorField:
    """The field that is searched, which must fit the question."""
    field = next((each for each in index.vectors if each.path == path), None)
    if field is None:
        raise _wrong(f"Path '{path}' needs to be indexed as vector", where.at("path"))
    here = where.at("queryVector")
    if field.dimensions != len(query):
        msg = (
            f"vector field is indexed with {field.dimensions} dimensions"
            f" but queried with {len(query)}"
        )
        raise _wrong(msg, here)
    if field.similarity == "cosine" and not any(query):
        raise _wrong("a vector of zeros has no direction: cosine cannot compare it", here)
    return field


def _numeric(path: str) -> list[dict[str, Any]]:
    """Conditions under which no expression on the vector can fail: plain numbers, one array."""
    parts = path.split(".")
    above = [".".join(parts[:end]) for end in range(1, len(parts))]
    other = {"$elemMatch": {"$not": {"$type": ["double", "int", "long"]}}}
    plain = [{parent: {"$not": {"$type": "array"}}} for parent in above]
    return [*plain, {"$nor": [{path: other}]}]


def _dot(path: str, query: list[float]) -> dict[str, Any]:
    terms = ({"$multiply": [{"$arrayElemAt": [path, i]}, q]} for i, q in enumerate(query))
    return {"$sum": list(terms)}


def _squares(items: str, count: int) -> dict[str, Any]:
    """The sum of squares: deviation and mean are computed over a whole array at once."""
    parts = [{"$pow": [{name: items}, 2]} for name in ("$stdDevPop", "$avg")]
    return {"$multiply": [count, {"$add": parts}]}


def _cosine(path: str, query: list[float]) -> dict[str, Any]:
    """(1 + cos) / 2; null for a vector without length."""
    longest = max(map(abs, query))
    scaled = [q / longest for q in query]
    length = math.hypot(*scaled)
    dot = _dot(path, [q / length for q in scaled])
    cosine = {"$divide": [dot, "$$length"]}
    score = {"$divide": [{"$add": [1, cosine]}, 2]}
    return {
        "$let": {
            "vars": {"length": {"$sqrt": _squares(path, len(query))}},
            "in": {"$cond": [{"$gt": ["$$length", 0]}, score, None]},
        }
    }


def _dot_product(path: str, query: list[float]) -> dict[str, Any]:
    """(1 + dot) / 2."""
    return {"$divide": [{"$add": [1, _dot(path, query)]}, 2]}


def _euclidean(path: str, query: list[float]) -> dict[str, Any]:
    """1 / (1 + squared distance)."""
    differences = [{"$subtract": [{"$arrayElemAt": [path, i]}, q]} for i, q in enumerate(query)]
    squared = _squares("$$differences", len(query))
    score = {"$divide": [1, {"$add": [1, squared]}]}
    return {"$let": {"vars": {"differences": differences}, "in": score}}


_SCORES: Final[Mapping[str, Callable[[str, list[float]], dict[str, Any]]]] = {
    "cosine": _cosine,
    "dotProduct": _dot_product,
    "euclidean": _euclidean,
}
"""Similarity -> the expression of the score, on the scale of Lucene."""
