"""Updates in their three forms; in each of them the tag stays what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from mdb_engine.exceptions import (
    FailedToParseError,
    ImmutableFieldError,
    InvalidOptionsError,
    QueryValidationError,
    StageShapeError,
    TypeMismatchError,
    UnknownStageError,
)
from mdb_engine.rawbson import Array, Document, render
from mdb_engine.scope.clauses import forced_tag, tag
from mdb_engine.scope.iterations import check_growth
from mdb_engine.scope.model import TAG_FIELD, Scope, Where
from mdb_engine.scope.names import type_name
from mdb_engine.scope.veil import UPDATE_ROOTS, names_tag, veil
from mdb_engine.scope.walk import check_expression, check_filter

Check = Callable[[str, Any, Scope, Where], None]

UPDATE_STAGES: Final = frozenset(
    {"$addFields", "$project", "$replaceRoot", "$replaceWith", "$set", "$unset"}
)

OTHER_STAGES: Final = frozenset({
    "$bucket", "$bucketAuto", "$changeStream", "$collStats", "$count", "$currentOp", "$densify",
    "$documents", "$facet", "$fill", "$geoNear", "$graphLookup", "$group", "$indexStats", "$limit",
    "$listLocalSessions", "$listSessions", "$lookup", "$match", "$merge", "$out", "$planCacheStats",
    "$redact", "$sample", "$setWindowFields", "$skip", "$sort", "$sortByCount", "$unionWith",
    "$unwind",
})  # fmt: skip
"""Stages that exist, but not in updates."""


def _immutable(where: Where) -> ImmutableFieldError:
    msg = (
        f"Performing an update on the path '{TAG_FIELD}'"
        f" would modify the immutable field '{TAG_FIELD}'"
    )
    return ImmutableFieldError(msg, str(where))


def _untouched(path: str, _value: Any, _scope: Scope, where: Where) -> None:
    if names_tag(path):
        raise _immutable(where)


def _own_value(path: str, value: Any, scope: Scope, where: Where) -> None:
    """Drivers write whole documents back: the app's own value is no change."""
    if names_tag(path) and not (path == TAG_FIELD and value == scope.slug):
        raise _immutable(where)


def _both_ends(path: str, value: Any, _scope: Scope, where: Where) -> None:
    if names_tag(path) or (isinstance(value, str) and names_tag(value)):
        raise _immutable(where)


def _condition(path: str, value: Any, scope: Scope, where: Where) -> None:
    """`$pull` holds a filter, or a value to equal."""
    _untouched(path, value, scope, where)
    if isinstance(value, Document):
        check_filter(value, scope, where)


UPDATE_OPERATORS: Final[Mapping[str, Check]] = {
    "$addToSet": _untouched,
    "$bit": _untouched,
    "$currentDate": _untouched,
    "$inc": _untouched,
    "$max": _untouched,
    "$min": _untouched,
    "$mul": _untouched,
    "$pop": _untouched,
    "$pull": _condition,
    "$pullAll": _untouched,
    "$push": _untouched,
    "$rename": _both_ends,
    "$set": _own_value,
    "$setOnInsert": _own_value,
    "$unset": _untouched,
}


PLAIN_OPERATORS: Final = frozenset(
    name for name, rule in UPDATE_OPERATORS.items() if rule in (_own_value, _untouched)
)
"""Operators that look at names only."""


def update(value: Any, scope: Scope, where: Where) -> Any:
    """An update document or pipeline after which the document is still the app's own.

    Raises:
        ImmutableFieldError: it would change the tag. FailedToParseError: unknown operator.
        InvalidOptionsError: a stage that updates do not know. QueryValidationError: code or
        excess. ResourceLimitExceeded: replacement too large.
    """
    if isinstance(value, Array):
        # Each statement of a batch has a pipeline, and a budget, of its own.
        return _pipeline(value, len(value), scope, where)
    if not isinstance(value, Document):
        msg = "Update argument must be either an object or an array"
        raise FailedToParseError(msg, str(where))
    if (value.first or "").startswith("$"):
        return _operators(value, scope, where)
    return tag(value, scope, where)


def _operators(value: Document, scope: Scope, where: Where) -> Any:
    for operator, members in value.items():
        here = where.at(operator)
        rule = UPDATE_OPERATORS.get(operator)
        if rule is None:
            msg = (
                f"Unknown modifier: {operator}. Expected a valid update modifier or"
                " pipeline-style update specified as an array"
            )
            raise FailedToParseError(msg, str(here))
        if not isinstance(members, Document):
            msg = (
                f"Modifiers operate on fields but we found type {type_name(members)} instead."
                f" For example: {{$mod: {{<field>: ...}}}} not {{{operator}: {render(members)}}}"
            )
            raise FailedToParseError(msg, str(here))
        for path, item in members.items():
            rule(path, item, scope, here.at(path))
    return _tagged_on_insert(value, scope) if where.owner.get("upsert") else value


def _tagged_on_insert(value: Document, scope: Scope) -> Mapping[str, Any]:
    on_insert = value.get("$setOnInsert", {})
    if TAG_FIELD in on_insert or TAG_FIELD in value.get("$set", {}):
        return value
    return {**value, "$setOnInsert": {**on_insert, TAG_FIELD: scope.slug}}


def _pipeline(value: Array, count: int, scope: Scope, where: Where) -> list[Any]:
    if count > scope.limits.max_stages:
        msg = f"pipeline exceeds the maximum number of stages ({scope.limits.max_stages})"
        raise QueryValidationError(msg, str(where))
    stages = [_stage(stage, scope, where.at(index)) for index, stage in enumerate(value)]
    operands = ((stage[stage.first], where.at(index)) for index, stage in enumerate(value))
    check_growth(operands, scope.limits)
    return [*stages, forced_tag(scope)]


def _stage(stage: Any, scope: Scope, where: Where) -> Any:
    if not isinstance(stage, Document):
        msg = "Each element of the 'pipeline' array must be an object"
        raise TypeMismatchError(msg, str(where))
    name = stage.first
    if name is None or len(stage) != 1:
        msg = "A pipeline stage specification object must contain exactly one field."
        raise StageShapeError(msg, str(where))
    if name not in UPDATE_STAGES and name not in OTHER_STAGES:
        msg = f"Unrecognized pipeline stage name: '{name}'"
        raise UnknownStageError(msg, str(where.at(name)))
    if name not in UPDATE_STAGES:
        msg = f"{name} is not allowed to be used within an update"
        raise InvalidOptionsError(msg, str(where.at(name)))
    check_expression(stage[name], scope, where.at(name))
    return {name: _blind_stage(name, stage[name])} if scope.hidden else stage


def _blind_stage(name: str, value: Any) -> Any:
    """A stage of an update whose expressions do not see the tag."""
    return value if name == "$unset" else veil(value, UPDATE_ROOTS)


def update_pipeline(value: Array, scope: Scope, where: Where) -> list[Any]:
    """The stages of `$merge.whenMatched`.

    Raises:
        As `update`.
    """
    where.notes.stages += len(value)
    return _pipeline(value, where.notes.stages, scope, where)


def array_filters(value: Any, scope: Scope, where: Where) -> Any:
    """`arrayFilters`: filters on elements; they never see the document."""
    if isinstance(value, Array):
        for index, item in enumerate(value):
            check_filter(item, scope, where.at(index))
    return value
