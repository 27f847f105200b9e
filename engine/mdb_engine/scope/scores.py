"""The score of a search as a hidden field: there while later stages ask for it, seen by nobody.

On a server that has no search process `{$meta: "vectorSearchScore"}` is an error (6.0.5, 17308).
So the score is carried in a field to the last stage that uses it, and removed right behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mdb_engine.exceptions import QueryValidationError
from mdb_engine.rawbson import Array, Document, encode, encode_array
from mdb_engine.scope.clauses import with_expressions
from mdb_engine.scope.model import Where
from mdb_engine.scope.projections import INCLUSION, kinds
from mdb_engine.scope.veil import LITERALS, ROOTS

SCORE: Final = "_mdb_engine_score"
"""The field. No stage of a client may name it."""

FORGET: Final = {"$unset": SCORE}
_FIELD: Final = f"$$ROOT.{SCORE}"
_META: Final = frozenset({"score", "vectorSearchScore"})
_ENDING: Final = frozenset({"$bucket", "$bucketAuto", "$count", "$facet", "$group", "$sortByCount"})
"""Stages behind which there is no score any more."""

_WRITING: Final = frozenset({"$merge", "$out"})
"""Stages that would store the field."""

_OTHERS: Final[Mapping[str, frozenset[str]]] = {
    "$graphLookup": frozenset({"restrictSearchWithMatch"}),
    "$lookup": frozenset({"pipeline"}),
    "$unionWith": frozenset({"pipeline"}),
}
"""Members of stages that are about other documents, which have scores of their own or none."""


def carried(stages: list[Any], begin: int, where: Where) -> list[Any]:
    """The stages; those from `begin` on are told the score by a field that they cannot see.

    Raises:
        QueryValidationError: a stage names the field, or cannot be kept from noticing it.
    """
    later = [Document(encode(stage)) for stage in stages[begin:]]
    if any(SCORE.encode() in stage.data for stage in later):
        msg = f"{SCORE} is reserved"
        raise QueryValidationError(msg, str(where))
    last = _last_use(later, where)
    result = [FORGET] if last < 0 else []
    for index, stage in enumerate(later):
        result.append(_stage(stage, where, seen=index <= last, needed=index < last))
        if index == last and stage.first not in _ENDING:
            result.append(FORGET)
    return [*stages[:begin], *result]


def _last_use(stages: list[Document], where: Where) -> int:
    """The last stage that asks for the score while there is one; -1: none does."""
    found = -1
    for index, stage in enumerate(stages):
        if stage.first in _WRITING:
            break
        if b"$meta\0" in stage.data and _stage(stage, where, seen=False) is not stage:
            found = index
        if stage.first in _ENDING:
            break
    return found


def _stage(stage: Document, where: Where, *, seen: bool, needed: bool = False) -> Any:
    """One stage that knows the score; the very same object when it never asked for it.

    `seen`: the field is in its input. `needed`: and must be in its output.
    """
    if not seen and b"$meta\0" not in stage.data:
        return stage
    name = stage.first or ""
    rule = _STAGES.get(name, _members)
    operand = rule(stage[name], _Reader(name, where, hides=seen))
    if needed and name in _KEEPING:
        operand = _KEEPING[name](operand)
    return stage if operand is stage[name] else {name: operand}


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one stage. `hides`: whole documents are shown without the field."""

    name: str
    where: Where
    hides: bool

    def expression(self, value: Any) -> Any:
        """The expression, told the score; the very same object when nothing is to be told."""
        if isinstance(value, str):
            return _bare(value) if self.hides and value in ROOTS else value
        if isinstance(value, Array):
            items = [self.expression(item) for item in value]
            return value if _same(items, value) else Array(encode_array(items))
        if not isinstance(value, Document):
            return value
        if _asks(value):
            return _FIELD
        fields = {name: self._member(name, item) for name, item in value.items()}
        return value if _same(fields.values(), value.values()) else Document(encode(fields))

    def _member(self, name: str, value: Any) -> Any:
        if name in LITERALS:
            return value
        if self.hides and name == "$getField":
            return self._get_field(value)
        return self.expression(value)

    def _get_field(self, value: Any) -> Any:
        if isinstance(value, Document) and "input" in value:
            return self.expression(value)
        named = value if isinstance(value, Document) and "field" in value else {"field": value}
        return {**named, "input": _bare("$$CURRENT")}


def _asks(value: Any) -> bool:
    return isinstance(value, Document) and len(value) == 1 and value.get("$meta") in _META


def _bare(root: str) -> Document:
    return Document(encode({"$unsetField": {"field": SCORE, "input": root}}))


def _same(new: Any, old: Any) -> bool:
    return all(a is b for a, b in zip(new, old, strict=True))


def _members(value: Any, reader: _Reader) -> Any:
    """A stage that is an expression, or a document of them."""
    others = _OTHERS.get(reader.name)
    if others is None or not isinstance(value, Document):
        return reader.expression(value)
    fields = {n: v if n in others else reader.expression(v) for n, v in value.items()}
    return value if _same(fields.values(), value.values()) else fields


def _match(value: Any, reader: _Reader) -> Any:
    if reader.hides and b"$jsonSchema\0" in value.data:
        msg = "$jsonSchema is not supported in front of a stage that uses the score"
        raise QueryValidationError(msg, str(reader.where))
    return with_expressions(value, lambda item, _: reader.expression(item), reader.where)


def _sort(value: Any, _reader: _Reader) -> Any:
    if not isinstance(value, Document) or not any(_asks(item) for item in value.values()):
        return value
    return dict((SCORE, -1) if _asks(item) else (name, item) for name, item in value.items())


def _facet(value: Document, reader: _Reader) -> Any:
    """Every branch gets the score, and loses it for itself."""
    branches = {name: list(stages) for name, stages in value.items()}
    if all(_last_use(stages, reader.where) < 0 for stages in branches.values()):
        return value
    return {name: carried(stages, 0, reader.where) for name, stages in branches.items()}


_STAGES: Final[Mapping[str, Callable[[Any, _Reader], Any]]] = {
    "$facet": _facet,
    "$match": _match,
    "$sort": _sort,
}
"""Stages that are no expressions. All others are walked as such."""


def _including(operand: Any) -> Any:
    inclusion = isinstance(operand, Document) and kinds(operand) == {INCLUSION}
    return {**operand, SCORE: 1} if inclusion else operand


def _in_root(operand: Any) -> Any:
    if not isinstance(operand, Document) or "newRoot" not in operand:
        return operand
    return {**operand, "newRoot": _in_document(operand["newRoot"])}


def _in_document(operand: Any) -> Any:
    return {"$setField": {"field": SCORE, "input": operand, "value": _FIELD}}


_KEEPING: Final[Mapping[str, Callable[[Any], Any]]] = {
    "$project": _including,
    "$replaceRoot": _in_root,
    "$replaceWith": _in_document,
}
"""Stages that would lose the field -> how it comes through."""
