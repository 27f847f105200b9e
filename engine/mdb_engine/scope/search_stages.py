"""Stages of a search process: it filters on the tag itself, and what it finds is matched again.

Counts and facets are made before any `$match`, so an operator whose counts are shown is wrapped
in a `compound` that holds the tenant's condition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mdb_engine.exceptions import QueryValidationError
from mdb_engine.rawbson import Document
from mdb_engine.scope import vectors
from mdb_engine.scope.clauses import guarded
from mdb_engine.scope.joins import EMPTY_DOCUMENT, Place, Stages, members
from mdb_engine.scope.model import TAG_FIELD, Scope, Search, Where
from mdb_engine.scope.vectors import check_place
from mdb_engine.scope.walk import check_expression, check_filter

_OPTIONS: Final = frozenset({
    "concurrent", "count", "highlight", "index", "returnStoredSource", "scoreDetails",
    "searchAfter", "searchBefore", "searchNodePreference", "sort", "tracking",
})  # fmt: skip
_OPERATORS: Final = frozenset({
    "autocomplete", "compound", "embeddedDocument", "equals", "exists", "geoShape", "geoWithin",
    "in", "knnBeta", "moreLikeThis", "near", "phrase", "queryString", "range", "regex", "search",
    "span", "term", "text", "wildcard",
})  # fmt: skip
_FACET: Final = "facet"
_COUNTING: Final = frozenset({"count", _FACET})


def search(value: Any, scope: Scope, where: Where, place: Place) -> Stages:
    """`$search`: its documents, and nothing counted but them."""
    spec: Mapping[str, Any] = _specification(value, scope, where, place)
    if _COUNTING & spec.keys() or b"$$SEARCH_META" in _whole(where):
        spec = _wrapped(spec, scope, where)
    return [{"$search": spec}, _guard(scope, where)]


def search_meta(value: Any, scope: Scope, where: Where, place: Place) -> Stages:
    """`$searchMeta`: counts and facets of the own documents."""
    spec = _specification(value, scope, where, place)
    return [{"$searchMeta": _wrapped(spec, scope, where)}]


def _whole(where: Where) -> bytes:
    """The bytes of the pipeline that the client sent; a later stage may show the counts."""
    given = where.owner.get("pipeline")
    return bytes(getattr(given, "data", b""))


def _guard(scope: Scope, where: Where) -> dict[str, Any]:
    return {"$match": guarded(scope, where, None, write=False)}


def _specification(value: Any, scope: Scope, where: Where, place: Place) -> Document:
    check_place(where, place)
    spec = members(value, _OPTIONS | _OPERATORS | {_FACET}, where)
    check_expression(spec, scope, where)
    return spec


def _tenant(scope: Scope) -> dict[str, Any]:
    slugs = [scope.slug, *scope.readable]
    if len(slugs) == 1:
        return {"equals": {"path": TAG_FIELD, "value": scope.slug}}
    return {"in": {"path": TAG_FIELD, "value": slugs}}


def _wrapped(spec: Mapping[str, Any], scope: Scope, where: Where) -> dict[str, Any]:
    """The specification whose operator finds own documents only."""
    if _FACET in spec:
        facet = members(spec[_FACET], frozenset({"facets", "operator"}), where.at(_FACET))
        operator = facet.get("operator", EMPTY_DOCUMENT)
        inner = members(operator, _OPERATORS, where.at(_FACET, "operator"))
        return {**spec, _FACET: {**facet, "operator": _compound(inner, scope, where)}}
    options = {name: item for name, item in spec.items() if name in _OPTIONS}
    operator = {name: item for name, item in spec.items() if name not in _OPTIONS}
    return {**_compound(operator, scope, where), **options}


def _compound(operator: Mapping[str, Any], scope: Scope, where: Where) -> dict[str, Any]:
    if len(operator) > 1:
        msg = "a search has one operator"
        raise QueryValidationError(msg, str(where))
    wanted = {"must": [dict(operator)]} if operator else {}
    return {"compound": {**wanted, "filter": [_tenant(scope)]}}


_VECTOR: Final = frozenset({
    "exact", "explainOptions", "filter", "index", "limit", "model", "numCandidates", "path",
    "query", "queryVector", "searchNodePreference",
})  # fmt: skip


def vector_search(value: Any, scope: Scope, where: Where, place: Place) -> Stages:
    """`$vectorSearch`: the condition in its own filter, or the nearest ones would be others'."""
    if not scope.features.search:
        return vectors.vector_search(value, scope, where, place)
    check_place(where, place)
    spec = members(value, _VECTOR, where)
    condition = spec.get("filter", EMPTY_DOCUMENT)
    check_filter(condition, scope, where.at("filter"))
    own: Any = {TAG_FIELD: {"$in": [scope.slug, *scope.readable]}}
    both = {"$and": [own, condition]} if condition else own
    return [{"$vectorSearch": {**spec, "filter": both}}, _guard(scope, where)]


def list_search_indexes(value: Any, scope: Scope, where: Where, place: Place) -> Stages:
    """`$listSearchIndexes`: forwarded; without a search process what the scope knows."""
    check_place(where, place)
    spec = members(value, frozenset({"id", "name"}), where)
    if len(spec) > 1 or not all(isinstance(item, str) for item in spec.values()):
        msg = "$listSearchIndexes takes an id or a name"
        raise QueryValidationError(msg, str(where))
    if scope.features.search:
        return [{"$listSearchIndexes": spec}]
    where.notes.searches.append(Search(place.source))
    return [{"$documents": {"$literal": listed(place.source, spec, scope)}}]


def listed(physical: str, wanted: Mapping[str, Any], scope: Scope) -> list[dict[str, Any]]:
    """The vector indexes of a collection, in the words of a search process.

    `wanted`: `{"name"}`, `{"id"}` or nothing.
    """
    shown = (
        {
            "id": index.id,
            "name": name,
            "type": "vectorSearch",
            "status": "READY",
            "queryable": True,
            "latestDefinition": index.definition,
        }
        for (collection, name), index in sorted(scope.vectors.items(), key=lambda item: item[0])
        if collection == physical
    )
    return [item for item in shown if all(item.get(k) == v for k, v in wanted.items())]


_FUSED: Final = frozenset({"combination", "input", "scoreDetails"})
_INPUT: Final = frozenset({"normalization", "pipelines"})


def fusion(value: Any, scope: Scope, where: Where, place: Place) -> Stages:
    """`$rankFusion`, `$scoreFusion`: each input has its own condition, and so has the result."""
    check_place(where, place)
    name = where.path[-1]
    spec = members(value, _FUSED, where)
    given = members(spec.get("input"), _INPUT, where.at("input"))
    pipelines = given.get("pipelines")
    if not isinstance(pipelines, Document):
        msg = f"BSON field '{name}.input.pipelines' must be an object"
        raise QueryValidationError(msg, str(where.at("input", "pipelines")))
    check_expression(spec.get("combination"), scope, where.at("combination"))
    here, inside = where.at("input", "pipelines"), place.nested(name, source=place.source)
    rewritten = {n: place.rewrite(p, scope, here.at(n), inside) for n, p in pipelines.items()}
    fused = {**spec, "input": {**given, "pipelines": rewritten}}
    return [{name: fused}, _guard(scope, where)]


def score(value: Any, scope: Scope, where: Where, _place: Place) -> Stages:
    """`$score`: an expression."""
    check_expression(value, scope, where)
    return [{"$score": value}]
