"""STAGES: one row per aggregation stage. A stage without a row does not exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from mdb_engine.exceptions import (
    FacetStageError,
    FirstStageError,
    GeoNearPositionError,
    IllegalOperationError,
    InvalidNamespaceError,
    LookupStageError,
    MatchShapeError,
    NoDocumentError,
    QueryValidationError,
    RefusedError,
    StagePositionError,
    StageShapeError,
    StatisticsShapeError,
    TypeMismatchError,
    UnauthorizedError,
    UnionStageError,
    UnknownStageError,
    ViewStageError,
)
from mdb_engine.rawbson import Array, Document, render
from mdb_engine.scope import joins, search_stages, streams, writers
from mdb_engine.scope.caps import read_limit
from mdb_engine.scope.clauses import blind, guarded, read_filter
from mdb_engine.scope.iterations import MAX_COPIES, growth
from mdb_engine.scope.joins import EMPTY_DOCUMENT, VIEW, Place, Stages, members
from mdb_engine.scope.model import Scope, Where
from mdb_engine.scope.names import not_authorized
from mdb_engine.scope.scores import carried
from mdb_engine.scope.veil import names_tag
from mdb_engine.scope.visibility import UNSET, Sight, uses_tag
from mdb_engine.scope.walk import check_expression, check_filter

StageFunction = Callable[[Any, Scope, Where, Place], Stages]


@dataclass(frozen=True, slots=True)
class StageRule:
    """What happens to one stage.

    Attributes:
        rewrite: the operand becomes physical stages.
        sight: what the stage means for the tag (visibility.py).
        head: how the stage is rewritten in first place, where it brings its own guard; None: the
            tenant's `$match` goes in front of it.
        first: the error when it stands elsewhere than first; None: it may stand anywhere.
        writes: it must be the last. inside: stages whose pipelines may hold it.
        grows: its output may hold the input several times.
        followers: what may come behind it; None: anything.
        searches: it exists only where the cluster has a search process. scores: it gives each
            document a score, of which we take care where the cluster has none.
    """

    rewrite: StageFunction
    sight: Sight = Sight.PASSES
    head: StageFunction | None = None
    first: type[RefusedError] | None = None
    writes: bool = False
    inside: frozenset[str] = frozenset({"", VIEW, "$facet", "$lookup", "$unionWith"})
    grows: bool = False
    followers: frozenset[str] | None = None
    searches: bool = False
    scores: bool = False


def _plain(value: Any, scope: Scope, where: Where, _place: Place) -> Stages:
    check_expression(value, scope, where)
    return [{where.path[-1]: value}]


def _check_match(value: Any, scope: Scope, where: Where) -> None:
    if not isinstance(value, Document):
        msg = "the match filter must be an expression in an object"
        raise MatchShapeError(msg, str(where))
    check_filter(value, scope, where)


def _match(value: Any, scope: Scope, where: Where, _place: Place) -> Stages:
    _check_match(value, scope, where)
    return [{"$match": value}]


def _match_head(value: Any, scope: Scope, where: Where, _place: Place) -> Stages:
    """Merged into one: only the first `$match` may hold `$text`."""
    _check_match(value, scope, where)
    if not scope.hidden or not uses_tag("$match", value):
        return [{"$match": guarded(scope, where, value, write=False)}]
    if b"$text" in value.data:
        value = blind(value, scope, where)
        return [{"$match": guarded(scope, where, value, write=False)}]
    return [{"$match": guarded(scope, where, None, write=False)}, UNSET, {"$match": value}]


def _sample_head(value: Any, scope: Scope, where: Where, place: Place) -> Stages:
    """The guard behind it: in front it would turn the random cursor into a full scan."""
    guard = {"$match": guarded(scope, where, None, write=False)}
    return [*_plain(value, scope, where, place), guard]


def _geo_near(value: Any, scope: Scope, where: Where, _place: Place) -> Stages:
    """`$geoNear` must be first, so it carries the tenant's condition in its own query."""
    if not isinstance(value, Document):
        msg = "invalid parameter: expected an object ($geoNear)"
        raise NoDocumentError(msg, str(where))
    condition = value.get("query", EMPTY_DOCUMENT)
    for name, item in value.items():
        if name != "query":
            check_expression(item, scope, where.at(name))
    return [{"$geoNear": {**value, "query": read_filter(condition, scope, where.at("query"))}}]


_COLL_STATS: Final = frozenset({"count", "latencyStats", "queryExecStats", "storageStats"})
_STORAGE_DETAILS: Final = [
    f"storageStats.{n}"
    for n in ("indexBuilds", "indexDetails", "timeseries.bucketsNs", "wiredTiger")
]


def _coll_stats(value: Any, scope: Scope, where: Where, place: Place) -> Stages:
    if not isinstance(value, Document):
        msg = f"$collStats must take a nested object but found: $collStats: {render(value)}"
        raise StatisticsShapeError(msg, str(where))
    members(value, _COLL_STATS, where)
    check_expression(value, scope, where)
    shown = {"ns": {"$literal": place.namespace}, "host": {"$literal": scope.address}}
    return [{"$collStats": value}, {"$set": shown}, {"$unset": _STORAGE_DETAILS}]


def _index_stats(value: Any, scope: Scope, where: Where, place: Place) -> Stages:
    shown = {"$set": {"host": {"$literal": scope.address}}}
    return [*_plain(value, scope, where, place), shown, {"$unset": "shard"}]


def _documents(value: Any, scope: Scope, where: Where, place: Place) -> Stages:
    if place.inside == VIEW:
        msg = "'$documents' cannot be used in a view definition"
        raise InvalidNamespaceError(msg, str(where))
    if place.guarded and place.preceding is None:
        msg = "'$documents' can only be run with {aggregate: 1}"
        raise InvalidNamespaceError(msg, str(where))
    return _plain(value, scope, where, place)


_PASSING: Final = StageRule(_plain)
_GROWING: Final = StageRule(_plain, grows=True)
_REPLACING: Final = StageRule(_plain, Sight.DROPS, grows=True)
_DROPPING: Final = StageRule(_plain, Sight.DROPS)
_TOP: Final = frozenset({""})
_STATISTICS_PLACES: Final = frozenset({"", VIEW})
_READ: Final = frozenset({"", "$lookup", "$unionWith"})
_JOINED: Final = _READ | {VIEW}
_FUSIONS: Final = frozenset({"$rankFusion", "$scoreFusion"})
_RANKED: Final = frozenset({"$facet", *_JOINED, *_FUSIONS})
_SEARCHED: Final = _READ | _FUSIONS


def _searching(
    rule: StageFunction, inside: frozenset[str], sight: Sight = Sight.PASSES
) -> StageRule:
    """The row of a stage that a search process answers."""
    return StageRule(rule, sight, head=rule, first=FirstStageError, inside=inside, searches=True)


STAGES: Final[Mapping[str, StageRule]] = {
    "$addFields": _GROWING,
    "$bucket": _DROPPING,
    "$bucketAuto": _DROPPING,
    "$changeStream": StageRule(
        streams.change_stream,
        Sight.DROPS,
        head=streams.change_stream,
        first=FirstStageError,
        inside=_TOP,
        followers=streams.FOLLOWERS,
    ),
    "$changeStreamSplitLargeEvent": StageRule(streams.split_large_event, inside=_TOP),
    "$collStats": StageRule(
        _coll_stats,
        Sight.DROPS,
        head=_coll_stats,
        first=FirstStageError,
        inside=_STATISTICS_PLACES,
    ),
    "$count": _DROPPING,
    "$densify": _PASSING,
    "$documents": StageRule(
        _documents, Sight.DROPS, head=_documents, first=FirstStageError, inside=_JOINED
    ),
    "$facet": StageRule(joins.facet, Sight.SEES, inside=_JOINED),
    "$fill": _PASSING,
    "$geoNear": StageRule(
        _geo_near, head=_geo_near, first=GeoNearPositionError, inside=_SEARCHED | {VIEW}
    ),
    "$graphLookup": StageRule(joins.graph_lookup),
    "$group": _DROPPING,
    "$indexStats": StageRule(
        _index_stats,
        Sight.DROPS,
        head=_index_stats,
        first=FirstStageError,
        inside=_STATISTICS_PLACES,
    ),
    "$limit": StageRule(_plain, inside=_RANKED),
    "$listSearchIndexes": StageRule(
        search_stages.list_search_indexes,
        Sight.DROPS,
        head=search_stages.list_search_indexes,
        first=FirstStageError,
        inside=_TOP,
    ),
    "$lookup": StageRule(joins.lookup),
    "$match": StageRule(_match, head=_match_head, inside=_RANKED),
    "$merge": StageRule(writers.merge, Sight.WRITES, writes=True, inside=_TOP),
    "$out": StageRule(writers.out, Sight.WRITES, writes=True, inside=_TOP),
    "$project": _GROWING,
    "$rankFusion": _searching(search_stages.fusion, _JOINED),
    "$redact": StageRule(_plain, Sight.SEES),
    "$replaceRoot": _REPLACING,
    "$replaceWith": _REPLACING,
    "$sample": StageRule(_plain, head=_sample_head, inside=_RANKED),
    "$score": StageRule(search_stages.score, inside=_RANKED, searches=True),
    "$scoreFusion": _searching(search_stages.fusion, _JOINED),
    "$search": _searching(search_stages.search, _SEARCHED),
    "$searchMeta": _searching(search_stages.search_meta, _JOINED, Sight.DROPS),
    "$set": _GROWING,
    "$setWindowFields": _PASSING,
    "$skip": StageRule(_plain, inside=_RANKED),
    "$sort": StageRule(_plain, inside=_RANKED),
    "$sortByCount": _DROPPING,
    "$unionWith": StageRule(joins.union_with, Sight.SEES),
    "$unset": _PASSING,
    "$unwind": StageRule(joins.unwind),
    "$vectorSearch": StageRule(
        search_stages.vector_search,
        head=search_stages.vector_search,
        first=FirstStageError,
        inside=_SEARCHED,
        scores=True,
    ),
}

DENIED_STAGES: Final = frozenset({
    "$backupCursor", "$backupCursorExtend", "$currentOp",
    "$listCachedAndActiveUsers", "$listCatalog", "$listClusterCatalog", "$listExtensions",
    "$listLocalSessions", "$listMqlEntities", "$listSampledQueries", "$listSessions",
    "$operationMetrics", "$planCacheStats", "$querySettings", "$queryStats",
    "$shardedDataDistribution",
})  # fmt: skip
"""Stages that exist, but not for tenants: they show the whole cluster. Others do not exist."""

_NESTED_ERRORS: Final[Mapping[str, type[RefusedError]]] = {
    "$facet": FacetStageError,
    "$lookup": LookupStageError,
    "$rankFusion": QueryValidationError,
    "$scoreFusion": QueryValidationError,
    "$unionWith": UnionStageError,
    VIEW: ViewStageError,
}
_NESTED_WORDS: Final = {
    "$facet": "is not allowed to be used within a $facet stage",
    VIEW: "cannot be used in a view definition",
}
BOUNDED: Final = {"$match": {"$expr": {"$gte": [{"$bsonSize": "$$ROOT"}, 0]}}}
"""Always true; an error above 16 MB. Without it 40 stages that double a field end the server.

It stands only where the stages before it could have made a document 200 times larger.
"""

_OUTER_TAG: Final = _FUSIONS | {"$facet"}
"""Stages whose pipelines leave the tag to the stages behind them."""

_OUTPUTS: Final = ("distanceField", "includeLocs")
SOURCELESS: Final = frozenset({"$changeStream", "$documents"})
"""First stages that need no collection."""

_STATISTICS: Final = frozenset({"$collStats", "$indexStats"})


def pipeline(value: Any, scope: Scope, where: Where, place: Place) -> Stages:
    """The physical stages of a client's pipeline: guarded, nested ones too, and without the tag.

    Raises:
        TypeMismatchError: not an array of documents. UnknownStageError, UnauthorizedError: by
        the tables. QueryValidationError: code, or a limit. Otherwise what the stages raise.
    """
    stages = _parsed(value, scope, where, place)
    physical: Stages = []
    if place.guarded and not (stages and _head(stages[0][0])):
        physical.append({"$match": guarded(scope, where, None, write=False)})
    seeing, factor = scope.hidden and place.inside not in _OUTER_TAG, 1
    scored, misplaced = -1, None
    for index, (name, stage) in enumerate(stages):
        here = where.at(index, name)
        rule = _rule(name, scope, here)
        misplaced = (
            misplaced
            or _uninvited(stages[0][0], name, here)
            or _misplaced(name, rule, here, place, last=index == len(stages) - 1)
        )
        head = rule.head if index == 0 and place.guarded else None
        if seeing:
            sight = _sight(name, rule, stage[name], leading=index == 0 and rule.head is not None)
            if sight is Sight.SEES:
                physical.append(UNSET)
            seeing = sight is Sight.PASSES
        physical += (head or rule.rewrite)(stage[name], scope, here, _between(place, stages, index))
        if rule.scores and not scope.features.search:
            scored = len(physical)
        seeing = seeing and UNSET not in physical
        factor *= growth(stage[name], scope.limits, here) if rule.grows else 1
        if factor > MAX_COPIES:
            physical.append(BOUNDED)
            factor = 1
    if misplaced is not None:
        # Last, as the server looks at positions when it has parsed every stage.
        raise misplaced
    if place.inside == VIEW:
        # Readers of a view find the tag, and documents that are no larger than stored ones.
        return [*physical, BOUNDED] if factor > 1 else physical
    physical += [*_ending(stages, scope, where, place), *([UNSET] if seeing else [])]
    return physical if scored < 0 else carried(physical, scored, where)


def _head(name: str) -> StageFunction | None:
    rule = STAGES.get(name)
    return None if rule is None else rule.head


def _ending(stages: list[tuple[str, Document]], scope: Scope, where: Where, place: Place) -> Stages:
    """The limit on top of everything; where the last stage writes, or waits for events, none."""
    endless = stages and (
        STAGES[stages[-1][0]].writes or STAGES[stages[0][0]].followers is not None
    )
    return [] if place.inside or endless else [{"$limit": read_limit(scope, where)}]


def _between(place: Place, stages: list[tuple[str, Document]], index: int) -> Place:
    """The place of one stage among the client's others."""
    before = stages[index - 1][1] if index else None
    behind = stages[index + 1][1] if index + 1 < len(stages) else None
    return replace(place, preceding=before, following=behind)


def _sight(name: str, rule: StageRule, operand: Any, *, leading: bool) -> Sight:
    """What a stage means for the tag; nothing is ever put in front of a leading one."""
    if not uses_tag(name, operand):
        return rule.sight
    if not leading:
        return Sight.SEES
    return Sight.DROPS if name == "$geoNear" and _overwrites(operand) else rule.sight


def _overwrites(operand: Any) -> bool:
    """Whether `$geoNear` puts something else in the tag's place."""
    paths = [operand.get(n) for n in _OUTPUTS] if isinstance(operand, Document) else []
    return any(isinstance(path, str) and names_tag(path) for path in paths)


def _parsed(value: Any, scope: Scope, where: Where, place: Place) -> list[tuple[str, Document]]:
    joins.check_nesting(place, scope, where)
    if not isinstance(value, Array):
        msg = "'pipeline' option must be specified as an array"
        raise TypeMismatchError(msg, str(where))
    where.notes.stages += len(value)
    if where.notes.stages > scope.limits.max_stages:
        msg = f"pipeline exceeds the maximum number of stages ({scope.limits.max_stages})"
        raise QueryValidationError(msg, str(where))
    return [_named(stage, where.at(index)) for index, stage in enumerate(value)]


def _named(stage: Any, where: Where) -> tuple[str, Document]:
    if not isinstance(stage, Document):
        msg = "Each element of the 'pipeline' array must be an object"
        raise TypeMismatchError(msg, str(where))
    name = stage.first
    if name is None or len(stage) != 1:
        msg = "A pipeline stage specification object must contain exactly one field."
        raise StageShapeError(msg, str(where))
    return name, stage


def _rule(name: str, scope: Scope, where: Where) -> StageRule:
    rule = STAGES.get(name)
    if rule is None or (rule.searches and not scope.features.search):
        if name in DENIED_STAGES:
            raise UnauthorizedError(not_authorized(where.db, f"aggregate: {name}"), str(where))
        msg = f"Unrecognized pipeline stage name: '{name}'"
        raise UnknownStageError(msg, str(where))
    return rule


def _uninvited(leading: str, name: str, where: Where) -> RefusedError | None:
    """The error of a stage that may not come behind the first one."""
    followers = STAGES[leading].followers
    if followers is None or where.path[-2] == "0" or name in followers:
        return None
    if name == leading:
        msg = "$_internalChangeStreamOplogMatch is only valid as the first stage in a pipeline"
        return FirstStageError(msg, str(where))
    msg = f"{name} is not permitted in a {leading} pipeline"
    return IllegalOperationError(msg, str(where))


def _writing(name: str, where: Where) -> str:
    """The server's words for a writer in a view."""
    view = f"{where.db}.{where.owner[where.command]}"
    return (
        f"The aggregation stage {name} in location {where.path[-2]} of the pipeline cannot be used"
        f" in the view definition of {view} because it writes to disk"
    )


def _misplaced(
    name: str, rule: StageRule, where: Where, place: Place, *, last: bool
) -> RefusedError | None:
    """The error of a stage that stands where it must not."""
    if place.inside not in rule.inside:
        if name in _STATISTICS and place.inside != "$facet":
            return UnauthorizedError(not_authorized(where.db, f"aggregate: {name}"), str(where))
        inside = place.inside
        words = _NESTED_WORDS.get(inside, f"is not allowed within a {inside}'s sub-pipeline")
        msg = _writing(name, where) if rule.writes and inside == VIEW else f"{name} {words}"
        return _NESTED_ERRORS[inside](msg, str(where))
    if rule.first is not None and where.path[-2] != "0":
        msg = f"{name} is only valid as the first stage in a pipeline"
        return rule.first(msg, str(where))
    if rule.writes and not last:
        msg = f"{name} can only be the final stage in the pipeline"
        return StagePositionError(msg, str(where))
    return None
