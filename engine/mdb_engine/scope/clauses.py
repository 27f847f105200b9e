"""Rules for values that many commands share: the tenant's filter, documents to store, collation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from mdb_engine.exceptions import (
    NotSingleValueFieldError,
    ResourceLimitExceeded,
    TypeMismatchError,
)
from mdb_engine.rawbson import (
    REGEX,
    Array,
    Document,
    Raw,
    check,
    element,
    encode,
    encode_array,
    put_first,
    splice_first,
)
from mdb_engine.scope.model import TAG_FIELD, Rule, Scope, Where
from mdb_engine.scope.names import type_name
from mdb_engine.scope.schemas import bare, spare_tag
from mdb_engine.scope.veil import veil
from mdb_engine.scope.walk import check_expression, check_filter

_TAG_BYTES: Final = TAG_FIELD.encode()


def predicate(scope: Scope, *, write: bool) -> dict[str, Any]:
    """The tenant's condition: own documents, and for reads those of the granted scopes."""
    if write or not scope.granted:
        return {TAG_FIELD: scope.slug}
    return {TAG_FIELD: {"$in": [scope.slug, *scope.granted]}}


def conditions(scope: Scope, owner: Mapping[str, Any], *, write: bool) -> list[dict[str, Any]]:
    """The tenant's conditions under the collation that the owner carries.

    Under the client's collation "shop" can equal "SHOP"; regular expressions ignore collation,
    and the equality beside them still bounds the index (measured on 6.0.5).
    """
    found = [predicate(scope, write=write)]
    if foreign_collation(owner):
        found.append({TAG_FIELD: _guard(scope, write=write)})
    return found


def foreign_collation(owner: Mapping[str, Any]) -> bool:
    """Whether strings are compared in another way than byte by byte."""
    collation = owner.get("collation")
    return isinstance(collation, Mapping) and collation.get("locale") != "simple"


def _guard(scope: Scope, *, write: bool) -> dict[str, Any]:
    if write or not scope.granted:
        return {"$regex": f"^{scope.slug}\\z"}
    slugs = (scope.slug, *scope.granted)
    return {"$in": [Raw(REGEX, f"^{slug}\\z".encode() + b"\0\0") for slug in slugs]}


def guarded(scope: Scope, where: Where, value: Mapping[str, Any] | None, *, write: bool) -> Any:
    """The filter that also holds the tenant's conditions; the client's part is left whole."""
    found = conditions(scope, where.owner, write=write)
    if value:
        return {"$and": [*found, value]}
    return found[0] if len(found) == 1 else {"$and": found}


def read_filter(value: Any, scope: Scope, where: Where) -> Any:
    """The filter of a reader: checked, blind to the tag in its expressions, the tenant's own."""
    if value is not None:
        check_filter(value, scope, where)
        value = blind(value, scope, where)
    return guarded(scope, where, value, write=False)


def write_filter(value: Any, scope: Scope, where: Where) -> Any:
    """The filter of an update or delete."""
    check_filter(value, scope, where)
    if where.owner.get("upsert"):
        value = _without_tag(value, scope, where)
    return guarded(scope, where, schemas_spared(value, scope, where), write=True)


def blind(value: Document, scope: Scope, where: Where) -> Document:
    """A filter whose expressions and schemas do not notice the tag."""
    rules = {"$expr": lambda v, _: veil(v), "$jsonSchema": spare_tag} if scope.hidden else {}
    return _mapped(value, rules, where)


def schemas_spared(value: Document, scope: Scope, where: Where) -> Document:
    """A filter whose schemas do not notice the tag."""
    return _mapped(value, {"$jsonSchema": spare_tag} if scope.hidden else {}, where)


def validator(value: Document, scope: Scope, where: Where) -> Document:
    """A validator that is true of a tagged document when the client's is true of the bare one."""
    rules: dict[str, Callable[[Any, Where], Any]] = {"$jsonSchema": spare_tag}
    if scope.hidden:
        rules["$expr"] = lambda v, _: veil(v)
    return _mapped(value, rules, where)


def shown_validator(value: Any) -> Any:
    """A stored validator of which no original is kept, as it is of documents without the tag."""
    if not isinstance(value, Document):
        return value
    return _mapped(value, {"$jsonSchema": lambda v, _: bare(v)}, Where("listCollections", ""))


def _mapped(
    value: Document, rules: Mapping[str, Callable[[Any, Where], Any]], where: Where
) -> Document:
    """Apply rules to operators of the top level, also below `$and`, `$or`, `$nor`."""
    if not any(name.encode() in value.data for name in rules):
        return value
    fields = {}
    for name, item in value.items():
        if name in rules:
            fields[name] = rules[name](item, where.at(name))
        elif name in ("$and", "$nor", "$or") and isinstance(item, Array):
            parts = [_mapped(v, rules, where) if isinstance(v, Document) else v for v in item]
            fields[name] = Array(encode_array(parts))
        else:
            fields[name] = item
    return Document(encode(fields))


def _without_tag(value: Document, scope: Scope, where: Where) -> Document:
    """An upsert's filter without conditions that repeat the tenant's own.

    The server takes values from equalities of the filter and refuses to find one twice.
    """
    if _TAG_BYTES not in value.data:
        return value
    fields: dict[str, Any] = {}
    for name, item in value.items():
        if name == TAG_FIELD and _equality(item):
            if not _equals(item, scope.slug):
                msg = f"cannot infer query fields to set, path '{TAG_FIELD}' is matched twice"
                raise NotSingleValueFieldError(msg, str(where.at(name)))
        elif _joined(name, item):
            parts = [_without_tag(v, scope, where) if isinstance(v, Document) else v for v in item]
            fields[name] = Array(encode_array(parts))
        else:
            fields[name] = item
    return Document(encode(fields))


def _joined(name: str, item: Any) -> bool:
    return isinstance(item, Array) and (name == "$and" or (name == "$or" and len(item) == 1))


_EQUAL: Final = ("$all", "$eq", "$in")


def _equality(condition: Any) -> bool:
    """Whether the server would take the field's value from this condition."""
    if isinstance(condition, Raw):
        return condition.kind != REGEX
    if not isinstance(condition, Document) or not (condition.first or "").startswith("$"):
        return True
    many = condition.get("$in")
    return "$eq" in condition or "$all" in condition or (isinstance(many, Array) and len(many) == 1)


def _equals(condition: Any, slug: str) -> bool:
    if isinstance(condition, Document) and len(condition) == 1:
        name = condition.first
        operand = condition[name] if name in _EQUAL else None
        if name != "$eq" and isinstance(operand, Array) and len(operand) == 1:
            operand = operand[0]
        return bool(operand == slug)
    return bool(condition == slug)


def tag(value: Any, scope: Scope, where: Where) -> Document:
    """A document to store: every tag in it goes, the app's own comes in.

    Raises:
        TypeMismatchError: not a document. ResourceLimitExceeded: too large with the tag.
    """
    if not isinstance(value, Document):
        kind = type_name(value)
        msg = f"BSON field '{where.field}' is the wrong type '{kind}', expected type 'object'"
        raise TypeMismatchError(msg, str(where))
    check(value.data)
    data = splice_tag(value.data, scope)
    if data is None:
        data = put_first(value.data, _TAG_BYTES, element(_TAG_BYTES, scope.slug))
    if len(data) > scope.limits.max_document_bytes:
        msg = (
            f"object to insert too large. size in bytes: {len(data)},"
            f" max size: {scope.limits.max_document_bytes}"
        )
        raise ResourceLimitExceeded(msg, str(where))
    return Document(data)


def splice_tag(data: bytes, scope: Scope) -> bytes | None:
    """The shortcut of `tag`: one splice in front; None when the tag may be in there."""
    return splice_first(data, _TAG_BYTES, element(_TAG_BYTES, scope.slug))


TAG: Final = Rule(tag, raw=splice_tag)


def forced_tag(scope: Scope) -> dict[str, Any]:
    """The stage that makes every document the app's own, whatever came before it."""
    return {"$set": {TAG_FIELD: {"$literal": scope.slug}}}


def expression(value: Any, scope: Scope, where: Where) -> Any:
    """An expression that is forwarded as it is, once checked."""
    check_expression(value, scope, where)
    return value


def with_expressions(value: Document, rule: Callable[[Any, Where], Any], where: Where) -> Document:
    """A filter with a rule applied to each of its expressions."""
    return _mapped(value, {"$expr": rule}, where)
