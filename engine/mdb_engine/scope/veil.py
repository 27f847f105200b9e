"""Keeps the tag out of what an expression can see, where a stage cannot take it away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mdb_engine.rawbson import Array, Document, encode, encode_array
from mdb_engine.scope.model import TAG_FIELD

ROOTS: Final = ("$$ROOT", "$$CURRENT")
UPDATE_ROOTS: Final = (*ROOTS, "$$new")
LITERALS: Final = ("$const", "$elemMatch", "$literal")
"""Operators whose operands are no expressions."""

_CURRENT = {"$unsetField": {"field": TAG_FIELD, "input": "$$CURRENT"}}


def names_tag(path: str) -> bool:
    """Whether a field path begins at the tag."""
    return path == TAG_FIELD or path.startswith(f"{TAG_FIELD}.")


def veil(value: Any, roots: tuple[str, ...] = ROOTS) -> Any:
    """The expression, blind to the tag; the very same object when it never looked at it.

    >>> veil("$app_id")
    '$$REMOVE'
    """
    if isinstance(value, str):
        return _veil_text(value, roots)
    if isinstance(value, Array):
        items = [veil(item, roots) for item in value]
        return value if _same(items, value) else Array(encode_array(items))
    if isinstance(value, Document):
        fields = {name: _veil_member(name, item, roots) for name, item in value.items()}
        return value if _same(fields.values(), value.values()) else Document(encode(fields))
    return value


def _same(new: Any, old: Any) -> bool:
    return all(a is b for a, b in zip(new, old, strict=True))


def _veil_text(text: str, roots: tuple[str, ...]) -> Any:
    if not text.startswith("$"):
        return text
    for root in roots:
        if text == root:
            return Document(encode({"$unsetField": {"field": TAG_FIELD, "input": root}}))
        if text.startswith(f"{root}.") and names_tag(text[len(root) + 1 :]):
            return "$$REMOVE"
    return "$$REMOVE" if names_tag(text[1:]) else text


def _veil_member(name: str, value: Any, roots: tuple[str, ...]) -> Any:
    if name in LITERALS:
        return value
    if name == "$getField" and not (isinstance(value, Document) and "input" in value):
        named: Mapping[str, Any] = (
            value if isinstance(value, Document) and "field" in value else {"field": value}
        )
        return Document(encode({**named, "input": _CURRENT}))
    return veil(value, roots)


def unveil(value: Any) -> Any:
    """The expression as it was before it was veiled, as far as that shows: not what became REMOVE.

    >>> from mdb_engine.rawbson import encode
    >>> unveil(veil(Document(encode({"$size": "$$ROOT"}))))["$size"]
    '$$ROOT'
    """
    if isinstance(value, Array):
        return Array(encode_array([unveil(item) for item in value]))
    if not isinstance(value, Document):
        return value
    for root in ROOTS:
        if value == {"$unsetField": {"field": TAG_FIELD, "input": root}}:
            return root
    return Document(encode({name: unveil(item) for name, item in value.items()}))
