"""Bulk writes: PyMongo's requests as statements of logical commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError, InvalidOperation

from mdb_engine.database import forms
from mdb_engine.database.forms import Codec
from mdb_engine.rawbson import Document

LIST_FIELDS: Final[Mapping[str, str]] = {
    "delete": "deletes",
    "insert": "documents",
    "update": "updates",
}


@dataclass(slots=True)
class Group:
    """Requests of one kind that follow each other: the statements of one command.

    Attributes:
        kind: "insert", "update" or "delete".
    """

    kind: str
    statements: list[Any] = field(default_factory=list)

    @property
    def fields(self) -> dict[str, Any]:
        """The statements as a field of the command."""
        return {} if self.kind == "insert" else {LIST_FIELDS[self.kind]: self.statements}

    @property
    def batch(self) -> dict[str, list[Document]]:
        """The documents to store."""
        return {"documents": self.statements} if self.kind == "insert" else {}

    def let(self, value: Any) -> Any:
        """Variables, for the kinds of command that know any."""
        return None if self.kind == "insert" else value


@dataclass(slots=True)
class Recorder:
    """What PyMongo's requests write themselves into, in place of a bulk operation of the driver.

    Attributes:
        originals: each request as the caller wrote it, for errors.
    """

    codec: Codec
    groups: list[Group] = field(default_factory=list)
    originals: list[Any] = field(default_factory=list)

    def _add(self, kind: str, statement: Any, original: Any) -> None:
        if not self.groups or self.groups[-1].kind != kind:
            self.groups.append(Group(kind))
        self.groups[-1].statements.append(statement)
        self.originals.append(original)

    def add_insert(self, document: Any) -> None:
        """A document to store; it gets an `_id` in the caller's hands."""
        if not isinstance(document, RawBSONDocument) and "_id" not in document:
            document["_id"] = ObjectId()
        self._add("insert", forms.document(document, self.codec), document)

    def add_update(
        self,
        selector: Any,
        update: Any,
        multi: bool,
        upsert: bool | None = None,
        collation: Any = None,
        array_filters: Any = None,
        hint: Any = None,
        sort: Any = None,
    ) -> None:
        """An update with operators or a pipeline."""
        forms.check_operators(update, self.codec, wanted=True)
        options = {"upsert": upsert or None, "arrayFilters": array_filters, "sort": sort}
        self._update({"q": selector, "u": update, "multi": bool(multi)}, options, collation, hint)

    def add_replace(
        self,
        selector: Any,
        replacement: Any,
        upsert: bool | None = None,
        collation: Any = None,
        hint: Any = None,
        sort: Any = None,
    ) -> None:
        """A replacement."""
        forms.check_operators(replacement, self.codec, wanted=False)
        options = {"upsert": upsert or None, "sort": sort}
        self._update({"q": selector, "u": replacement}, options, collation, hint)

    def _update(self, one: dict[str, Any], options: Any, collation: Any, hint: Any) -> None:
        options = {**options, "collation": collation, "hint": forms.hinted(hint)}
        given = one | {name: value for name, value in options.items() if value is not None}
        self._add("update", given, given)

    def add_delete(
        self, selector: Any, limit: int, collation: Any = None, hint: Any = None
    ) -> None:
        """A removal of the first (1) or of all (0)."""
        given: dict[str, Any] = {"q": selector, "limit": limit}
        given |= {} if collation is None else {"collation": collation}
        given |= {} if hint is None else {"hint": forms.hinted(hint)}
        self._add("delete", given, given)


def bulk_requests(requests: Sequence[Any], codec: Codec) -> Recorder:
    """The requests, grouped.

    Raises:
        TypeError: not a list of PyMongo's requests. InvalidOperation: there are none.
    """
    if isinstance(requests, Mapping | str) or not isinstance(requests, Sequence):
        msg = "requests must be a list"
        raise TypeError(msg)
    found = Recorder(codec)
    for request in requests:
        if not hasattr(request, "_add_to_bulk"):
            msg = f"{request!r} is not a valid request"
            raise TypeError(msg)
        request._add_to_bulk(found)  # noqa: SLF001 - how a request tells what it is
    if not found.groups:
        msg = "No operations to execute"
        raise InvalidOperation(msg)
    return found


@contextmanager
def in_place(originals: Sequence[Any]) -> Iterator[None]:
    """Errors of a bulk write show the caller's own statements, not what became of them."""
    try:
        yield
    except BulkWriteError as error:
        for item in error.details.get("writeErrors", ()):
            if item.get("index", -1) in range(len(originals)):
                item["op"] = originals[item["index"]]
        raise
