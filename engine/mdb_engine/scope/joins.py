"""Stages that read another collection: each read gets its own tenant's condition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from mdb_engine.exceptions import (
    FacetBranchError,
    FacetItemError,
    FacetShapeError,
    FailedToParseError,
    GraphOptionError,
    InvalidNamespaceError,
    QueryValidationError,
    RefusedError,
    TypeMismatchError,
    UnknownFieldError,
)
from mdb_engine.rawbson import Array, Document, render
from mdb_engine.scope.caps import number
from mdb_engine.scope.clauses import foreign_collation, guarded, read_filter
from mdb_engine.scope.model import TAG_FIELD, Scope, Where
from mdb_engine.scope.names import Target, owner, resolve, type_name
from mdb_engine.scope.visibility import UNSET
from mdb_engine.scope.walk import check_expression

Stages = list[Any]
EMPTY_ARRAY: Final = Array(b"\5\0\0\0\0")
EMPTY_DOCUMENT: Final = Document(b"\5\0\0\0\0")
VIEW: Final = "view"
"""What the pipeline of a stored view stands inside, as others do in `$lookup`."""

MAX_READS: Final = 250
"""Collections that one pipeline may read, counted after views are written out.

Views on views that join each twice double with every level, and the server writes them out
before it looks at the time (6.0.5: 15 levels took 5.1 s under `maxTimeMS: 200`).
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stage stands.

    Attributes:
        rewrite: rewrites a nested pipeline. inside: the stage whose pipeline this is; "" on top,
            VIEW on top of a stored one.
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
        stage = where.path[-1]
        kinds = "an object or string" if stage == "$unionWith" else "an object"
        msg = f"the {stage} stage specification must be {kinds}, but found {type_name(value)}"
        raise FailedToParseError(msg, str(where))
    for name in value:
        if name not in known:
            msg = f"BSON field '{where.path[-1]}.{name}' is an unknown field."
            raise UnknownFieldError(msg, str(where.at(name)))
    return value


def _options(value: Any, known: frozenset[str], where: Where) -> Document:
    """The operand of a join, whose unknown members the server reports in words of their own."""
    if isinstance(value, Document):
        for name in value:
            if name not in known:
                raise _unknown_option(name, value[name], where)
    return members(value, known, where)


def _unknown_option(name: str, value: Any, where: Where) -> RefusedError:
    here = str(where.at(name))
    if where.path[-1] == "$graphLookup":
        return GraphOptionError(f"Unknown argument to $graphLookup: {name}", here)
    if isinstance(value, str):
        return FailedToParseError(f"unknown argument to $lookup: {name}", here)
    kind = type_name(value)
    msg = f"$lookup argument '{name}' must be a string, found {name}: {render(value)}: {kind}"
    return FailedToParseError(msg, here)


def noted(name: Any, scope: Scope, where: Where, *, write: bool = False) -> Target:
    """The collection that a name means, remembered for the reply."""
    target = resolve(name, scope, where, write=write or scope.storing)
    where.notes.names[target.physical] = f"{target.db}.{target.logical}"
    if not write:
        _check_reads(target, scope, where)
    return target


def _check_reads(target: Target, scope: Scope, where: Where) -> None:
    """Refuse a view on what its app does not own any more, and too much behind views."""
    found = behind(target.physical, scope.views)
    if any(owner(name, scope.slugs) not in (target.slug, None) for name in found):
        msg = f"Invalid collection name specified '{target.db}.{target.logical}'"
        raise InvalidNamespaceError(msg, str(where))
    where.notes.reads += found.total() or 1
    if where.notes.reads > MAX_READS:
        raise too_many_reads(where)


def too_many_reads(where: Where) -> QueryValidationError:
    """The refusal of a pipeline that would grow too large when its views are written out."""
    msg = f"pipeline exceeds the maximum number of collections read through views ({MAX_READS})"
    return QueryValidationError(msg, str(where))


def behind(name: str, views: Mapping[str, tuple[str, ...]]) -> Counter[str]:
    """What a view reads in the end, and how often: through other views, and these themselves.

    >>> behind("w", {"w": ("v", "v"), "v": ("a",)})
    Counter({'v': 2, 'a': 2})
    """
    known: dict[str, Counter[str]] = {}

    def found(view: str) -> Counter[str]:
        if view not in known:
            known[view] = Counter()  # a circle, which the server does not let in, ends here
            total: Counter[str] = Counter()
            for source in views.get(view, ()):
                total[source] += 1
                total.update(found(source))
            known[view] = total
        return known[view]

    return found(name)


def _source(name: Any, scope: Scope, where: Where) -> str:
    if not isinstance(name, str):
        # On a replica set a document here reads the oplog, everybody's (6.0.5).
        stage = where.path[-1]
        msg = f"{stage} 'from' field must be a string, but found {type_name(name)}"
        raise FailedToParseError(msg, str(where.at("from")))
    return noted(name, scope, where.at("from")).physical


_LOOKUP: Final = frozenset({"as", "foreignField", "from", "let", "localField", "pipeline"})


_MATCHED: Final = frozenset({"foreignField", "localField"})
_NO_MATCH: Final = (
    "$lookup requires either 'pipeline' or both 'localField' and 'foreignField' to be specified"
)


def lookup(value: Any, scope: Scope, where: Where, place: Place) -> Stages:
    """`$lookup` in its three forms."""
    spec = _options(value, _LOOKUP, where)
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
    if "as" in spec and not spec.keys() >= _MATCHED:
        # With a condition of ours in a pipeline the server would find other words.
        raise FailedToParseError(_NO_MATCH, str(where))
    if _filters_afterwards(spec.get("as"), where, place):
        return [{"$lookup": fields}, {"$set": {spec["as"]: _own_items(spec["as"], scope)}}]
    guard = {"$match": guarded(scope, where, None, write=False)}
    return [{"$lookup": {**fields, "pipeline": [guard, UNSET] if scope.hidden else [guard]}}]


_NO_PIPELINE: Final = "must specify 'pipeline' when 'from' is empty"


def _without_source(spec: Document, scope: Scope, where: Where, place: Place) -> Stages:
    first = spec.get("pipeline", EMPTY_ARRAY)
    if not isinstance(first, Array) or not first or not _is(first[0], "$documents"):
        msg = "$lookup stage without explicit collection must have a pipeline with $documents as"
        msg = f"{msg} first stage" if "pipeline" in spec else _NO_PIPELINE
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
    if scope.granted:
        own = {"$in": [f"$$this.{TAG_FIELD}", [scope.slug, *scope.granted]]}
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
    spec = _options(value, _GRAPH_LOOKUP, where)
    if "from" not in spec:
        msg = f"missing 'from' option to $graphLookup stage specification: {render(spec)}"
        raise FailedToParseError(msg, str(where.at("from")))
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
    where.notes.unites = True
    if isinstance(value, str):
        coll: Any = value
        inner: Any = EMPTY_ARRAY
    else:
        spec = members(value, _UNION, where)
        coll, inner = spec.get("coll"), spec.get("pipeline", EMPTY_ARRAY)
    here = where.at("pipeline")
    if coll is None:
        if not isinstance(inner, Array) or not inner or not _is(inner[0], "$documents"):
            msg = (
                "$unionWith stage without explicit collection must have a pipeline with"
                " $documents as first stage"
            )
            raise FailedToParseError(msg, str(where))
        stages = place.rewrite(inner, scope, here, place.nested("$unionWith", guarded=False))
        return [{"$unionWith": {"pipeline": stages}}]
    for name, given, kind in (("coll", coll, str), ("pipeline", inner, Array)):
        if not isinstance(given, kind):
            expected = "string" if kind is str else "array"
            msg = (
                f"BSON field '$unionWith.{name}' is the wrong type '{type_name(given)}',"
                f" expected type '{expected}'"
            )
            raise TypeMismatchError(msg, str(where.at(name)))
    physical = noted(coll, scope, where.at("coll")).physical
    inside = place.nested("$unionWith", source=physical)
    stages = place.rewrite(inner, scope, here, inside)
    return [{"$unionWith": {"coll": physical, "pipeline": stages}}]


def facet(value: Any, scope: Scope, where: Where, place: Place) -> Stages:
    """`$facet`: the documents come from outside; what the branches join has its own condition."""
    if not isinstance(value, Document) or not value:
        msg = (
            "the $facet specification must be a non-empty object,"
            f" but found: $facet: {render(value)}"
        )
        raise FacetShapeError(msg, str(where))
    for name, branch in value.items():
        _check_branch(name, branch, where.at(name))
    inside = place.nested("$facet", guarded=False)
    return [{"$facet": {n: place.rewrite(p, scope, where.at(n), inside) for n, p in value.items()}}]


def _check_branch(name: str, value: Any, where: Where) -> None:
    if not isinstance(value, Array):
        msg = f"arguments to $facet must be arrays, {name} is type {type_name(value)}"
        raise FacetBranchError(msg, str(where))
    for index, item in enumerate(value):
        if not isinstance(item, Document) or not item:
            kind = type_name(item)
            msg = (
                "elements of arrays in $facet spec must be non-empty objects,"
                f" {name} argument contained an element of type {kind}: {index}: {render(item)}"
            )
            raise FacetItemError(msg, str(where.at(index)))


def check_nesting(place: Place, scope: Scope, where: Where) -> None:
    """Refuse pipelines inside pipelines beyond the limit.

    Raises:
        QueryValidationError: nested too deep.
    """
    if place.level > scope.limits.max_pipeline_nesting:
        most = scope.limits.max_pipeline_nesting
        msg = f"pipeline exceeds the maximum nesting of sub-pipelines ({most})"
        raise QueryValidationError(msg, str(where))
