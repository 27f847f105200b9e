"""Definitions of collections and indexes: options that we know, and the tag kept out of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from mdb_engine.exceptions import (
    CannotCreateIndexError,
    IndexOptionError,
    InvalidOptionsError,
    NegativeLimitError,
    TypeMismatchError,
    UnauthorizedError,
)
from mdb_engine.rawbson import Array, Document, render
from mdb_engine.scope.caps import integer
from mdb_engine.scope.clauses import schemas_spared, validator
from mdb_engine.scope.fields import (
    DROP,
    DROPPED,
    PASS,
    UNSUPPORTED,
    WRITE_TARGET,
    subfields,
    wrong_type,
)
from mdb_engine.scope.model import TAG_FIELD, Rule, Scope, Where
from mdb_engine.scope.names import not_authorized
from mdb_engine.scope.views import VIEW_ON, VIEW_PIPELINE
from mdb_engine.scope.walk import check_filter


def _reserved(where: Where) -> str:
    return f"{TAG_FIELD} is reserved: {where.path[-1]}"


def _time_series(value: Any, _scope: Scope, where: Where) -> Any:
    if isinstance(value, Document):
        for name in ("metaField", "timeField"):
            if value.get(name) == TAG_FIELD:
                raise InvalidOptionsError(_reserved(where.at(name)), str(where.at(name)))
    return value


def _pre_images(value: Any, scope: Scope, where: Where) -> Any:
    enabled = isinstance(value, Document) and value.get("enabled") is True
    if enabled and not scope.limits.pre_images:
        msg = "changeStreamPreAndPostImages is not supported"
        raise InvalidOptionsError(msg, str(where))
    return value


def _id_index(value: Any, _scope: Scope, _where: Where) -> Any:
    if not isinstance(value, Document):
        return value
    return {name: item for name, item in value.items() if name != "ns"}


def _validator(value: Any, scope: Scope, where: Where) -> Any:
    if value is None:
        return value
    if not isinstance(value, Document):
        raise wrong_type(value, where, "object")
    check_filter(value, scope, where)
    if value:
        # An empty one is stored as none.
        where.notes.plan = where.command
    return validator(value, scope, where)


CREATE: Final[Mapping[str, Rule]] = {
    "autoIndexId": DROPPED,
    "capped": PASS,
    "changeStreamPreAndPostImages": Rule(_pre_images),
    "clusteredIndex": PASS,
    "collation": PASS,
    "create": WRITE_TARGET,
    "encryptedFields": UNSUPPORTED,
    "expireAfterSeconds": PASS,
    "flags": DROPPED,
    "idIndex": Rule(_id_index),
    "indexOptionDefaults": UNSUPPORTED,
    "max": PASS,
    "pipeline": VIEW_PIPELINE,
    "recordIdsReplicated": UNSUPPORTED,
    "size": PASS,
    "storageEngine": UNSUPPORTED,
    "temp": UNSUPPORTED,
    "timeseries": Rule(_time_series),
    "validationAction": PASS,
    "validationLevel": PASS,
    "validator": Rule(_validator),
    "viewOn": VIEW_ON,
}


def _copy_target(value: Any, scope: Scope, where: Where) -> Any:
    if not isinstance(value, str):
        msg = "'toCollection' must be of type String"
        raise TypeMismatchError(msg, str(where))
    return WRITE_TARGET.decoded(value, scope, where)


CLONE: Final[Mapping[str, Rule]] = {
    "cloneCollectionAsCapped": WRITE_TARGET,
    "size": PASS,
    "toCollection": Rule(_copy_target),
}


SERVERS_INDEXES: Final = 64
"""How many indexes the server itself allows a collection."""

_COLL_MOD_INDEX: Final = frozenset(
    {"expireAfterSeconds", "hidden", "keyPattern", "name", "prepareUnique", "unique"}
)


def _changed_index(value: Any, _scope: Scope, where: Where) -> Any:
    return DROP if value is None else subfields(value, _COLL_MOD_INDEX, where)


_SIZES: Final[Mapping[str, tuple[tuple[Callable[[int], bool], str], ...]]] = {
    "cappedMax": ((lambda given: given < 2**31, f"< {2**31}"),),
    "cappedSize": (
        (lambda given: given >= 1, ">= 1"),
        (lambda given: given <= 2**50, f"<= {2**50}"),
    ),
}
"""What the server's parser wants of them (6.0.5)."""


def _capped(value: Any, _scope: Scope, where: Where) -> Any:
    """A new size takes a plan, which sees to it that it is not a view's (`keeping`)."""
    if value is None:
        return value
    given, name = integer(value, where), where.path[-1]
    for fits, bound in _SIZES[name]:
        if not fits(given):
            msg = f"BSON field '{name}' value must be {bound}, actual value '{given}'"
            raise NegativeLimitError(msg, str(where))
    where.notes.plan = where.command
    return value


COLL_MOD: Final[Mapping[str, Rule]] = {
    "cappedMax": Rule(_capped),
    "cappedSize": Rule(_capped),
    "changeStreamPreAndPostImages": Rule(_pre_images),
    "collMod": WRITE_TARGET,
    "dryRun": PASS,
    "expireAfterSeconds": PASS,
    "index": Rule(_changed_index),
    "noPadding": UNSUPPORTED,
    "pipeline": VIEW_PIPELINE,
    "recordPreImages": UNSUPPORTED,
    "timeseries": PASS,
    "usePowerOf2Sizes": UNSUPPORTED,
    "validationAction": PASS,
    "validationLevel": PASS,
    "validator": Rule(_validator),
    "viewOn": VIEW_ON,
}


def _full(value: Any, _scope: Scope, where: Where) -> Any:
    """A full validation holds a lock that everybody waits for."""
    if value not in (None, False):
        raise UnauthorizedError(not_authorized(where.db, "validate: full"), str(where))
    return value


VALIDATE: Final[Mapping[str, Rule]] = {
    "background": PASS,
    "checkBSONConformance": PASS,
    "enforceFastCount": UNSUPPORTED,
    "fixMultikey": UNSUPPORTED,
    "full": Rule(_full),
    "metadata": UNSUPPORTED,
    "repair": UNSUPPORTED,
    "scandata": DROPPED,
    "validate": WRITE_TARGET,
}


def _key(value: Any, _scope: Scope, where: Where) -> Any:
    """A text or sphere index on the tag would refuse or hide what the app stores."""
    if isinstance(value, Document) and value.get(TAG_FIELD) in ("2dsphere", "text"):
        raise CannotCreateIndexError(_reserved(where), str(where))
    return value


def _weights(value: Any, _scope: Scope, where: Where) -> Any:
    if isinstance(value, Document) and TAG_FIELD in value:
        raise CannotCreateIndexError(_reserved(where), str(where))
    return value


def _language(value: Any, _scope: Scope, where: Where) -> Any:
    if value == TAG_FIELD:
        raise CannotCreateIndexError(_reserved(where), str(where))
    return value


def _partial_filter(value: Any, scope: Scope, where: Where) -> Any:
    if not isinstance(value, Document):
        return value  # the server refuses it in its own words
    check_filter(value, scope, where)
    return schemas_spared(value, scope, where)


_INDEX: Final[Mapping[str, Rule]] = {
    "2dsphereIndexVersion": PASS,
    "background": PASS,
    "bits": PASS,
    "collation": PASS,
    "default_language": PASS,
    "dropDups": DROPPED,
    "expireAfterSeconds": PASS,
    "hidden": PASS,
    "key": Rule(_key),
    "language_override": Rule(_language),
    "max": PASS,
    "min": PASS,
    "name": PASS,
    "ns": DROPPED,
    "partialFilterExpression": Rule(_partial_filter),
    "prepareUnique": PASS,
    "sparse": PASS,
    "storageEngine": UNSUPPORTED,
    "textIndexVersion": PASS,
    "unique": PASS,
    "v": PASS,
    "weights": Rule(_weights),
    "wildcardProjection": PASS,
}


def _indexes(value: Any, scope: Scope, where: Where) -> Any:
    if not isinstance(value, Array | list):
        raise wrong_type(value, where, "array")
    if scope.limits.max_indexes < SERVERS_INDEXES and "autocommit" not in where.owner:
        where.notes.plan = "createIndexes"
    return [_index(item, scope, where.at(i)) for i, item in enumerate(value)]


def _index(value: Any, scope: Scope, where: Where) -> dict[str, Any]:
    spec: Mapping[str, Any]
    if isinstance(value, Document) and where.owner.get("ignoreUnknownIndexOptions") is True:
        spec = {name: item for name, item in value.items() if name in _INDEX}
    else:
        spec = _known(value, where)
    result = {n: _INDEX[n].decoded(v, scope, where.at(n)) for n, v in spec.items()}
    return {name: item for name, item in result.items() if item is not DROP}


def _known(value: Any, where: Where) -> Document:
    if not isinstance(value, Document):
        raise wrong_type(value, where, "object")
    for name in value:
        if name not in _INDEX:
            shown = render(value)
            msg = (
                f"Error in specification {shown} :: caused by :: The field '{name}' is not valid"
                f" for an index specification. Specification: {shown}"
            )
            raise IndexOptionError(msg, str(where.at(name)))
    return value


def _commit_quorum(value: Any, _scope: Scope, where: Where) -> Any:
    if value != "majority":
        msg = "commitQuorum is not supported"
        raise InvalidOptionsError(msg, str(where))
    return value


CREATE_INDEXES: Final[Mapping[str, Rule]] = {
    "commitQuorum": Rule(_commit_quorum),
    "createIndexes": WRITE_TARGET,
    "ignoreUnknownIndexOptions": PASS,
    "indexes": Rule(_indexes),
}
