"""A stored pipeline of which no original is kept: told back as far as nothing physical shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from mdb_engine.rawbson import Array, Document
from mdb_engine.scope.clauses import forced_tag
from mdb_engine.scope.model import TAG_FIELD, Scope
from mdb_engine.scope.names import unphysical
from mdb_engine.scope.stages import BOUNDED
from mdb_engine.scope.views import JOINS
from mdb_engine.scope.visibility import UNSET


class _UnspeakableError(Exception):
    """Something in the pipeline has no name that the app could use."""


def logical_pipeline(value: Any, scope: Scope, db: str) -> list[Any] | None:
    """The stages without guards and tail, with logical names; None when a name has none."""
    if not isinstance(value, Array):
        return None
    try:
        return _stages(list(value), scope, db)
    except _UnspeakableError:
        return None


def _stages(value: list[Any], scope: Scope, db: str) -> list[Any]:
    if value and value[-1] == forced_tag(scope):
        value = value[:-1]
    plain = [stage for stage in value if stage not in (UNSET, BOUNDED)]
    if plain and isinstance(plain[0], Document) and plain[0].first == "$match":
        condition = _client_part(plain[0]["$match"])
        plain[:1] = [] if condition is None else [{"$match": condition}]
    return [_stage(stage, scope, db) for stage in plain]


def _client_part(condition: Any) -> Any | None:
    """What stands beside the tenant's conditions in a guard; None when nothing does."""
    if not isinstance(condition, Mapping):
        return condition
    if condition.keys() == {TAG_FIELD}:
        return None
    parts = condition.get("$and")
    if condition.keys() != {"$and"} or not isinstance(parts, Array):
        return condition
    others = [part for part in parts if not _is_guard(part)]
    if len(others) == len(parts):
        return condition
    return others[0] if len(others) == 1 else ({"$and": others} if others else None)


def _is_guard(part: Any) -> bool:
    return isinstance(part, Mapping) and part.keys() == {TAG_FIELD}


def _stage(stage: Any, scope: Scope, db: str) -> Any:
    if not isinstance(stage, Mapping):
        return stage
    return {n: _NAMING[n](v, n, scope, db) if n in _NAMING else v for n, v in stage.items()}


def logical_name(value: Any, scope: Scope, db: str) -> str | None:
    """An own collection of this database as the app calls it; None for all else."""
    found = unphysical(value, scope) if isinstance(value, str) else None
    if found is None or found[1] == value:
        return None
    return found[1] if found[0] in (scope.home if db in scope.home else (db,)) else None


def _name(value: Any, scope: Scope, db: str) -> str:
    found = logical_name(value, scope, db)
    if found is None:
        raise _UnspeakableError
    return found


def _join(operand: Any, stage: str, scope: Scope, db: str) -> Any:
    if not isinstance(operand, Mapping):
        return _name(operand, scope, db)
    fields = dict(operand)
    member = JOINS[stage]
    if member in fields:
        fields[member] = _name(fields[member], scope, db)
    if isinstance(fields.get("pipeline"), Array):
        fields["pipeline"] = _stages(list(fields["pipeline"]), scope, db)
    if "restrictSearchWithMatch" in fields:
        kept = _client_part(fields.pop("restrictSearchWithMatch"))
        fields |= {} if kept is None else {"restrictSearchWithMatch": kept}
    return fields


def _facet(operand: Any, _stage_name: str, scope: Scope, db: str) -> Any:
    branches = dict(operand)
    return {
        name: _stages(list(v), scope, db) if isinstance(v, Array) else v
        for name, v in branches.items()
    }


def _near(operand: Any, _stage_name: str, _scope: Scope, _db: str) -> Any:
    fields = dict(operand)
    kept = _client_part(fields.pop("query", None))
    return fields if kept is None else {**fields, "query": kept}


_NAMING: Final[Mapping[str, Callable[[Any, str, Scope, str], Any]]] = {
    **dict.fromkeys(JOINS, _join),
    "$facet": _facet,
    "$geoNear": _near,
}
"""Stages that name collections, or carry a guard inside."""
