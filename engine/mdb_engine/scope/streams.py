"""Change streams: which events are the app's, and what they are called, decided before its stages.

The oplog is everybody's, so ownership is settled by a `$match` right behind `$changeStream`, and
names are mapped by a `$set` right behind that: what the client's own stages do to an event, or to
its namespace, comes too late to matter, and no reply needs to be trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bson.int64 import Int64

from mdb_engine.exceptions import (
    ChangeStreamShapeError,
    IllegalOperationError,
    InvalidNamespaceError,
    InvalidOptionsError,
    TypeMismatchError,
    UnknownFieldError,
    UnknownStageError,
)
from mdb_engine.rawbson import Array, Document
from mdb_engine.scope.caps import number
from mdb_engine.scope.clauses import conditions
from mdb_engine.scope.joins import Place, Stages
from mdb_engine.scope.model import TAG_FIELD, Scope, Where
from mdb_engine.scope.names import ADMIN, TEMPORARY, prefix, resolve, type_name

OPTIONS: Final = frozenset({
    "allChangesForCluster", "fullDocument", "fullDocumentBeforeChange", "resumeAfter",
    "showExpandedEvents", "startAfter", "startAtOperationTime",
})  # fmt: skip
"""What may be asked of a stream; the server itself accepts several more from anybody (6.0.5)."""

FOLLOWERS: Final = frozenset({
    "$addFields", "$changeStreamSplitLargeEvent", "$match", "$project", "$redact", "$replaceRoot",
    "$replaceWith", "$set", "$unset",
})  # fmt: skip
"""Stages that may come behind `$changeStream`."""

_SPLITS: Final = (7, 0)
"""The first version that splits large events."""

_SERVERS_OWN: Final = "tmp[A-Za-z0-9]*\\."
"""How the server's temporary collections begin: `tmp.agg_out.`, `tmpXXXXX.convertToCapped.`."""

_BUCKETS: Final = "system.buckets."
"""How the collection begins that a time series is stored in."""

_DOCUMENTS: Final = ("fullDocument", "fullDocumentBeforeChange")
_TAGS: Final = [f"{name}.{TAG_FIELD}" for name in (*_DOCUMENTS, "updateDescription.updatedFields")]
_DEFINITIONS: Final = [
    f"{place}.{name}"
    for place in ("operationDescription", "stateBeforeChange.collectionOptions")
    for name in ("pipeline", "validator")
]
"""Parts of expanded events that hold what we put into views and validators."""


def change_stream(value: Any, scope: Scope, where: Where, place: Place) -> Stages:
    """`$changeStream` of a collection, a database or all of the app's own.

    Raises:
        ChangeStreamShapeError: not a document. UnknownFieldError: an option that is not offered.
        InvalidOptionsError, InvalidNamespaceError: the wrong level. IllegalOperationError: it is
        only to be explained, which would show the names of others.
    """
    if not isinstance(value, Document):
        msg = "$changeStream must take a nested object"
        raise ChangeStreamShapeError(msg, str(where))
    for name in value:
        if name not in OPTIONS:
            msg = f"BSON field '$changeStream.{name}' is an unknown field."
            raise UnknownFieldError(msg, str(where.at(name)))
    wide = value.get("allChangesForCluster")
    if wide is not None and not isinstance(wide, bool):
        kind = type_name(wide)
        msg = f"Field 'allChangesForCluster' should be a boolean value, but found: {kind}"
        raise TypeMismatchError(msg, str(where.at("allChangesForCluster")))
    if where.path[0] == "explain" or where.owner.get("explain") is True:
        msg = "a $changeStream cannot be explained"
        raise IllegalOperationError(msg, str(where))
    _check_level(value, where, place)
    where.notes.stream = True
    options = {name: item for name, item in value.items() if name != "allChangesForCluster"}
    source = where.owner.get("aggregate")
    watched = _Watched(scope, where, source if place.guarded else None)
    return [
        {"$changeStream": options},
        {"$match": {"$and": watched.conditions()}},
        {"$set": watched.shown()},
        {"$unset": [*_TAGS, *_DEFINITIONS] if scope.hidden else _DEFINITIONS},
    ]


def split_large_event(value: Any, scope: Scope, where: Where, _place: Place) -> Stages:
    """`$changeStreamSplitLargeEvent`, where the cluster knows it."""
    if scope.features.version < _SPLITS:
        msg = "Unrecognized pipeline stage name: '$changeStreamSplitLargeEvent'"
        raise UnknownStageError(msg, str(where))
    return [{"$changeStreamSplitLargeEvent": value}]


def _check_level(value: Document, where: Where, place: Place) -> None:
    wide = value.get("allChangesForCluster") is True
    if wide and where.db != ADMIN:
        name = where.owner.get("aggregate") if place.guarded else "$cmd.aggregate"
        msg = (
            "A $changeStream with 'allChangesForCluster:true' may only be opened on the 'admin'"
            f" database, and with no collection name; found {where.db}.{name}"
        )
        raise InvalidOptionsError(msg, str(where.at("allChangesForCluster")))
    if where.db == ADMIN and not wide:
        msg = "$changeStream may not be opened on the internal admin database"
        raise InvalidNamespaceError(msg, str(where))


def cluster_wide(command: Mapping[str, Any]) -> bool:
    """Whether an aggregate on the admin database may be a change stream of all own databases."""
    stages = command.get("pipeline")
    first = stages[0] if isinstance(stages, Array) and stages else None
    named = isinstance(first, Document) and first.first == "$changeStream"
    return named and number(command.get("aggregate")) == 1


class _Watched:
    """What one stream may show: the patterns of its names, and the words for them."""

    def __init__(self, scope: Scope, where: Where, collection: Any) -> None:
        self._scope, self._where = scope, where
        self._physical, self._owner = "", scope.slug
        if collection is not None:
            target = resolve(collection, scope, where, write=False)
            self._physical, self._owner = target.physical, target.slug

    def _others(self) -> str:
        """What may not follow `<slug>_`: longer slugs own those names."""
        start = f"{self._owner}_"
        longer = sorted(s.removeprefix(start) for s in self._scope.slugs if s.startswith(start))
        return "".join(f"|{rest}_." for rest in longer)

    def _own(self) -> str:
        """A pattern for every name that the reader may know; of temporaries none."""
        hidden = "@@" if self._owner == self._scope.slug else "@"
        return f"^{self._owner}_(?!{hidden}{self._others()})"

    def _names(self) -> str:
        """A pattern for the names that this stream watches."""
        scope, db = self._scope, self._where.db
        if self._physical:
            return "^" + self._physical.replace(".", "\\.") + "\\z"
        if db == ADMIN:
            return self._own()
        if db in scope.home:
            return f"^{scope.slug}_(?!@{self._others()})"
        return "^" + prefix(scope, db).replace(".", "\\.")

    def _passing(self) -> str:
        """A pattern for what a collection is called until the end of a command that makes it."""
        return f"^(?:{_SERVERS_OWN}|{self._owner}_{TEMPORARY.replace('.', '[.]')})"

    def conditions(self) -> list[dict[str, Any]]:
        """What an event must fulfil to be this app's.

        Updates without a lookup, deletes and definitions carry no document (6.0.5): the
        collection is the app's own, so they are its own too.
        """
        names, sources = self._names(), self._passing()
        if self._physical:
            sources = f"{sources}|{self._own()}"
        shown = [
            {"ns.coll": {"$regex": names}},
            {"to.coll": {"$regex": names}, "ns.coll": {"$regex": sources}},
            {"operationType": "invalidate"},
        ]
        if not self._physical:
            shown.append({"operationType": "dropDatabase"})
        found: list[dict[str, Any]] = [{"$or": shown}]
        since = self._scope.since.get(self._owner)
        if since is not None:
            # Names move, the oplog does not: what is older was somebody else's.
            found.insert(0, {"clusterTime": {"$gt": since}})
        return [*found, *map(self._tagged, _DOCUMENTS)]

    def _tagged(self, name: str) -> dict[str, Any]:
        own = conditions(self._scope, self._where.owner, write=False)
        paths = [{f"{name}.{TAG_FIELD}": each[TAG_FIELD]} for each in own]
        return {"$or": [{name: None}, {"$and": paths}]}

    def shown(self) -> dict[str, Any]:
        """The event's names in the app's words; what is not there stays away."""
        named = {"$cond": [_is("$$name", "string"), self._place("$$name"), {"db": self._home()}]}
        subject = {"$let": {"vars": {"name": self._subject()}, "in": named}}
        known = {"$regexMatch": {"input": "$to.coll", "regex": self._own()}}
        to = {"$cond": [known, self._place("$to.coll"), "$$REMOVE"]}
        described = "$operationDescription"
        view = self._source(f"{described}.viewOn")
        parts = [
            described,
            _if(_is(f"{described}.to", "object"), {"to": to}),
            _if(_is(f"{described}.viewOn", "string"), {"viewOn": view}),
        ]
        return {
            "ns": _if(_is("$ns", "object"), subject),
            "to": _if(_is("$to.coll", "string"), to),
            "operationDescription": _if(_is(described, "object"), {"$mergeObjects": parts}),
        }

    def _source(self, name: str) -> Any:
        """What a view reads; of a time series its buckets."""
        behind = {"$substrBytes": [name, len(_BUCKETS), Int64(-1)]}
        inner = {"$let": {"vars": {"of": behind}, "in": self._collection("$$of")}}
        buckets = {"$eq": [{"$indexOfBytes": [name, _BUCKETS]}, 0]}
        return {"$cond": [buckets, {"$concat": [_BUCKETS, inner]}, self._collection(name)]}

    def _subject(self) -> dict[str, Any]:
        """The name of what an event is about: a temporary collection is what it becomes."""
        passing = {"$regexMatch": {"input": "$ns.coll", "regex": self._passing()}}
        return {"$cond": [passing, "$to.coll", "$ns.coll"]}

    def _place(self, name: str) -> dict[str, Any]:
        return {"db": self._database(name), "coll": self._collection(name)}

    def _collection(self, name: str) -> Any:
        """The logical name of a collection; in a granted scope names are shown as they are."""
        if self._owner != self._scope.slug:
            return name
        dot = {"$indexOfBytes": [name, "."]}
        behind = {"$substrBytes": [name, {"$add": [dot, 1]}, Int64(-1)]}
        bare = {"$substrBytes": [name, len(self._owner) + 1, Int64(-1)]}
        return {"$cond": [self._elsewhere(name), behind, bare]}

    def _elsewhere(self, name: str) -> dict[str, Any]:
        """Whether a name stands in another database than the home."""
        return {"$regexMatch": {"input": name, "regex": f"^{self._owner}_@"}}

    def _home(self) -> dict[str, str]:
        """What the stream calls the home database; of another database's stream, that one."""
        db = self._where.db
        return {"$literal": self._scope.home[0] if db == ADMIN else db}

    def _database(self, name: str) -> Any:
        """The logical database of a physical name; one that is not plain ASCII stays encoded."""
        db, scope = self._where.db, self._scope
        if self._owner != scope.slug:
            return {"$literal": db}
        start = len(scope.slug) + 2
        end = {"$subtract": [{"$indexOfBytes": [name, "."]}, start]}
        other: Any = {"$substrBytes": [name, start, end]}
        home: Any = self._home()
        if db not in (*scope.home, ADMIN):
            here = prefix(scope, db).replace(".", "\\.")
            inside = {"$regexMatch": {"input": name, "regex": f"^{here}"}}
            other, home = {"$cond": [inside, home, other]}, {"$literal": scope.home[0]}
        return {"$cond": [self._elsewhere(name), other, home]}


def _is(path: str, kind: str) -> dict[str, Any]:
    return {"$eq": [{"$type": path}, kind]}


def _if(condition: Any, value: Any) -> dict[str, Any]:
    return {"$cond": [condition, value, "$$REMOVE"]}
