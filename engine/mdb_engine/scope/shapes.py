"""The shape of a query, and the index that would serve it. Pure, for SDK and proxy alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mdb_engine.rawbson import Array, Document
from mdb_engine.scope.caps import number
from mdb_engine.scope.model import TAG_FIELD

EQUALITIES: Final = frozenset({"$eq", "$in"})
RANGES: Final = frozenset({"$gt", "$gte", "$lt", "$lte"})
MAX_KEYS: Final = 6
"""Longer shapes are not served: such an index costs more than it brings."""

Keys = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a query asks of each field; values do not matter."""

    equal: frozenset[str] = frozenset()
    ranged: frozenset[str] = frozenset()
    order: Keys = ()

    @property
    def index(self) -> Keys:
        """Keys of the index that serves it: equality, then sort, then range; () for none."""
        first = [(name, 1) for name in sorted(self.equal)]
        then = [pair for pair in self.order if pair[0] not in self.equal]
        seen = self.equal | {name for name, _ in then}
        last = [(name, 1) for name in sorted(self.ranged - seen)]
        keys = (*first, *then, *last)
        return keys if len(keys) <= MAX_KEYS else ()


def shape_of(command: Mapping[str, Any]) -> Shape | None:
    """The shape of a logical `find`, or of an `aggregate` that begins like one.

    None when no ordinary index would help: nothing is asked, `_id` is, or something that only
    the server's planner understands.
    """
    if "find" in command:
        return _shape(command.get("filter"), command.get("sort"))
    stages = command.get("pipeline")
    if not isinstance(stages, Array) or not stages:
        return None
    fields = {name: value for stage in stages[:2] for name, value in dict(stage).items()}
    return _shape(fields.get("$match"), fields.get("$sort"))


def _shape(condition: Any, sort: Any) -> Shape | None:
    equal: set[str] = set()
    ranged: set[str] = set()
    fits = _conditions(condition, equal, ranged) if isinstance(condition, Document) else True
    order = _order(sort)
    if not fits or order is None or "_id" in equal:
        return None
    if not equal and not ranged and not order:
        return None
    return Shape(frozenset(equal), frozenset(ranged - equal), order)


def _conditions(condition: Document, equal: set[str], ranged: set[str]) -> bool:
    """Sort the fields of a filter into both sets; False when it holds something else."""
    for name, value in condition.items():
        if name == "$and" and isinstance(value, Array):
            parts = [isinstance(p, Document) and _conditions(p, equal, ranged) for p in value]
            if not all(parts):
                return False
        elif name.startswith("$"):
            return False
        elif name != TAG_FIELD:
            kind = _kind(value)
            if not kind:
                return False
            {"equal": equal, "ranged": ranged}[kind].add(name)
    return True


def _kind(value: Any) -> str:
    """Whether a field is compared for equality or within bounds; "" for everything else."""
    operators = set(value) if isinstance(value, Document) else set()
    named = {name for name in operators if name.startswith("$")}
    if not named:
        return "equal"
    if named <= EQUALITIES:
        return "equal"
    return "ranged" if named <= RANGES else ""


def _order(sort: Any) -> Keys | None:
    """The sort order; None when it is none of plain fields."""
    if not isinstance(sort, Document):
        return ()
    keys = [(name, number(direction)) for name, direction in sort.items()]
    if any(direction not in (1, -1) or name == TAG_FIELD for name, direction in keys):
        return None
    return tuple((name, 1 if direction == 1 else -1) for name, direction in keys)
