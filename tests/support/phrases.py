"""A case row's command in the words of an SDK method, where there is one that can say it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mdb_engine.database import ScopedDatabase
from mdb_engine.database.forms import handed
from mdb_engine.rawbson import encode, walk
from tests.support.cases import Case

Said = Callable[[ScopedDatabase], Awaitable[Any]]
Fields = dict[str, Any]


def given(fields: Mapping[str, Any], names: Mapping[str, str]) -> Fields:
    """Arguments of a method from fields of a command."""
    return {names[name]: handed(value) for name, value in fields.items() if name in names}


FIND = {
    "allowDiskUse": "allow_disk_use", "allowPartialResults": "allow_partial_results",
    "batchSize": "batch_size", "collation": "collation", "comment": "comment", "filter": "filter",
    "hint": "hint", "let": "let", "limit": "limit", "max": "max", "maxTimeMS": "max_time_ms",
    "min": "min", "projection": "projection", "returnKey": "return_key",
    "showRecordId": "show_record_id", "skip": "skip", "sort": "sort",
}  # fmt: skip
AGGREGATE = {
    "allowDiskUse": "allowDiskUse", "collation": "collation", "comment": "comment",
    "hint": "hint", "let": "let", "maxTimeMS": "maxTimeMS",
    "bypassDocumentValidation": "bypassDocumentValidation",
}  # fmt: skip
DISTINCT = {
    "collation": "collation", "comment": "comment", "hint": "hint", "maxTimeMS": "maxTimeMS",
    "query": "filter",
}  # fmt: skip
STATEMENT = {
    "arrayFilters": "array_filters", "collation": "collation", "hint": "hint", "sort": "sort",
    "upsert": "upsert",
}  # fmt: skip
WRITE = {"bypassDocumentValidation": "bypass_document_validation", "comment": "comment"}
LET = {"let": "let"}
MODIFY = {
    "arrayFilters": "array_filters", "collation": "collation", "comment": "comment",
    "fields": "projection", "hint": "hint", "let": "let", "maxTimeMS": "maxTimeMS",
    "new": "return_document", "sort": "sort", "upsert": "upsert",
    "bypassDocumentValidation": "bypassDocumentValidation",
}  # fmt: skip
MODIFY_DELETE = {n: MODIFY[n] for n in ("collation", "comment", "fields", "hint", "let", "sort")}
MODIFY_DELETE["maxTimeMS"] = "maxTimeMS"


def _find(command: Fields) -> Said | None:
    if not command.keys() <= {"find", "singleBatch", *FIND} or not isinstance(command["find"], str):
        return None
    arguments = given(command, FIND)
    if "singleBatch" in command:
        if command["singleBatch"] is not True or not isinstance(arguments.get("limit"), int):
            return None
        arguments["limit"] = -arguments["limit"]
    if any(type(arguments.get(name, 0)) is not int for name in ("limit", "skip", "batch_size")):
        return None
    return lambda db: db[command["find"]].find(**arguments).to_list()


def _aggregate(command: Fields) -> Said | None:
    cursor, target = command.get("cursor"), command["aggregate"]
    known = {"aggregate", "pipeline", "cursor", *AGGREGATE}
    if not command.keys() <= known or not isinstance(command.get("pipeline"), list):
        return None
    if not isinstance(cursor, dict) or not cursor.keys() <= {"batchSize"}:
        return None
    if target != 1 and not isinstance(target, str):
        return None
    arguments = given(command, AGGREGATE) | cursor
    pipeline = handed(command["pipeline"])
    if any(isinstance(stage, Mapping) and "$changeStream" in stage for stage in pipeline):
        return None

    async def say(db: ScopedDatabase) -> Any:
        place = db if target == 1 else db[target]
        return await place.aggregate(pipeline, **arguments).to_list()

    return say


def _distinct(command: Fields) -> Said | None:
    if not command.keys() <= {"distinct", "key", *DISTINCT} or "key" not in command:
        return None
    arguments = given(command, DISTINCT)
    return lambda db: db[command["distinct"]].distinct(handed(command["key"]), **arguments)


def _insert(command: Fields) -> Said | None:
    documents = command.get("documents")
    if not command.keys() <= {"insert", "documents", "ordered", *WRITE} or not documents:
        return None
    if not all(isinstance(each, Mapping) for each in documents):
        return None
    arguments, many = given(command, {**WRITE, "ordered": "ordered"}), handed(documents)
    return lambda db: db[command["insert"]].insert_many(many, **arguments)


def _one(command: Fields, name: str, known: set[str]) -> Fields | None:
    """The only statement of a command that has no other fields than these."""
    found = command.get(name)
    if not command.keys() <= {next(iter(command)), name, *WRITE, "let", "ordered"}:
        return None
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], Mapping):
        return None
    return dict(found[0]) if found[0].keys() <= known and "q" in found[0] else None


def _update(command: Fields) -> Said | None:
    one = _one(command, "updates", {"q", "u", "multi", *STATEMENT})
    if one is None or "ordered" in command or not isinstance(one.get("u"), Mapping | list):
        return None
    arguments = given(command, WRITE | LET) | given(one, STATEMENT)
    change = one["u"]
    replaces = is_replacement(change)
    kind = "replace_one" if replaces else "update_many" if one.get("multi") else "update_one"
    if (replaces and one.get("multi")) or (kind == "update_many" and "sort" in one):
        return None
    query, change = handed(one["q"]), handed(change)
    return lambda db: getattr(db[command["update"]], kind)(query, change, **arguments)


def _delete(command: Fields) -> Said | None:
    one = _one(command, "deletes", {"q", "limit", "collation", "hint"})
    if one is None or "ordered" in command or "bypassDocumentValidation" in command:
        return None
    if one.get("limit") not in (0, 1):
        return None
    names = {"comment": "comment", "let": "let"}
    arguments = given(command, names) | given(one, {"collation": "collation", "hint": "hint"})
    kind = "delete_one" if one["limit"] else "delete_many"
    return lambda db: getattr(db[command["delete"]], kind)(handed(one["q"]), **arguments)


def _modify(command: Fields) -> Said | None:
    if "query" not in command or next(iter(command)) != "findAndModify":
        return None
    removes, change = command.get("remove") is True, command.get("update")
    names = MODIFY_DELETE if removes else MODIFY
    own = {"findAndModify", "query", "remove"} if removes else {"findAndModify", "query", "update"}
    if not command.keys() <= own | set(names) or (change is None) is not removes:
        return None
    arguments, query = given(command, names), handed(command["query"])
    target = command["findAndModify"]
    if removes:
        return lambda db: db[target].find_one_and_delete(query, **arguments)
    replaces = is_replacement(change)
    kind = "find_one_and_replace" if replaces else "find_one_and_update"
    return lambda db: getattr(db[target], kind)(query, handed(change), **arguments)


def is_replacement(change: Any) -> bool:
    """Whether an update puts another document in place."""
    if not isinstance(change, Mapping):
        return False
    first = next(walk(encode(change)), None)
    return first is None or not first.name.startswith(b"$")


METHODS: Mapping[str, Callable[[Fields], Said | None]] = {
    "aggregate": _aggregate,
    "delete": _delete,
    "distinct": _distinct,
    "find": _find,
    "findAndModify": _modify,
    "insert": _insert,
    "update": _update,
}


def nulls(command: Fields) -> bool:
    """Whether some option is null, negative or of a type that Python's methods do not take."""
    statements = [s for n in ("updates", "deletes") for s in listed(command.get(n))]
    options = [v for s in statements for v in dict(s).values()] + list(command.values())
    limit, shown = command.get("limit"), command.get("projection", {})
    odd = isinstance(limit, int) and limit < 0
    return odd or not isinstance(shown, Mapping) or any(value is None for value in options)


def listed(value: Any) -> list[Any]:
    items = value if isinstance(value, list) else []
    return [item for item in items if type(item) is dict]


def by_method(case: Case) -> Said | None:
    """The row's command by a method of the SDK; None: no method can say it."""
    command = {name: value for name, value in case.command.items() if name != "$db"}
    method = METHODS.get(next(iter(command), ""))
    if method is None or case.command.get("$db") != case.scope.home[0] or case.opened:
        return None
    if nulls(command):
        return None
    named = command[next(iter(command))]
    if not isinstance(named, str | int) or isinstance(named, bool):
        return None
    return method(command)


def by_command(case: Case) -> Said | None:
    """The row's command by `db.command`."""
    if case.command.get("$db") != case.scope.home[0] or case.opened:
        return None
    fields = {n: handed(value) for n, value in case.command.items() if n != "$db"}
    if "lsid" in fields or any(value is None for value in fields.values()):
        return None
    return lambda db: db.command(fields)


def plain_names(command: Mapping[str, Any]) -> dict[str, Any]:
    """What a command says, without what the driver says of itself."""
    own = {"$clusterTime", "$db", "$readPreference", "lsid", "txnNumber"}
    return {name: value for name, value in command.items() if name not in own}
