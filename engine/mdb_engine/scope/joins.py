"""Stages that read another collection: each read gets its own tenant's condition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from mdb_engine.exceptions import (
    FacetShapeError,
    FailedToParseError,
    QueryValidationError,
    UnknownFieldError,
)
from mdb_engine.rawbson import Array, Document
from mdb_engine.scope.caps import number
from mdb_engine.scope.clauses import foreign_collation, guarded, read_filter
from mdb_engine.scope.model import TAG_FIELD, Scope, Where
from mdb_engine.scope.names import Target, resolve, type_name
from mdb_engine.scope.visibility import UNSET
from mdb_engine.scope.walk import check_expression

Stages = list[Any]
EMPTY_ARRAY: Final = Array(b"\5\0\0\0\0")
EMPTY_DOCUMENT: Final = Document(b"\5\0\0\0\0")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stage stands.

    Attributes:
        rewrite: rewrites a nested pipeline. inside: the stage whose pipeline this is; "" on top.
        level: nesting of pipelines. guarded: documents come from a collection, so the first
            stage must carry the tenant's condition. namespace: logical, for `$collStats`.
            source: the physical collection that they come from.
        preceding, following: the client's stages beside it, or None.
    """

    rewrite: Callable[[Any, Scope, Where, Place], Stages]
    inside: str = ""
    level: int = 0
    guarded: bool = True
    namespace: str = ""
    source: str = ""
    preceding: Document | None = None
    following: Document | None = None

    def nested(self, inside: str, *, guarded: bool = True, source: str = "") -> Place:
        """The place of a pipeline inside a stage that stands here."""
        return replace(self, inside=inside, level=self.level + 1, guarded=guarded, source=source)


def members(value: Any, known: frozenset[str], where: Where) -> Document:
    """The operand of a stage as a document that holds known members only."""
    if not isinstance(value, Document):
        msg = f"the {where.path[-1]} specification must be an object, found {type_name(value)}"
        raise FailedToParseError(msg, str(where))
    for name in value:
        if name not in known:
            msg = f"BSON field '{where.path[-1]}.{name}' is an unknown field."
            raise UnknownFieldError(msg, str(where.at(name)))
    return value


def noted(name: Any, scope: Scope, where: Where, *, write: bool = False) -> Target:
    """The collection that a name means, remembered for the reply."""
    target = resolve(name, scope, where, write=write)
    where.notes.names[target.physical] = f"{target.db}.{target.logical}"
    return target


def _source(name: Any, scope: Scope, where: Where) -> str:
    if not isinstance(name, str):
        # On a replica set a document here reads the oplog, everybody's (6.0.5).
        stage = where.path[-1]
        msg = f"{stage} argument 'from' must be a string, is type {type_name(name)}"
        raise FailedToParseError(msg, str(where.at("from")))
    return noted(name, scope, where.at("from")).physical


_LOOKUP: Final = frozenset({"as", "foreignField", "from", "let", "localField", "pipeline"})


def lookup(value: Any, scope: Scope, where: Where, place: Place) -> Stages:
    """`$lookup` in its three forms."""
    spec = members(value, _LOOKUP, where)
    if "let" in spec:
        check_expression(spec["let"], scope, where.at("let"))
    if "from" not in spec:
        return [{"$lookup": {**spec, "pipeline": _without_source(spec, scope, where, place)}}]
    fields = {**spec, "from": _source(spec["from"], scope, where)}
    if "pipeline" in spec:
        here = where.at("pipeline")
        inside = place.nested("$lookup", source=fields["from"])
        fields["pipeline"] = place.rewrite(spec["pipeline"], scope, here, inside)
        return [{"$lookup": fields}]
    if _filters_afterwards(spec.get("as"), where, place):
        return [{"$lookup": fields}, {"$set": {spec["as"]: _own_items(spec["as"], scope)}}]
    guard = {"$match": guarded(scope, where, None, write=False)}
    return [{"$lookup": {**fields, "pipeline": [guard, UNSET] if scope.hidden else [guard]}}]


def _without_source(spec: Document, scope: Scope, where: Where, place: Place) -> Stages:
    first = spec.get("pipeline", EMPTY_ARRAY)
    if not isinstance(first, Array) or not first or not _is(first[0], "$documents"):
        msg = "must specify 'pipeline' beginning with $documents when 'from' is empty"
        raise FailedToParseError(msg, str(where))
    return place.rewrite(first, scope, where.at("pipeline"), place.nested("$lookup", guarded=False))


def _is(stage: Any, name: str) -> bool:
    return isinstance(stage, Document) and stage.first == name


def _filters_afterwards(name: Any, where: Where, place: Place) -> bool:
    """Whether the join may stay in the server's fast engine and be filtered behind it.

    Measured on 6.0.5: 14 ms, where an inner pipeline needs 942. Not when `$unwind` follows (the
    server merges the two), when strings compare otherwise, or when the name is not plain.
    """
    if not isinstance(name, str) or not name or "." in name or name.startswith("$"):
        return False
    if foreign_collation(where.owner) or name == TAG_FIELD:
        return False
    return not _unwound_next(place, name)


def _unwound_next(place: Place, name: Any) -> bool:
    stage = place.following
    return stage is not None and stage.first == "$unwind" and _unwinds(stage["$unwind"], name)


def _unwinds(operand: Any, name: Any) -> bool:
    path = operand.get("path") if isinstance(operand, Document) else operand
    return bool(path == f"${name}")


def unwind(value: Any, scope: Scope, where: Where, place: Place) -> Stages:
    """`$unwind`: behind a `$graphLookup`, which it is merged with, it takes the tags along."""
    check_expression(value, scope, where)
    before = place.preceding
    search = before.get("$graphLookup") if before is not None and scope.hidden else None
    if search is not None and _unwinds(value, search.get("as")):
        return [{"$unwind": value}, _without_tags(search["as"])]
    return [{"$unwind": value}]


def _own_items(name: str, scope: Scope) -> dict[str, Any]:
    own: dict[str, Any] = {"$eq": [f"$$this.{TAG_FIELD}", scope.slug]}
    if scope.readable:
        own = {"$in": [f"$$this.{TAG_FIELD}", [scope.slug, *scope.readable]]}
    kept: dict[str, Any] = {"$filter": {"input": f"${name}", "cond": own}}
    if not scope.hidden:
        return kept
    return {"$map": {"input": kept, "in": {"$unsetField": {"field": TAG_FIELD, "input": "$$this"}}}}


_GRAPH_LOOKUP: Final = frozenset({
    "as", "connectFromField", "connectToField", "depthField", "from", "maxDepth",
    "restrictSearchWithMatch", "startWith",
})  # fmt: skip


def graph_lookup(value: Any, scope: Scope, where: Where, place: Place) -> Stages:
    """`$graphLookup`: the condition holds at every step of the search."""
    spec = members(value, _GRAPH_LOOKUP, where)
    check_expression(spec.get("startWith"), scope, where.at("startWith"))
    condition = spec.get("restrictSearchWithMatch", EMPTY_DOCUMENT)
    fields = {
        **spec,
        "from": _source(spec.get("from"), scope, where),
        "restrictSearchWithMatch": read_filter(
            condition, scope, where.at("restrictSearchWithMatch")
        ),
        "maxDepth": _depth(spec.get("maxDepth"), scope, where),
    }
    if not scope.hidden or _unwound_next(place, spec.get("as")):
        return [{"$graphLookup": fields}]
    return [{"$graphLookup": fields}, _without_tags(spec.get("as"))]


def _without_tags(name: Any) -> dict[str, str]:
    return {"$unset": f"{name}.{TAG_FIELD}"}


def _depth(value: Any, scope: Scope, where: Where) -> Any:
    given = number(value)
    if value is not None and given is None:
        return value
    if given is None or given > scope.limits.max_graph_depth:
        where.notes.caps.append("max_graph_depth")
        return scope.limits.max_graph_depth
    return value


_UNION: Final = frozenset({"coll", "pipeline"})


def union_with(value: Any, scope: Scope, where: Where, place: Place) -> Stages:
    """`$unionWith`: a name, a name with a pipeline, or a pipeline of its own documents."""
    if isinstance(value, str):
        coll: Any = value
        inner: Any = EMPTY_ARRAY
    else:
        spec = members(value, _UNION, where)
        coll, inner = spec.get("coll"), spec.get("pipeline", EMPTY_ARRAY)
    here = where.at("pipeline")
    if coll is None:
        if not isinstance(inner, Array) or not inner or not _is(inner[0], "$documents"):
            msg = "$unionWith without 'coll' must begin with $documents"
            raise FailedToParseError(msg, str(where))
        stages = place.rewrite(inner, scope, here, place.nested("$unionWith", guarded=False))
        return [{"$unionWith": {"pipeline": stages}}]
    physical = noted(coll, scope, where.at("coll")).physical
    inside = place.nested("$unionWith", source=physical)
    stages = place.rewrite(inner, scope, here, inside)
    return [{"$unionWith": {"coll": physical, "pipeline": stages}}]


def facet(value: Any, scope: Scope, where: Where, place: Place) -> Stages:
    """`$facet`: the documents come from outside; what the branches join has its own condition."""
    if not isinstance(value, Document):
        msg = "the $facet specification must be a non-empty object"
        raise FacetShapeError(msg, str(where))
    inside = place.nested("$facet", guarded=False)
    return [{"$facet": {n: place.rewrite(p, scope, where.at(n), inside) for n, p in value.items()}}]


def check_nesting(place: Place, scope: Scope, where: Where) -> None:
    """Refuse pipelines inside pipelines beyond the limit.

    Raises:
        QueryValidationError: nested too deep.
    """
    if place.level > scope.limits.max_pipeline_nesting:
        most = scope.limits.max_pipeline_nesting
        msg = f"pipeline exceeds the maximum nesting of sub-pipelines ({most})"
        raise QueryValidationError(msg, str(where))
