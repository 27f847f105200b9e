"""Stages that write: into own collections only, and every document gets the own tag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from mdb_engine.exceptions import (
    InvalidOptionsError,
    MergeShapeError,
    MergeTargetError,
    MissingFieldError,
    OutOptionError,
    OutShapeError,
    RefusedError,
    TypeMismatchError,
    UnauthorizedError,
)
from mdb_engine.rawbson import Array, Document
from mdb_engine.scope.clauses import forced_tag
from mdb_engine.scope.joins import Place, Stages, members, noted
from mdb_engine.scope.model import Role, Scope, Where
from mdb_engine.scope.names import Target, check_database, not_authorized, type_name
from mdb_engine.scope.updates import update_pipeline
from mdb_engine.scope.veil import veil
from mdb_engine.scope.walk import check_expression

_MERGE: Final = frozenset({"into", "let", "on", "whenMatched", "whenNotMatched"})
_INTO: Final = frozenset({"coll", "db"})


def _may_write(scope: Scope, where: Where) -> None:
    if scope.role is not Role.READ_WRITE:
        stage = where.path[-1]
        raise UnauthorizedError(not_authorized(where.db, f"aggregate: {stage}"), str(where))


def _target(into: Mapping[str, Any], scope: Scope, where: Where) -> Target:
    """The collection that `{db, coll}` means; `db` is one of the app's own logical databases."""
    db = _database(into["db"], scope, where) if "db" in into else where.db
    return noted(into.get("coll"), scope, replace(where, db=db), write=True)


def _database(name: Any, scope: Scope, where: Where) -> str:
    try:
        return check_database(name, scope, where.command)
    except RefusedError as error:
        raise type(error)(error.reason, str(where.at("db"))) from None


def merge(value: Any, scope: Scope, where: Where, _place: Place) -> Stages:
    """`$merge`, in any of its forms."""
    _may_write(scope, where)
    spec = _specification(value, where)
    into = spec["into"]
    if isinstance(into, Document):
        members(into, _INTO, where.at("into"))
        if not into.get("coll"):
            msg = "$merge 'into' field must specify a 'coll' that is not empty, null or undefined"
            raise MergeTargetError(msg, str(where.at("into")))
        target = _target(into, scope, where.at("into"))
    elif not isinstance(into, str):
        msg = (
            "$merge 'into' field  must be either a string or an object,"
            f" but found {type_name(into)}"
        )
        raise MergeShapeError(msg, str(where.at("into")))
    else:
        target = _target({"coll": into}, scope, where.at("into"))
    fields = {**spec, "into": {"db": scope.database, "coll": target.physical}}
    if "let" in spec:
        check_expression(spec["let"], scope, where.at("let"))
        # Its variables can be stored by `whenMatched`.
        fields["let"] = veil(spec["let"]) if scope.hidden else spec["let"]
    if isinstance(spec.get("whenMatched"), Array):
        fields["whenMatched"] = update_pipeline(spec["whenMatched"], scope, where.at("whenMatched"))
    return [forced_tag(scope), {"$merge": fields}]


def _specification(value: Any, where: Where) -> Mapping[str, Any]:
    if isinstance(value, str):
        return {"into": value}
    if not isinstance(value, Document):
        msg = f"$merge requires a string or object argument, but found {type_name(value)}"
        raise TypeMismatchError(msg, str(where))
    members(value, _MERGE, where)
    if "into" not in value:
        msg = "BSON field '$merge.into' is missing but a required field"
        raise MissingFieldError(msg, str(where.at("into")))
    return value


def out(value: Any, scope: Scope, where: Where, _place: Place) -> Stages:
    """`$out`: never forwarded as it stands (a plan carries it out); explained as it stands."""
    _may_write(scope, where)
    target = _target(_destination(value, where), scope, where)
    where.notes.plan = "$out"
    return [forced_tag(scope), {"$out": {"db": scope.database, "coll": target.physical}}]


def _destination(value: Any, where: Where) -> Mapping[str, Any]:
    if isinstance(value, str):
        return {"coll": value}
    if not isinstance(value, Document):
        msg = f"$out only supports a string or object argument, but found {type_name(value)}"
        raise OutShapeError(msg, str(where))
    if "timeseries" in value:
        msg = "$out to a time-series collection is not supported"
        raise InvalidOptionsError(msg, str(where.at("timeseries")))
    if set(value) != _INTO:
        msg = "If an object is passed to $out it must have exactly 2 fields: 'db' and 'coll'"
        raise OutOptionError(msg, str(where))
    return value
