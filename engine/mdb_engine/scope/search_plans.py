"""Search indexes and `$vectorSearch` without a search process, as plans.

Definitions lie in a collection of the engine under `{_id: {uuid, name}}`, `uuid` being the
collection's own. So they follow it when it is renamed and end with it, and one that is made anew
under the old name has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

from bson.int64 import Int64

from mdb_engine.exceptions import (
    IllegalOperationError,
    IndexAlreadyExistsError,
    IndexNotFoundError,
    NamespaceNotFoundError,
    OperationFailedError,
)
from mdb_engine.rawbson import Document, Raw, encode
from mdb_engine.scope.commands import rewrite
from mdb_engine.scope.model import Physical, Scope, Search, VectorIndex, Where
from mdb_engine.scope.names import ENGINE_PREFIX
from mdb_engine.scope.replies import Asked, answer
from mdb_engine.scope.search_definitions import VECTOR, vector_index
from mdb_engine.scope.search_stages import listed
from mdb_engine.scope.steps import Part, drained, step
from mdb_engine.scope.vectors import MAX_CANDIDATES

SEARCH_INDEXES: Final = f"{ENGINE_PREFIX}search_indexes"
"""`{_id: {uuid: <of the collection>, name}, id, type: "vectorSearch", definition}`."""

MAX_SEARCH_INDEXES: Final = 64
"""Per collection."""

MAX_COMMAND_BYTES: Final = 16_000_000
"""Somewhat below what the server reads as one document."""

_ID_DIGITS: Final = 24


def managed_id(physical: str, name: str) -> str:
    """The id under which an index of a manifest is shown."""
    return sha256(f"{physical}\0{name}".encode()).hexdigest()[:_ID_DIGITS]


def _identities(names: Iterable[str], scope: Scope) -> Part:
    """Physical name -> uuid of the collections that there are; views have none."""
    items = yield from drained(
        {
            "listCollections": 1,
            "filter": {"name": {"$in": sorted(set(names))}},
            "maxTimeMS": scope.limits.default_time_ms,
            "$db": scope.database,
        },
        "$cmd.listCollections",
    )
    found = {item["name"]: item.get("info", {}).get("uuid") for item in items}
    return {name: uuid for name, uuid in found.items() if uuid is not None}


def _stored(uuids: Mapping[str, Raw], scope: Scope) -> Part:
    """(physical collection, name) -> index, for all indexes of these collections."""
    if not uuids:
        return {}
    # Compared member by member: a text comes before a document.
    ranges = [
        {"_id": {"$gte": {"uuid": uuid}, "$lt": {"uuid": uuid, "name": {}}}}
        for uuid in uuids.values()
    ]
    command = {
        "find": SEARCH_INDEXES,
        "filter": {"$or": ranges},
        "maxTimeMS": scope.limits.default_time_ms,
        "$db": scope.database,
    }
    names = {uuid: name for name, uuid in uuids.items()}
    found = {}
    for item in (yield from drained(command, SEARCH_INDEXES)):
        where = Where("listSearchIndexes", "", path=("definition",))
        index = vector_index(item["definition"], where, id_=item["id"])
        found[names[item["_id"]["uuid"]], item["_id"]["name"]] = index
    return found


def _known(collections: Iterable[str], scope: Scope) -> Part:
    """(uuids by physical name, the scope that knows all indexes of these collections)."""
    uuids = yield from _identities(collections, scope)
    stored = yield from _stored(uuids, scope)
    there = {key: index for key, index in scope.vectors.items() if key[0] in uuids}
    return uuids, replace(scope, vectors={**stored, **there})


def searching(asked: Asked) -> Part:
    """The command, rewritten with the definitions that it needs; its candidates are few enough.

    Raises:
        OperationFailedError: too many candidates, or too many searches: a vector of 8,192
            dimensions becomes an expression of 0.7 MB.
    """
    named = [search.collection for search in asked.physical.searches]
    _, scope = yield from _known(named, asked.scope)
    physical = rewrite(asked.command, scope)
    for search in physical.searches:
        if search.candidates is not None:
            yield from _check_candidates(search, scope, physical)
    fields = {name: value for name, value in physical.command.items() if name != "lsid"}
    if "lsid" in asked.physical.command:
        fields["lsid"] = asked.physical.command["lsid"]
    if len(encode(fields)) > MAX_COMMAND_BYTES:
        msg = "the vector searches of one command are too large together"
        raise OperationFailedError(msg)
    return replace(asked, physical=replace(physical, command=_placed(fields)), scope=scope)


def _check_candidates(search: Search, scope: Scope, physical: Physical) -> Part:
    command = {
        "count": search.collection,
        "query": search.candidates,
        "limit": MAX_CANDIDATES + 1,
        "maxTimeMS": physical.command.get("maxTimeMS", scope.limits.default_time_ms),
        "$db": scope.database,
    }
    reply = yield from step(command)
    if reply["n"] > MAX_CANDIDATES:
        msg = (
            f"$vectorSearch without a search process compares at most {MAX_CANDIDATES} documents;"
            " narrow the search with a filter"
        )
        raise OperationFailedError(msg)


def _placed(fields: dict[str, Any]) -> dict[str, Any]:
    """A list of indexes comes from no collection; the server wants that to be said."""
    explained = fields.get("explain")
    if isinstance(explained, Mapping):
        return {**fields, "explain": _placed(dict(explained))}
    stages = fields["pipeline"]
    return {**fields, "aggregate": 1} if "$documents" in stages[0] else fields


def search(asked: Asked) -> Part:
    """The reply to a command that `searching` has written for good."""
    raw = yield asked.physical.command
    return Document(answer(raw, asked))


def create_search_indexes(asked: Asked, token: str) -> Part:
    """`createSearchIndexes`: ready at once.

    Raises:
        NamespaceNotFoundError: no such collection. IndexAlreadyExistsError: a name is taken.
        OperationFailedError: one index too many.
    """
    physical, uuid, scope = yield from _existing(asked)
    given = asked.physical.command["indexes"]
    for spec in given:
        if (physical, spec["name"]) in scope.vectors:
            raise _duplicate(spec["name"])
    if len(_of(physical, scope)) + len(given) > MAX_SEARCH_INDEXES:
        msg = f"a collection may have at most {MAX_SEARCH_INDEXES} search indexes"
        raise OperationFailedError(msg)
    ids = [f"{token[: _ID_DIGITS - 2]}{number:02x}" for number in range(len(given))]
    documents = [
        {
            "_id": {"uuid": uuid, "name": spec["name"]},
            "id": id_,
            "type": VECTOR,
            "definition": spec["definition"],
        }
        for spec, id_ in zip(given, ids, strict=True)
    ]
    reply = yield from _writing({"insert": SEARCH_INDEXES, "documents": documents}, scope)
    if reply.get("writeErrors"):
        # Somebody else was faster.
        raise _duplicate(given[reply["writeErrors"][0]["index"]]["name"])
    created = [{"id": id_, "name": spec["name"]} for spec, id_ in zip(given, ids, strict=True)]
    return {"indexesCreated": created, "ok": 1.0}


def _duplicate(name: str) -> IndexAlreadyExistsError:
    return IndexAlreadyExistsError(f"Duplicate Index: a search index '{name}' exists already")


def _existing(asked: Asked) -> Part:
    """(physical name, uuid, scope) of the collection that a command is about."""
    physical = str(asked.physical.command[asked.name])
    uuids, scope = yield from _known([physical], asked.scope)
    if physical not in uuids:
        msg = f"Collection '{asked.namespace}' does not exist."
        raise NamespaceNotFoundError(msg, asked.name)
    return physical, uuids[physical], scope


def _of(physical: str, scope: Scope) -> dict[str, VectorIndex]:
    return {name: index for (owner, name), index in scope.vectors.items() if owner == physical}


def _writing(command: Mapping[str, Any], scope: Scope) -> Part:
    limits = {"maxTimeMS": scope.limits.default_time_ms, "$db": scope.database}
    return (yield from step({**command, **limits}))


def _named(asked: Asked) -> Part:
    """(key in the store, scope) of the one index that a command names.

    Raises:
        IndexNotFoundError: there is none. IllegalOperationError: the manifest manages it.
    """
    physical, uuid, scope = yield from _existing(asked)
    wanted = asked.physical.command
    for name, index in _of(physical, scope).items():
        if wanted.get("name") == name or wanted.get("id") == index.id:
            if index.managed:
                msg = f"the index '{name}' is managed by the app's manifest"
                raise IllegalOperationError(msg)
            return {"uuid": uuid, "name": name}, scope
    given = wanted.get("name", wanted.get("id"))
    msg = f"Index '{given}' does not exist."
    raise IndexNotFoundError(msg)


def update_search_index(asked: Asked, _token: str) -> Part:
    """`updateSearchIndex`: another definition for an index."""
    key, scope = yield from _named(asked)
    change = {"$set": {"definition": asked.physical.command["definition"]}}
    statement = {"q": {"_id": key}, "u": change}
    yield from _writing({"update": SEARCH_INDEXES, "updates": [statement]}, scope)
    return {"ok": 1.0}


def drop_search_index(asked: Asked, _token: str) -> Part:
    """`dropSearchIndex`."""
    key, scope = yield from _named(asked)
    statement = {"q": {"_id": key}, "limit": 1}
    yield from _writing({"delete": SEARCH_INDEXES, "deletes": [statement]}, scope)
    return {"ok": 1.0}


def list_search_indexes(asked: Asked, _token: str) -> Part:
    """`listSearchIndexes`: of a collection that does not exist, none."""
    physical = str(asked.physical.command[asked.name])
    _, scope = yield from _known([physical], asked.scope)
    wanted = {n: v for n, v in asked.physical.command.items() if n in ("id", "name")}
    found = listed(physical, wanted, scope)
    cursor = {"id": Int64(0), "ns": asked.namespace, "firstBatch": found}
    return {"cursor": cursor, "ok": 1.0}
