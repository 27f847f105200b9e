"""ALLOWED: differences that docs/differences.md justifies, each as narrow as it can be told."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

import bson
from bson import MaxKey, MinKey

from tests.support.comparing import statistics
from tests.support.twins import Difference
from tests.support.workloads.views import NAMES

Allows = Callable[[Difference], bool]

_LIMIT: Final = re.compile(
    "(?:query|pipeline|regular expression|expression) exceeds the (?:maximum|iteration)"
)
_TAG: Final = re.compile(r'app_id: "lab", |(?:, )?app_id: "lab"')
_TEMPORARY: Final = re.compile(r"(collection: [^.]+\.)tmp\.agg_out\.<uuid>")
_UNSET_TAG: Final = re.compile(r'\{ \$unsetField: \{ field: "app_id", input: ("\$\$\w+") \} \}')
_IN_VIEW: Final = re.compile(r"^Invalid pipeline for view \S+ :: caused by :: ")
_LATE: Final = re.compile(
    r"^(?:(?:PlanExecutor error during aggregation|Executor error during \w+ command"
    r"|error while multiplanner was selecting best plan) :: caused by :: )+"
)
_COMPARED: Final = "error while multiplanner was selecting best plan"
_OPTIMIZED: Final = re.compile("(?:Failed to optimize expression :: caused by :: )+")
_DIGEST: Final = re.compile(r"[0-9a-f-]{36} - [A-Za-z0-9+/]+=* - +- *")
_QUERY: Final = re.compile(r"error processing query: ns=.*\nProj: [^\n]*\n", re.DOTALL)
_NOT_OURS: Final = ("a..b", "$bad")
"""Names of workloads that the server takes, or refuses in other words elsewhere."""

_LOOSE: Final = frozenset({
    "collStats", "collstats", "convertToCapped", "dataSize", "dbStats", "findAndModify",
    "findandmodify", "validate",
})  # fmt: skip
"""Commands that pass over fields, or some fields, that they do not know (6.0.5)."""


def name(difference: Difference) -> str:
    """Give the command's name."""
    return next(iter(difference.step.command))


def refused_by_both(difference: Difference) -> bool:
    return not difference.private.get("ok") and not difference.ours.get("ok")


def _error(reply: Mapping[str, Any]) -> str:
    return str(reply.get("errmsg", ""))


def limits(difference: Difference) -> bool:
    return "at" in difference.ours and _LIMIT.match(_error(difference.ours)) is not None


def planner(difference: Difference) -> bool:
    """The same error, behind the query that was planned."""
    private, ours = (_error(r) for r in (difference.private, difference.ours))
    behind = [_QUERY.sub("", _LATE.sub("", text)) for text in (private, ours)]
    if behind[0] == behind[1] and _QUERY.search(private) is not None:
        return True
    views = [_without_queries(view) for view in difference.views]
    return views[0] == views[1] and "planner returned error" in str(difference.private)


def _without_queries(value: Any) -> Any:
    if isinstance(value, dict):
        return {n: _without_queries(v) for n, v in value.items()}
    if isinstance(value, list):
        return [_without_queries(item) for item in value]
    start = "error processing query"
    return start if isinstance(value, str) and value.startswith(start) else value


_OF_NAMES: Final[Mapping[str, tuple[int, ...]]] = {
    "aggregate": (26, 166, 167),
    "collMod": (26, 72, 166, 167),
    "create": (48, 72),
}
"""Codes for what is there, is not, or has another kind, of commands that find out late."""


def several_mistakes(difference: Difference) -> bool:
    """A definition of what is there already, or is not, has another one."""
    step = difference.step
    defines = step.view == "stream" or name(difference) != "aggregate"
    codes = _OF_NAMES.get(name(difference), ()) if defines else ()
    there = any(reply.get("code") in codes for reply in (difference.private, difference.ours))
    return _both_refuse(difference) and step.mistakes + bool(there) > 1


def _both_refuse(difference: Difference) -> bool:
    """The same statements, or all of them by a rule."""
    private, ours = difference.private, difference.ours
    statements = [
        [error.get("index") for error in reply.get("writeErrors", ())] for reply in (private, ours)
    ]
    if ours.get("ok"):
        return statements[0] == statements[1] != []
    return not private.get("ok") or ("at" in ours and bool(statements[0]))


def elided(difference: Difference) -> bool:
    """The same code and text, but for what is written `{...}`, or how the tag is kept out."""
    private, ours = difference.private, difference.ours
    views = [_UNSET_TAG.sub(r"\1", str(view)) for view in difference.views]
    if views[0] == views[1]:
        return True
    if private.get("code") != ours.get("code") or "at" not in ours:
        return False
    pattern = re.escape(_error(ours))
    for short in ("{...}", "[...]"):
        pattern = pattern.replace(re.escape(short), ".*")
    return re.fullmatch(pattern, _error(private), re.DOTALL) is not None


def unknown_fields(difference: Difference) -> bool:
    return name(difference) in _LOOSE and difference.ours.get("code") == 40415


def names(difference: Difference) -> bool:
    ours = difference.ours
    return difference.step.command[name(difference)] in _NOT_OURS and ours.get("code") == 73


def system_names(difference: Difference) -> bool:
    """Only what the server keeps for itself, or its number, is missing."""
    views = [_without_system(difference, reply) for reply in (difference.private, difference.ours)]
    return views[0] is not None and views[0] == views[1]


def _without_system(difference: Difference, reply: dict[str, Any]) -> Any:
    if name(difference) == "dbStats":
        counted = ("collections", "indexes", "objects", "views")
        return {n: v for n, v in statistics(reply).items() if n not in counted}
    if name(difference) != "listCollections" or not reply.get("ok"):
        return None
    found = reply["cursor"]["firstBatch"]
    return sorted(item["name"] for item in found if not item["name"].startswith("system."))


def may_stay_open(difference: Difference) -> bool:
    """The same, but that one of them has noticed that nothing is left."""
    replies = [dict(r) for r in (difference.private, difference.ours)]
    if name(difference) == "getMore" and replies[1].get("code") == 43:
        return bool(replies[0].get("ok")) and not _documents(replies[0])
    cursors = [r.get("cursor") for r in replies]
    if not all(isinstance(c, dict) for c in cursors) or not any(c["id"] == 0 for c in cursors):
        return False
    return _documents(difference.views[0]) == _documents(difference.views[1])


def _documents(reply: dict[str, Any]) -> list[bytes]:
    cursor = reply["cursor"]
    return [bson.encode(item) for item in cursor.get("firstBatch", cursor.get("nextBatch"))]


def engine_codes(difference: Difference) -> bool:
    """The very same words, perhaps under two codes, or found while plans were compared.

    Comparing plans may meet what a later batch would, or nobody, as no later one is asked for.
    """
    if _COMPARED in _error(difference.ours) and difference.private.get("ok"):
        return bool(difference.views[0].get("cursor", {}).get("id"))
    both = [_error(r) for r in (difference.private, difference.ours)]
    private, ours = (_LATE.sub("", text) for text in both)
    late = any(map(_LATE.match, both))
    codes = frozenset(reply.get("code", 0) for reply in (difference.private, difference.ours))
    return late and (private == ours != "" or codes in _OF_BOTH_ENGINES)


_OF_BOTH_ENGINES: Final = (frozenset({5687301, 5687400}), frozenset({5687302, 5687401}))
"""`$tsSecond` and `$tsIncrement` of no timestamp: the one says of what type it is (6.0.5)."""


def optimized(difference: Difference) -> bool:
    """The same words, one of them repeated as often as conditions stand in one another."""
    if "Failed to optimize expression" not in str(difference.private):
        return False
    views = [_OPTIMIZED.sub("", str(view)) for view in difference.views]
    return views[0] == views[1]


def without_digest(difference: Difference) -> bool:
    text = _DIGEST.sub("", _error(difference.private))
    return text != _error(difference.private) and _number(text) == _number(_error(difference.ours))


def open_orders(difference: Difference) -> bool:
    """The same elements of arrays, the same error of another document."""
    errors = [
        _error(r).partition("Input document")[0] for r in (difference.private, difference.ours)
    ]
    if refused_by_both(difference):
        return errors[0] == errors[1] and "Input document" in _error(difference.private)
    if "PlanExecutor error" in "".join(errors):
        # Which of several conditions is looked at first, on which documents.
        return "$match" in str(difference.step.command) or "filter" in difference.step.command
    stages = str(difference.step.command.get("pipeline"))
    loose = any(stage in stages for stage in _LOOSE_STAGES)
    if "$indexStats" in stages:
        return True  # there is nothing to sort its documents by
    if "$sample" in stages or _first_of_any(difference.step.command.get("pipeline")):
        return loose and _same_shapes(difference.views)
    return loose and _same_elements(difference.views)


def _first_of_any(pipeline: Any) -> bool:
    """Whether a stage chooses by an order that one in front of it leaves open."""
    loose = False
    for stage in pipeline if isinstance(pipeline, list) else ():
        if loose and any(each in str(stage) for each in _CHOOSING):
            return True
        loose |= isinstance(stage, dict) and not _LOOSE_STAGES.isdisjoint(stage)
    return False


_CHOOSING: Final = ("$first", "$last", "$mergeObjects")


def _same_shapes(views: list[dict[str, Any]]) -> bool:
    """As many documents with the same fields."""
    shapes = [
        sorted(str(list(document)) for document in view.get("cursor", {}).get("firstBatch", ()))
        for view in views
    ]
    return shapes[0] == shapes[1] != []


def _same_elements(views: list[dict[str, Any]]) -> bool:
    return _bytes(_sorted(views[0])) == _bytes(_sorted(views[1]))


_LOOSE_STAGES: Final = frozenset({
    "$bucket", "$graphLookup", "$group", "$indexStats", "$lookup", "$setUnion", "$sortByCount",
})  # fmt: skip


def _bytes(value: dict[str, Any]) -> bytes:
    return bson.encode(value)


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {n: _sorted(v) for n, v in value.items()}
    if isinstance(value, list):
        return sorted(map(_sorted, value), key=lambda item: bson.encode({"": item}))
    return value


def extreme_keys(difference: Difference) -> bool:
    """A fault of the server's (6.0.5): between its two engines they are put into a document."""
    asked = str(difference.step.command)
    loose = name(difference) == "getMore" or any(stage in asked for stage in _CROSSING)
    views = [_bare(view) for view in difference.views]
    # A cursor's command does not say what is computed.
    sized = name(difference) == "getMore" or "$bsonSize" in str(difference.step.command)
    if sized and views != difference.views:
        views = [_unsized(view) for view in views]
    return loose and _same_elements(views)


_CROSSING: Final = ("$bucket", "$group", "$lookup", "$sortByCount")


def _unsized(value: Any) -> Any:
    """What is left where sizes of documents are told, and one has such a fault."""
    if isinstance(value, dict):
        return {n: _unsized(v) for n, v in value.items()}
    if isinstance(value, list):
        return list(map(_unsized, value))
    return 0 if isinstance(value, int) else value


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        if list(value) == [""] and isinstance(value[""], MinKey | MaxKey):
            return value[""]
        return {n: _bare(v) for n, v in value.items()}
    return list(map(_bare, value)) if isinstance(value, list) else value


def whole_counts(difference: Difference) -> bool:
    """The server counts what open transactions have written, too."""
    return name(difference) == "count" and _says_nothing(difference.step.command.get("query"))


def _says_nothing(query: Any) -> bool:
    """Whether every document fits a query, as the server sees it before it plans."""
    if not isinstance(query, dict) or not query:
        return not query
    parts = query.get("$and", query.get("$or"))
    return len(query) == 1 and isinstance(parts, list) and all(map(_says_nothing, parts))


def missing_values(difference: Difference) -> bool:
    """The server takes the keys of an index for values when it only reads that."""
    if name(difference) != "distinct" or not difference.private.get("ok"):
        return False
    found = [set(_keys(view.get("values", ()))) for view in difference.views]
    return bool(difference.ours.get("ok")) and found[0] == found[1]


def _keys(values: Iterable[Any]) -> Iterator[str]:
    """What is left of values in an index: a null for nothing, the elements of arrays."""
    for value in values:
        if isinstance(value, list):
            yield from _keys(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield str(Decimal(value + 0).normalize())
        elif value is not None:
            yield str(value)


def rebuilt(difference: Difference) -> bool:
    """Only the number of changed documents differs, and pipelines changed some."""
    statements = difference.step.command.get("updates", ())
    if not isinstance(statements, list) or not any(
        isinstance(s.get("u"), list) for s in statements
    ):
        return False
    found = [{n: v for n, v in view.items() if n != "nModified"} for view in difference.views]
    return _bytes(found[0]) == _bytes(found[1])


def temporaries(difference: Difference) -> bool:
    private, ours = (v.get("errmsg", "") for v in difference.views)
    same = _TEMPORARY.sub(r"\1?", private) == re.sub(r"(collection: [^.]+\.)\S+", r"\1?", ours)
    return "tmp.agg_out" in private and same


def wildcard_keys(difference: Difference) -> bool:
    """The tag stands in an index on everything."""
    replies = [dict(statistics(r)) for r in (difference.private, difference.ours)]
    keys = [r.pop("keysPerIndex", {}) for r in replies]
    for found in keys:
        found.pop("wild", None)
        found.pop("all_text", None)
    return name(difference) == "validate" and replies[0] == replies[1] and keys[0] == keys[1]


def _number(text: str) -> str:
    return re.sub(r"cursor \d+", "cursor #", text)


def first_on_a_view(difference: Difference) -> bool:
    asked = str(difference.step.command)
    return difference.ours.get("code") in (17313, 40602, 40603) and any(v in asked for v in NAMES)


def null_time(difference: Difference) -> bool:
    command = difference.step.command
    null = "maxTimeMS" in command and command["maxTimeMS"] is None
    return null and command.get("aggregate") in NAMES and refused_by_both(difference)


def view_text(difference: Difference) -> bool:
    """Without where it was, or another one of several ways that a view has to itself."""
    private, ours = (_error(view) for view in difference.views)
    same = difference.private.get("code") == difference.ours.get("code")
    cycles = all(text.startswith("View cycle detected: ") for text in (private, ours))
    return same and (cycles or _IN_VIEW.sub("", private) == ours != private)


def size_of_a_series(difference: Difference) -> bool:
    asked = {"cappedMax", "cappedSize"} & difference.step.command.keys()
    return bool(asked) and difference.ours.get("code") == 72


def misplaced_in_view(difference: Difference) -> bool:
    defines = name(difference) in ("create", "collMod")
    return defines and difference.ours.get("code") == 40603


def slice_of_view(difference: Difference) -> bool:
    """A projection that no aggregation takes, as the reader of a view must."""
    projection = str(difference.step.command.get("projection"))
    found = name(difference) == "find" and "$slice" in projection
    return found and refused_by_both(difference) and difference.ours.get("code") == 31254


def only_computed(difference: Difference) -> bool:
    """A projection of nothing but `$meta` shows the other fields of a view, too."""
    projection = difference.step.command.get("projection")
    if difference.step.command.get("find") not in NAMES or not isinstance(projection, dict):
        return False
    if {str(list(one)) for one in projection.values() if isinstance(one, dict)} != {"['$meta']"}:
        return False
    if not difference.private.get("ok") or not difference.ours.get("ok"):
        return False
    private, ours = (view["cursor"]["firstBatch"] for view in difference.views)
    less = [{n: v for n, v in o.items() if n in p} for p, o in zip(private, ours, strict=False)]
    return len(private) == len(ours) and str(list(map(_ordered, less))) == str(
        list(map(_ordered, private))
    )


def _ordered(document: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(document.items(), key=lambda field: field[0])


def told_changes(difference: Difference) -> bool:
    """The same changes, as `update` or as `replace`; several of one command in another order.

    A document that was only rebuilt has one more.
    """
    if difference.step.view != "events":
        return False
    # As texts: what is not a number equals nothing.
    private, ours = (
        Counter(str(_change(event)) for event in view.get("events", ()))
        for view in difference.views
    )
    return private <= ours and all(text.startswith("('changed'") for text in ours - private)


def _change(event: Mapping[str, Any]) -> Any:
    if event.get("operationType") not in ("update", "replace"):
        return event
    return "changed", event.get("documentKey"), event.get("ns")


def shown_keys(difference: Difference) -> bool:
    """As many keys, of any index."""
    command = difference.step.command
    both = difference.private.get("ok") and difference.ours.get("ok")
    if not both or name(difference) != "find" or command.get("returnKey") is not True:
        return False
    private, ours = (view["cursor"]["firstBatch"] for view in difference.views)
    fields = {field for document in ours for field in document}
    return len(private) == len(ours) and fields <= KEYS


KEYS: Final = frozenset({
    "$_path", "$recordId", "_fts", "_ftsx", "_id", "a", "app_id", "d", "g", "items.k", "loc", "n",
    "s", "sub.x", "sub.y", "t",
})  # fmt: skip
"""Fields of indexes that workloads make, those of wildcards included."""


def sort_keys(difference: Difference) -> bool:
    """A fault of the server's (6.0.5): none behind `$unset`, nor an error for want of a sort."""
    if "'$meta': 'sortKey'" not in str(difference.step.command.get("pipeline")):
        return False
    if _error(difference.private) == _UNSORTED:
        return True
    return _same_elements([_without_keys(view) for view in difference.views])


_UNSORTED: Final = "cannot use sortKey $meta projection without a sort"


def _without_keys(value: Any) -> Any:
    """Workloads call them `q`."""
    if isinstance(value, dict):
        return {n: [] if n == "q" else _without_keys(v) for n, v in value.items()}
    return list(map(_without_keys, value)) if isinstance(value, list) else value


def shown_databases(difference: Difference) -> bool:
    """One side shows the empty home, the other one where the definitions of views were."""
    both = difference.private.get("ok") and difference.ours.get("ok")
    if name(difference) != "listDatabases" or not both:
        return False
    private, ours = (
        {item["name"]: item for item in reply["databases"]}
        for reply in (difference.private, difference.ours)
    )
    more = [item for n, item in ours.items() if n not in private]
    less = [item for n, item in private.items() if n not in ours]
    return all(item.get("empty", True) for item in more) and all(
        item.get("sizeOnDisk", 0) <= VIEWS_BYTES for item in less
    )


VIEWS_BYTES: Final = 65_536
"""More than a collection of a few definitions takes."""


def ended(difference: Difference) -> bool:
    """A transaction that one side ended when it refused a statement, or never began."""
    codes = {reply.get("code", 0) for reply in (difference.private, difference.ours)}
    return name(difference) in ("abortTransaction", "commitTransaction") and codes <= {0, 251}


def forbidden(difference: Difference) -> bool:
    text = "$where is not allowed in this context"
    return "at" in difference.ours and _error(difference.ours) == text


def explained(difference: Difference) -> bool:
    both = (difference.private, difference.ours)
    asked = name(difference) == "explain" or "explain" in difference.step.command
    return asked and all(r.get("ok") for r in both)


def stored_text(difference: Difference) -> bool:
    """The same, where a text shows the stored document, tag included."""
    private, ours = map(_without_tag, difference.views)
    return bool(private == ours)


def _without_tag(value: Any) -> Any:
    if isinstance(value, dict):
        return {n: _without_tag(v) for n, v in value.items()}
    if isinstance(value, list):
        return [_without_tag(item) for item in value]
    return _TAG.sub("", value) if isinstance(value, str) else value


ALLOWED: Final[Mapping[str, Allows]] = {
    "limits of one query": limits,
    "several mistakes in one command": several_mistakes,
    "texts of planner errors, `explain`": lambda d: planner(d) or explained(d) or optimized(d),
    "`allowDiskUse: true`": lambda d: _error(d.ours) == "allowDiskUse is not supported",
    "`noCursorTimeout`": lambda d: d.private.get("code") == 168,
    "orders that the server leaves open": open_orders,
    "`MinKey` and `MaxKey` behind `$lookup` and `$group`": extreme_keys,
    "`count` without a query": whole_counts,
    "`distinct` over an index": missing_values,
    "`nModified` of a pipeline update that rebuilds the document without changing it": rebuilt,
    "names of the server's temporary collections": temporaries,
    "joins on documents with names that begin with `$`": lambda d: (
        "cannot nest $ under" in _error(d.ours)
    ),
    "indexes on every field": wildcard_keys,
    "texts that repeat an operand": elided,
    "texts that show a stored document": stored_text,
    "names of collections": names,
    "fields that a command does not know": unknown_fields,
    "a batch with a forbidden operator": forbidden,
    "`listCollections`": system_names,
    "`listDatabases`": shown_databases,
    "`returnKey`": shown_keys,
    '`$meta: "sortKey"` in a pipeline': sort_keys,
    "texts that name the buckets of a time series": lambda d: (
        _error(d.views[0]).replace("system.buckets.", "") == _error(d.views[1]) != ""
    ),
    "`maxTimeMS: null` of an `aggregate` on a view": null_time,
    "`$geoNear`, `$indexStats`, `$text` first on a view with an empty pipeline": first_on_a_view,
    "`cappedSize`, `cappedMax` of a time series": size_of_a_series,
    "texts of refused view definitions": view_text,
    "change streams: `update` or `replace`": told_changes,
    "`create`, `collMod` of a view": lambda d: _error(d.ours).startswith("Must specify both"),
    "a view whose `$geoNear` is not first": misplaced_in_view,
    "`find` on a view with a `$slice` that only `find` knows": slice_of_view,
    "`find` on a view with a projection of `$meta` alone": only_computed,
    "a cursor whose last document was just read": may_stay_open,
    "codes of errors in expressions": engine_codes,
    "texts that show the id of a session": without_digest,
    "a statement that is refused inside a transaction": ended,
    "`getLastError`": lambda d: name(d) == "getLastError",
}
"""Row of docs/differences.md -> whether it is what is seen."""


def allowed(difference: Difference) -> str:
    """Give the row that allows a difference; "" when none does."""
    return next((row for row, allows in ALLOWED.items() if allows(difference)), "")
