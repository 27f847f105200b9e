"""Methods that read: find, aggregate, count, distinct, watch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pymongo import CursorType

from mdb_engine.database import forms
from mdb_engine.database.cursors import ScopedCommandCursor, ScopedCursor, tail_fields
from mdb_engine.database.face import Face
from mdb_engine.database.sessions import ScopedSession
from mdb_engine.database.streams import ScopedChangeStream, watching

AGGREGATE: Final[Mapping[str, str]] = {
    "allowDiskUse": "allowDiskUse",
    "allow_disk_use": "allowDiskUse",
    "batchSize": "batchSize",
    "batch_size": "batchSize",
    "bypassDocumentValidation": "bypassDocumentValidation",
    "bypass_document_validation": "bypassDocumentValidation",
    "collation": "collation",
    "hint": "hint",
    "maxTimeMS": "maxTimeMS",
    "max_time_ms": "maxTimeMS",
}
"""Keyword arguments of `aggregate()` and their kin, in both spellings -> the command's field."""


def known(options: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Options by the names of the command.

    Raises:
        TypeError: one that the method does not have.
    """
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name not in AGGREGATE:
            msg = f"{method}() got an unexpected keyword argument {name!r}"
            raise TypeError(msg)
        found[AGGREGATE[name]] = value
    forming = {"collation": forms.collated, "hint": forms.hinted}
    return {n: forming[n](value) if n in forming else value for n, value in found.items()}


def aggregation(
    source: str | int, pipeline: Any, let: Any, comment: Any, options: Mapping[str, Any]
) -> dict[str, Any]:
    """The logical command of `aggregate()`."""
    fields = known(options, "aggregate") if options else {}
    size = fields.pop("batchSize", None)
    cursor = {} if size is None else {"batchSize": size}
    return {
        "aggregate": source,
        "pipeline": forms.stages(pipeline),
        "cursor": cursor,
        "let": let,
        "comment": comment,
        **fields,
    }


class Reading(Face):
    """The reading half of a collection."""

    __slots__ = ()

    def find(
        self,
        filter: Mapping[str, Any] | None = None,
        projection: Any = None,
        skip: int = 0,
        limit: int = 0,
        no_cursor_timeout: bool = False,
        cursor_type: int = CursorType.NON_TAILABLE,
        sort: Any = None,
        allow_partial_results: bool = False,
        oplog_replay: bool = False,
        batch_size: int = 0,
        collation: Any = None,
        return_key: bool | None = None,
        show_record_id: bool | None = None,
        hint: Any = None,
        max_time_ms: int | None = None,
        max: Any = None,
        min: Any = None,
        session: ScopedSession | None = None,
        allow_disk_use: bool | None = None,
        let: Any = None,
        comment: Any = None,
        *,
        maxTimeMS: int | None = None,  # noqa: N803 - MongoDB's own name
    ) -> ScopedCursor:
        """Documents that fit a filter; what is not allowed is refused here, before any I/O.

        Raises:
            RefusedError: the kernel refuses it.
        """
        fields = {
            "find": self._name,
            "filter": {} if filter is None else filter,
            "projection": forms.projected(projection) or None,
            "skip": skip or None,
            "limit": limit,
            "sort": forms.keys(sort),
            "allowPartialResults": allow_partial_results or None,
            "batchSize": batch_size or None,
            "collation": forms.collated(collation),
            "returnKey": return_key,
            "showRecordId": show_record_id,
            "hint": forms.hinted(hint),
            "maxTimeMS": max_time_ms if maxTimeMS is None else maxTimeMS,
            "max": forms.keys(max),
            "min": forms.keys(min),
            "allowDiskUse": allow_disk_use,
            "let": let,
            "comment": comment,
            **tail_fields(cursor_type),
        }
        return ScopedCursor(self._rim, self._bare, fields, self._options, session)

    async def find_one(self, filter: Any = None, *args: Any, **kwargs: Any) -> Any:
        """The first document that fits, or None; a filter that is no document is an `_id`."""
        if not args and not kwargs:
            work = self._bare.find_one(filter, None)
            if work is not None:
                return await work
        if filter is not None and not isinstance(filter, Mapping):
            return await self.find_one({"_id": filter}, *args, **kwargs)
        found = await self.find(filter, *args, **kwargs | {"limit": -1}).to_list(1)
        return found[0] if found else None

    def aggregate(
        self,
        pipeline: Any,
        session: ScopedSession | None = None,
        let: Any = None,
        comment: Any = None,
        **kwargs: Any,
    ) -> ScopedCommandCursor:
        """The result of a pipeline; works with and without `await`.

        Raises:
            RefusedError: the kernel refuses it.
        """
        fields = aggregation(self._name, pipeline, let, comment, kwargs)
        opener = self._bare.aggregate(fields, session)
        return ScopedCommandCursor(self._rim, self._request("aggregate", fields, session), opener)

    async def count_documents(
        self,
        filter: Mapping[str, Any],
        session: ScopedSession | None = None,
        comment: Any = None,
        skip: int | None = None,
        limit: int | None = None,
        **kwargs: Any,
    ) -> int:
        """How many documents fit."""
        if skip is None and limit is None and comment is None and not kwargs:
            work = self._bare.count(filter, session)
            if work is not None:
                return int(await work)
        pipeline: list[dict[str, Any]] = [{"$match": filter}]
        pipeline += [{"$skip": skip}] if skip is not None else []
        pipeline += [{"$limit": limit}] if limit is not None else []
        pipeline.append({"$group": {"_id": 1, "n": {"$sum": 1}}})
        fields = aggregation(self._name, pipeline, None, comment, kwargs)
        cursor = ScopedCommandCursor(self._rim, self._request("aggregate", fields, session))
        found = await cursor.to_list(1)
        return int(found[0]["n"]) if found else 0

    async def estimated_document_count(self, comment: Any = None, **kwargs: Any) -> int:
        """How many documents there are; exact here, since each is looked at."""
        options = known(kwargs, "estimated_document_count")
        reply = await self._run({"count": self._name, "comment": comment, **options})
        return int(reply["n"])

    async def distinct(
        self,
        key: str,
        filter: Mapping[str, Any] | None = None,
        session: ScopedSession | None = None,
        comment: Any = None,
        hint: Any = None,
        **kwargs: Any,
    ) -> list[Any]:
        """The values of a field in the documents that fit."""
        options = known(kwargs, "distinct")
        fields = {"distinct": self._name, "key": key, "query": filter, "comment": comment}
        fields |= {"hint": forms.hinted(hint), **options}
        found: list[Any] = await self._ask("distinct", fields, session)
        return found

    def watch(self, pipeline: Any = None, **kwargs: Any) -> ScopedChangeStream:
        """What changes in the collection; PyMongo's options, with and without `await`.

        Raises:
            RefusedError: the kernel refuses it.
        """
        return watching(self._rim, self._options, self._name, pipeline, kwargs)
