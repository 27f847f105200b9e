"""Views: what is stored of a client's pipeline, and what a stored one reads.

The stored pipeline guards its source, and its output carries the tag, so that whoever reads the
view can be given the ordinary condition: find, `$lookup`, another view.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from mdb_engine.exceptions import InvalidOptionsError, QueryValidationError
from mdb_engine.rawbson import Array, Document, encode_array
from mdb_engine.scope.clauses import forced_tag
from mdb_engine.scope.fields import DROP, wrong_type
from mdb_engine.scope.joins import EMPTY_ARRAY, VIEW, Place, noted
from mdb_engine.scope.model import Rule, Scope, Where
from mdb_engine.scope.stages import pipeline
from mdb_engine.scope.visibility import uses_tag

MAX_VIEW_BYTES: Final = 262_144
"""Of a stored pipeline: the server writes it out wherever the view is named."""

_KEEPING: Final = frozenset({
    "$addFields", "$fill", "$graphLookup", "$limit", "$lookup", "$match", "$sample", "$set",
    "$setWindowFields", "$skip", "$sort", "$unwind",
})  # fmt: skip
"""Stages that hand the tag on, as long as they do not name it."""

JOINS: Final[Mapping[str, str]] = {"$graphLookup": "from", "$lookup": "from", "$unionWith": "coll"}
"""Stages that read another collection, and their member that names it."""


def _source(value: Any, scope: Scope, where: Where) -> Any:
    """`viewOn`: an own collection; the server refuses an empty name itself."""
    if value is None or value == "":
        return value
    if not isinstance(value, str):
        raise wrong_type(value, where, "string")
    _check_pair(where)
    return noted(value, scope, where, write=True).physical


def _check_pair(where: Where) -> None:
    """As the server wants it of users who have logged in."""
    given = (where.owner.get("viewOn"), where.owner.get("pipeline"))
    if where.command == "collMod" and None in given:
        msg = "Must specify both 'viewOn' and 'pipeline' when modifying a view and auth is enabled"
        raise InvalidOptionsError(msg, str(where))


def _stored(value: Any, scope: Scope, where: Where) -> Any:
    """`pipeline`; a view without one also gets a guard.

    A tail sets the tag again where the client's stages can lose it. It costs the use of an index
    for sorting (97 ms against 1, 6.0.5), so it is left out where they cannot.
    """
    source = where.owner.get("viewOn")
    if value is not None:
        _check_stages(value, where)
        _check_pair(where)
    if value is None and where.path[-1] in where.owner:
        raise wrong_type(value, where, "array")
    if source is None:
        if value is None:
            return DROP
        msg = "'pipeline' requires 'viewOn' to also be specified"
        raise InvalidOptionsError(msg, str(where))
    if value is None:
        value = EMPTY_ARRAY
    place = Place(pipeline, inside=VIEW, namespace=f"{where.db}.{source}")
    stages = pipeline(value, replace(scope, storing=True), where, place)
    if any(_loses_tag(stage) for stage in value):
        stages.append(forced_tag(scope))
    if len(encode_array(stages)) > MAX_VIEW_BYTES:
        msg = f"the pipeline of a view exceeds the maximum size ({MAX_VIEW_BYTES} bytes)"
        raise QueryValidationError(msg, str(where))
    where.notes.plan = where.command
    return stages


def _check_stages(value: Any, where: Where) -> None:
    if not isinstance(value, Array):
        raise wrong_type(value, where, "array")
    for index, stage in enumerate(value):
        if not isinstance(stage, Document):
            raise wrong_type(stage, where.at(index), "object")


def _loses_tag(stage: Document) -> bool:
    name = str(stage.first)
    return name not in _KEEPING or uses_tag(name, stage[name])


VIEW_ON: Final = Rule(_source)
VIEW_PIPELINE: Final = Rule(_stored)


def sources(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The physical collections that a view's stored options name, each as often as they do.

    >>> sources({"viewOn": "a", "pipeline": [{"$unionWith": "b"}, {"$unionWith": "b"}]})
    ('a', 'b', 'b')
    """
    named = [options.get("viewOn"), *_named(options.get("pipeline"))]
    return tuple(name for name in named if isinstance(name, str))


def _named(stages: Any) -> Iterator[Any]:
    """What the stages of a pipeline read, inner pipelines included."""
    for stage in stages if isinstance(stages, Sequence) and not isinstance(stages, str) else ():
        for name, operand in stage.items() if isinstance(stage, Mapping) else ():
            if name in JOINS:
                yield from _joined(name, operand)
            elif name == "$facet" and isinstance(operand, Mapping):
                for inner in operand.values():
                    yield from _named(inner)


def _joined(name: str, operand: Any) -> Iterator[Any]:
    if isinstance(operand, Mapping):
        yield operand.get(JOINS[name])
        yield from _named(operand.get("pipeline"))
    else:
        yield operand
