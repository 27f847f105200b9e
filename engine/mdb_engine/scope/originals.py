"""Definitions as the client wrote them, kept beside what the cluster stores of them.

A view's pipeline and a collection's validator are stored in physical form. What the client wrote
is kept in an own collection, found again by the name and a digest of the physical form: whatever
changed the definition in another way than through us is never explained with stale words.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from mdb_engine.rawbson import Array, Document, Raw, encode
from mdb_engine.scope.clauses import shown_validator
from mdb_engine.scope.joins import EMPTY_ARRAY
from mdb_engine.scope.model import Scope
from mdb_engine.scope.names import ENGINE_PREFIX
from mdb_engine.scope.unstored import logical_name, logical_pipeline

STORE: Final = f"{ENGINE_PREFIX}views"
"""`{_id: "<collection> <of>", of, collection, pipeline | validator}`, the last as BSON bytes.

Bytes, because a stored document may not hold everything that an operand may.
"""

_BINARY: Final = 0x05
_HEAD: Final = 5
"""Bytes before the data of a binary value: its length, its kind."""


def digest(options: Mapping[str, Any]) -> str | None:
    """What tells one physical definition from another; None where there is none to keep."""
    if isinstance(options.get("viewOn"), str):
        defined = {name: options.get(name) for name in ("viewOn", "pipeline")}
    elif isinstance(options.get("validator"), Mapping) and options["validator"]:
        defined = {"validator": options["validator"]}
    else:
        return None
    return sha256(encode(defined)).hexdigest()


def key(collection: str, of: str) -> str:
    """Where a definition is kept; no collection's name holds a space."""
    return f"{collection} {of}"


def every(collection: str) -> dict[str, Any]:
    """The condition on `_id` that finds all that is kept of a collection."""
    return {"$gte": f"{collection} ", "$lt": f"{collection}!"}


def original(
    collection: str, physical: Mapping[str, Any], command: Mapping[str, Any]
) -> dict[str, Any]:
    """The document to keep of a command that defines a view or a validator."""
    of = digest(physical)
    if of is None:
        msg = "nothing is defined"
        raise ValueError(msg)
    kept = _kept(physical, command)
    return {"_id": key(collection, of), "of": of, "collection": collection, **kept}


def _kept(physical: Mapping[str, Any], command: Mapping[str, Any]) -> dict[str, Any]:
    name = "pipeline" if "viewOn" in physical else "validator"
    value = command.get(name)
    data = value.data if isinstance(value, Array | Document) else EMPTY_ARRAY.data
    return {name: Raw(_BINARY, len(data).to_bytes(4, "little") + b"\0" + data)}


def moved(found: Mapping[str, Any], collection: str) -> dict[str, Any]:
    """The same definition, kept for another collection."""
    return {**found, "_id": key(collection, found["of"]), "collection": collection}


def shown(
    options: Mapping[str, Any], found: Mapping[str, Any] | None, scope: Scope, db: str
) -> Mapping[str, Any]:
    """A collection's options in the app's own words: as kept, or else what can be told back."""
    fields = {name: _SHOWN[name](v, scope, db) if name in _SHOWN else v
              for name, v in options.items()}  # fmt: skip
    for name, wrapped in (("pipeline", Array), ("validator", Document)):
        kept = (found or {}).get(name)
        if name in fields and isinstance(kept, Raw):
            fields[name] = wrapped(kept.data[_HEAD:])
    return {name: value for name, value in fields.items() if value is not None}


_SHOWN: Final[Mapping[str, Any]] = {
    "pipeline": logical_pipeline,
    "validator": lambda value, *_: shown_validator(value),
    "viewOn": logical_name,
}
