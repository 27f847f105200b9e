"""PLANS: commands that take several exchanges, as generators of physical commands.

A plan yields commands for the cluster, is sent each raw reply, and returns the logical reply. It
knows no socket: tests feed it replies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from mdb_engine.exceptions import CannotCreateIndexError
from mdb_engine.rawbson import Document, Raw, encode
from mdb_engine.scope import keeping
from mdb_engine.scope.caps import low_half, number
from mdb_engine.scope.explain_plans import explain
from mdb_engine.scope.joins import EMPTY_DOCUMENT
from mdb_engine.scope.model import Scope, Where
from mdb_engine.scope.names import prefix, temporary, unphysical
from mdb_engine.scope.originals import STORE, digest, key, shown
from mdb_engine.scope.replies import Asked
from mdb_engine.scope.search_plans import (
    create_search_indexes,
    drop_search_index,
    list_search_indexes,
    search,
    searching,
    update_search_index,
)
from mdb_engine.scope.steps import FailedError, Part, Plan
from mdb_engine.scope.steps import drained as _drained
from mdb_engine.scope.steps import failed as _failed
from mdb_engine.scope.steps import step as _step
from mdb_engine.scope.walk import check_filter

_NOT_FOUND: Final = 26
_NULL_ID: Final = 51132
_FOUND: Final = (
    "$merge with whenMatched: fail found an existing document with the same values for the 'on'"
    " fields :: caused by :: "
)
_LARGE_BATCH: Final = 100_000


def run_plan(asked: Asked, token: str) -> Plan:
    """The plan of a command. `token` is random text for names that nobody may guess.

    A step's error is the command's: its names are translated, the rest of the plan is not run.
    """
    try:
        reply = yield from PLANS[asked.physical.plan](asked, token)
    except FailedError as error:
        reply = asked.words.texts(Document(error.reply))
    return encode(reply)


def _physical_collections(scope: Scope, pattern: str, *, name_only: bool) -> Part:
    command = {
        "listCollections": 1,
        "nameOnly": name_only,
        "filter": {"name": {"$regex": pattern}},
        "maxTimeMS": scope.limits.default_time_ms,
        "$db": scope.database,
    }
    items = yield from _drained(command, "$cmd.listCollections")
    return [item for item in items if unphysical(item["name"], scope) is not None]


def _pattern(scope: Scope, db: str) -> str:
    """Physical names of one logical database."""
    start = prefix(scope, db).replace(".", "\\.")
    return f"^{start}(?!@)" if db in scope.home else f"^{start}"


def _own(items: Iterable[Document], scope: Scope, db: str) -> Iterable[tuple[str, Document]]:
    """Own collections of one logical database, by logical name; those of read scopes are not."""
    shown = scope.home[0] if db in scope.home else db
    for item in items:
        logical = unphysical(item["name"], scope)
        if logical and logical[1] != item["name"] and logical[0] == shown:
            yield logical[1], item


def _condition(asked: Asked) -> Document:
    """The client's filter, checked before anything is asked."""
    condition = asked.command.get("filter")
    if condition is None:
        return EMPTY_DOCUMENT
    check_filter(condition, asked.scope, Where(asked.name, asked.db, path=("filter",)))
    return Document(encode(condition))


def _filtered(items: list[Any], condition: Document, asked: Asked) -> Part:
    """What fits the client's filter on logical documents; the server itself evaluates it."""
    if not condition or not items:
        return items
    if list(condition) == ["name"] and isinstance(condition["name"], str):
        return [item for item in items if item["name"] == condition["name"]]
    command = {
        "aggregate": 1,
        "pipeline": [{"$documents": {"$literal": items}}, {"$match": condition}],
        "cursor": {"batchSize": _LARGE_BATCH},
        "maxTimeMS": asked.scope.limits.default_time_ms,
        "$db": asked.scope.database,
    }
    return (yield from _drained(command, "$cmd.aggregate"))


def _described(items: list[tuple[str, Document]], asked: Asked) -> Part:
    """Collections as the app knows them: views and validators in its own words."""
    found = yield from _originals([item for _, item in items], asked.scope)
    return [_shown(name, item, found, asked) for name, item in items]


def _key_of(item: Document) -> str | None:
    """Where the client's words for this definition are kept, if any are."""
    of = digest(item.get("options", EMPTY_DOCUMENT))
    return None if of is None else key(item["name"], of)


def _originals(items: list[Document], scope: Scope) -> Part:
    keys = [found for item in items if (found := _key_of(item)) is not None]
    if not keys:
        return {}
    command = {
        "find": STORE,
        "filter": {"_id": {"$in": keys}},
        "maxTimeMS": scope.limits.default_time_ms,
        "$db": scope.database,
    }
    kept = yield from _drained(command, STORE)
    return {item["_id"]: item for item in kept}


def _shown(
    name: str, item: Document, found: Mapping[str, Document], asked: Asked
) -> dict[str, Any]:
    fields = {**item, "name": name}
    options = fields.get("options")
    if isinstance(options, Document):
        kept = found.get(_key_of(item) or "")
        fields["options"] = shown(options, kept, asked.scope, asked.db)
    return fields


def _list_collections(asked: Asked, _token: str) -> Part:
    scope, db = asked.scope, asked.db
    name_only, condition = asked.command.get("nameOnly") is True, _condition(asked)
    items = yield from _physical_collections(scope, _pattern(scope, db), name_only=name_only)
    described = yield from _described(list(_own(items, scope, db)), asked)
    found = yield from _filtered(described, condition, asked)
    cursor = {"id": Raw(0x12, bytes(8)), "ns": f"{db}.$cmd.listCollections", "firstBatch": found}
    return {"cursor": cursor, "ok": 1.0}


_SUMMED: Final[Mapping[str, str]] = {
    "objects": "count",
    "dataSize": "size",
    "storageSize": "storageSize",
    "indexes": "nindexes",
    "indexSize": "totalIndexSize",
    "totalSize": "totalSize",
}
"""What `dbStats` calls the sum of what `collStats` calls so."""


def _db_stats(asked: Asked, _token: str) -> Part:
    """Of the app's own collections: the server's would count everybody's."""
    scope, db = asked.scope, asked.db
    scale = _scale(asked.command.get("scale"))
    items = yield from _physical_collections(scope, _pattern(scope, db), name_only=True)
    own = [item for _, item in _own(items, scope, db)]
    views = sum(item.get("type") == "view" for item in own)
    sums: Counter[str] = Counter(dict.fromkeys(_SUMMED, 0))
    for item in own:
        if item.get("type") != "view":
            command = {"collStats": item["name"], "scale": scale, "$db": scope.database}
            found = Document((yield {**command, "maxTimeMS": scope.limits.default_time_ms}))
            sums.update({name: number(found.get(key)) or 0 for name, key in _SUMMED.items()})
    average = sums["dataSize"] * scale / sums["objects"] if sums["objects"] else 0.0
    counts = {"db": db, "collections": len(own) - views, "views": views}
    disk = {"scaleFactor": float(scale), "fsUsedSize": 0.0, "fsTotalSize": 0.0, "ok": 1.0}
    return {**counts, **sums, "avgObjSize": average, **disk}


def _scale(value: Any) -> int:
    """By what sizes are divided; the server refuses it without a code (6.0.5)."""
    given = 1 if value is None else number(value)
    if given is not None and (scale := low_half(given)) > 0:
        return scale
    text = "scale has to be a number > 0" if given is None else "scale has to be > 0"
    raise FailedError(encode({"ok": 0.0, "errmsg": text}))


def _size(physical: str, scope: Scope) -> Part:
    command = {
        "collStats": physical,
        "maxTimeMS": scope.limits.default_time_ms,
        "$db": scope.database,
    }
    reply = Document((yield command))
    sizes = (number(reply.get(name)) or 0 for name in ("storageSize", "totalIndexSize"))
    return sum(sizes)


def _list_databases(asked: Asked, _token: str) -> Part:
    scope, command, condition = asked.scope, asked.command, _condition(asked)
    items = yield from _physical_collections(scope, f"^{scope.slug}_", name_only=True)
    by_database: dict[str, list[str]] = {scope.home[0]: []}
    for item in items:
        logical = unphysical(item["name"], scope)
        if logical is not None and logical[1] != item["name"]:
            by_database.setdefault(logical[0], []).append(item["name"])
    entries = []
    for db, names in by_database.items():
        entry: dict[str, Any] = {"name": db}
        if command.get("nameOnly") is not True:
            size = 0
            for name in names:
                size += yield from _size(name, scope)
            entry |= {"sizeOnDisk": size, "empty": not names}
        entries.append(entry)
    found = yield from _filtered(entries, condition, asked)
    reply: dict[str, Any] = {"databases": found}
    if command.get("nameOnly") is not True:
        total = sum(number(entry["sizeOnDisk"]) or 0 for entry in found)
        reply |= {"totalSize": total, "totalSizeMb": int(total) // 2**20}
    return {**reply, "ok": 1.0}


def _drop_database(asked: Asked, _token: str) -> Part:
    scope, db = asked.scope, asked.db
    items = yield from _physical_collections(scope, _pattern(scope, db), name_only=True)
    own = [item for _, item in _own(items, scope, db)]
    own.sort(key=lambda item: item.get("type") != "view")
    for item in own:
        command: dict[str, Any] = {"drop": item["name"]}
        if "writeConcern" in asked.physical.command:
            command["writeConcern"] = asked.physical.command["writeConcern"]
        command |= {"maxTimeMS": scope.limits.definition_time_ms, "$db": scope.database}
        raw = yield command
        reply = Document(raw)
        if not reply.get("ok") and reply.get("code") != _NOT_FOUND:
            raise FailedError(raw)
    yield from keeping.forget_all([item["name"] for item in own], scope)
    return {"ok": 1.0}


def _out(asked: Asked, token: str) -> Part:
    """`$out` by way of a temporary collection.

    The server's own final step locks the whole database: with one open transaction of any app
    every write of every app waits behind it (6.0.5). A rename does not.
    """
    scope, physical = asked.scope, asked.physical.command
    stages = list(physical["pipeline"])
    target = stages[-1]["$out"]["coll"]
    passing = temporary(scope, token)
    options, indexes = yield from _target_definition(target, scope)
    limit = {"maxTimeMS": scope.limits.definition_time_ms, "$db": scope.database}
    made: list[Mapping[str, Any]] = [{"create": passing, **options, **limit}]
    if indexes:
        made.append({"createIndexes": passing, "indexes": indexes, **limit})
    yield from _step(made[0])
    try:
        for step in made[1:]:
            yield from _step(step)
        reply = yield from _filled(physical, stages[:-1], passing, made)
        rename = {
            "renameCollection": f"{scope.database}.{passing}",
            "to": f"{scope.database}.{target}",
            "dropTarget": True,
        }
        yield from _step({**rename, **limit, "$db": "admin"})
    except FailedError as error:
        yield {"drop": passing, **limit}
        text = str(Document(error.reply).get("errmsg", ""))
        text = text.replace(_FOUND, "").replace("$merge", "$out").replace(passing, target)
        raise FailedError(encode({**Document(error.reply), "errmsg": text})) from None
    return {**reply, "cursor": {**reply["cursor"], "ns": asked.namespace}}


def _filled(
    physical: Mapping[str, Any], stages: list[Any], passing: str, made: list[Mapping[str, Any]]
) -> Part:
    """Write the results into the temporary collection.

    `$merge` refuses an `_id` that is null, which `$out` takes, and which every `$group` of all
    documents yields; such a document comes by way of a cursor.
    """
    # Without `on`, which would ask for an index under the command's own collation.
    merge = {"$merge": {"into": passing, "whenMatched": "fail", "whenNotMatched": "insert"}}
    try:
        return (yield from _step({**physical, "pipeline": [*stages, merge]}))
    except FailedError as error:
        if Document(error.reply).get("code") != _NULL_ID:
            raise
    for step in ({"drop": passing, "$db": physical["$db"]}, *made):
        yield from _step(step)
    others = {"$match": {"_id": {"$ne": None}}}
    reply = yield from _step({**physical, "pipeline": [*stages, others, merge]})
    alone = {**physical, "pipeline": [*stages, {"$match": {"_id": None}}], "cursor": {}}
    found = yield from _drained(alone, str(physical["aggregate"]))
    inserted = yield from _step({"insert": passing, "documents": found, "$db": physical["$db"]})
    for refused in inserted.get("writeErrors", ()):
        raise _failed(str(refused["errmsg"]), refused["code"], f"Location{refused['code']}")
    return reply


def _target_definition(target: str, scope: Scope) -> Part:
    """Options and indexes that the new collection inherits, as with the server's own `$out`.

    The refusals are the server's own, which come at the end there (6.0.5).
    """
    items = yield from _drained(
        {
            "listCollections": 1,
            "filter": {"name": target},
            "maxTimeMS": scope.limits.default_time_ms,
            "$db": scope.database,
        },
        "$cmd.listCollections",
    )
    if not items:
        return {}, []
    options = items[0].get("options", EMPTY_DOCUMENT)
    _check_replaceable(f"{scope.database}.{target}", items[0].get("type"), options)
    indexes = yield from _drained({"listIndexes": target, "$db": scope.database}, target)
    own = (item for item in indexes if item["name"] != "_id_" and not item.get("clustered"))
    return options, [dict(item) for item in own]


def _check_replaceable(namespace: str, kind: Any, options: Mapping[str, Any]) -> None:
    if kind == "view":
        text = f"{_LATE}Namespace {namespace} is a view, not a collection"
        raise _failed(text, 166, "CommandNotSupportedOnView")
    if kind == "timeseries":
        text = f"{_LATE}Namespace {namespace} is a timeseries collection"
        raise _failed(text, 166, "CommandNotSupportedOnView")
    if options.get("capped"):
        text = f"{_LATE}namespace '{namespace}' is capped so it can't be used for $out"
        raise _failed(text, 17152, "Location17152")


def _create_indexes(asked: Asked, _token: str) -> Part:
    """`createIndexes` of an app that may have fewer indexes than the server allows."""
    physical, most = asked.physical.command, asked.scope.limits.max_indexes
    listing = {"listIndexes": physical["createIndexes"], "$db": asked.scope.database}
    try:
        found = yield from _drained(listing, physical["createIndexes"])
    except FailedError as error:
        if Document(error.reply).get("code") != _NOT_FOUND:
            raise
        found = []
    have = {item["name"] for item in found} | {"_id_"}
    wanted = {spec.get("name") for spec in physical["indexes"]} - have
    if wanted and len(have) + len(wanted) > most:
        msg = f"add index fails, too many indexes for {asked.namespace}: at most {most}"
        raise CannotCreateIndexError(msg, "indexes")
    return (yield from _step(physical))


def _vector_search(asked: Asked, token: str) -> Part:
    """First what must be known, then the command itself, or the plan that carries it out."""
    found = yield from searching(asked)
    then = PLANS.get(found.physical.then)
    return (yield from (search(found) if then is None else then(found, token)))


_LATE: Final = "PlanExecutor error during aggregation :: caused by :: "


PLANS: Final[Mapping[str, Callable[[Asked, str], Part]]] = {
    "$out": _out,
    "$vectorSearch": _vector_search,
    "cloneCollectionAsCapped": keeping.clone,
    "collMod": keeping.define,
    "create": keeping.define,
    "createIndexes": _create_indexes,
    "createSearchIndexes": create_search_indexes,
    "dbStats": _db_stats,
    "drop": keeping.drop,
    "dropDatabase": _drop_database,
    "dropSearchIndex": drop_search_index,
    "explain": explain,
    "listCollections": _list_collections,
    "listDatabases": _list_databases,
    "listSearchIndexes": list_search_indexes,
    "renameCollection": keeping.rename,
    "updateSearchIndex": update_search_index,
}
