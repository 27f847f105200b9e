"""Methods that write: insert, update, replace, delete, find-and-modify, bulk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any

from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo.results import (
    BulkWriteResult,
    DeleteResult,
    InsertManyResult,
    InsertOneResult,
    UpdateResult,
)

from mdb_engine.database import forms
from mdb_engine.database.bulk import bulk_requests, in_place
from mdb_engine.database.face import Face
from mdb_engine.database.reading import known
from mdb_engine.database.sessions import ScopedSession
from mdb_engine.rawbson import Document


def with_id(document: Any) -> Any:
    """The document's `_id`, put into the caller's own document when it has none.

    A raw document cannot be changed: the cluster gives it an `_id` that nobody is told.
    """
    if type(document) is dict:
        if "_id" not in document:
            document["_id"] = ObjectId()
        return document["_id"]
    if isinstance(document, RawBSONDocument):
        return None
    if isinstance(document, MutableMapping) and "_id" not in document:
        document["_id"] = ObjectId()
    return document.get("_id") if isinstance(document, Mapping) else None


class Writing(Face):
    """The writing half of a collection."""

    __slots__ = ()

    def _stored(self, documents: Iterable[Any]) -> list[Document]:
        return [forms.document(each, self._options.codec) for each in documents]

    async def insert_one(
        self,
        document: Any,
        bypass_document_validation: bool | None = None,
        session: ScopedSession | None = None,
        comment: Any = None,
    ) -> InsertOneResult:
        """Store a document; it gets its `_id`, and nothing else, in the caller's hands too.

        Raises:
            ResourceLimitExceeded: it is too large.
        """
        identity = with_id(document)
        if bypass_document_validation is None and comment is None:
            work = self._bare.insert_one(document, session)
            if work is not None:
                await work
                return InsertOneResult(identity, acknowledged=True)
        fields = self._inserting(bypass_document_validation, comment)
        batch = {"documents": self._stored([document])}
        await self._ask("insert_one", fields, session, batch)
        return InsertOneResult(identity, acknowledged=True)

    async def insert_many(
        self,
        documents: Iterable[Any],
        ordered: bool = True,
        bypass_document_validation: bool | None = None,
        session: ScopedSession | None = None,
        comment: Any = None,
    ) -> InsertManyResult:
        """Store several documents. If one is refused, none is sent.

        Raises:
            ResourceLimitExceeded: one is too large; `at` and `context` name its index.
        """
        if isinstance(documents, Mapping | str) or not isinstance(documents, Iterable):
            msg = "documents must be a non-empty list"
            raise TypeError(msg)
        given = list(documents)
        if not given:
            msg = "documents must be a non-empty list"
            raise TypeError(msg)
        identities = [with_id(each) for each in given]
        fields = {**self._inserting(bypass_document_validation, comment), "ordered": ordered}
        with in_place(given):
            await self._ask("insert_many", fields, session, {"documents": self._stored(given)})
        return InsertManyResult(identities, acknowledged=True)

    def _inserting(self, bypass: bool | None, comment: Any) -> dict[str, Any]:
        return {
            "insert": self._name,
            "bypassDocumentValidation": bypass,
            "comment": comment,
            "writeConcern": self._concern(),
        }

    async def update_one(
        self,
        filter: Mapping[str, Any],
        update: Any,
        upsert: bool = False,
        bypass_document_validation: bool | None = None,
        collation: Any = None,
        array_filters: Sequence[Mapping[str, Any]] | None = None,
        hint: Any = None,
        session: ScopedSession | None = None,
        let: Any = None,
        sort: Any = None,
        comment: Any = None,
    ) -> UpdateResult:
        """Change the first document that fits."""
        others = (bypass_document_validation, collation, array_filters, hint, let, comment, sort)
        if not upsert and others.count(None) == len(others):
            work = self._bare.update("update_one", filter, update, session)
            if work is not None:
                changed: UpdateResult = await work
                return changed
        forms.check_operators(update, self._options.codec, wanted=True)
        one = {"q": filter, "u": update, "upsert": upsert, "arrayFilters": array_filters}
        one |= {"collation": collation, "hint": hint, "sort": sort}
        beside = {"bypass": bypass_document_validation, "let": let, "comment": comment}
        return await self._update("update_one", one, beside, session)

    async def update_many(
        self,
        filter: Mapping[str, Any],
        update: Any,
        upsert: bool = False,
        array_filters: Sequence[Mapping[str, Any]] | None = None,
        bypass_document_validation: bool | None = None,
        collation: Any = None,
        hint: Any = None,
        session: ScopedSession | None = None,
        let: Any = None,
        comment: Any = None,
    ) -> UpdateResult:
        """Change all documents that fit."""
        others = (bypass_document_validation, collation, array_filters, hint, let, comment)
        if not upsert and others.count(None) == len(others):
            work = self._bare.update("update_many", filter, update, session)
            if work is not None:
                changed: UpdateResult = await work
                return changed
        forms.check_operators(update, self._options.codec, wanted=True)
        one = {"q": filter, "u": update, "upsert": upsert, "multi": True}
        one |= {"arrayFilters": array_filters, "collation": collation, "hint": hint}
        beside = {"bypass": bypass_document_validation, "let": let, "comment": comment}
        return await self._update("update_many", one, beside, session)

    async def replace_one(
        self,
        filter: Mapping[str, Any],
        replacement: Mapping[str, Any],
        upsert: bool = False,
        bypass_document_validation: bool | None = None,
        collation: Any = None,
        hint: Any = None,
        session: ScopedSession | None = None,
        let: Any = None,
        sort: Any = None,
        comment: Any = None,
    ) -> UpdateResult:
        """Put another document in the place of the first that fits."""
        forms.check_operators(replacement, self._options.codec, wanted=False)
        one = {"q": filter, "u": replacement, "upsert": upsert, "collation": collation}
        one |= {"hint": hint, "sort": sort}
        beside = {"bypass": bypass_document_validation, "let": let, "comment": comment}
        return await self._update("replace_one", one, beside, session)

    async def _update(
        self,
        operation: str,
        one: Mapping[str, Any],
        beside: Mapping[str, Any],
        session: ScopedSession | None,
    ) -> UpdateResult:
        fields = {
            "update": self._name,
            "updates": [_formed(one)],
            "bypassDocumentValidation": beside["bypass"],
            "let": beside["let"],
            "comment": beside["comment"],
            "writeConcern": self._concern(),
        }
        result: UpdateResult = await self._ask(operation, fields, session)
        return result

    async def delete_one(
        self,
        filter: Mapping[str, Any],
        collation: Any = None,
        hint: Any = None,
        session: ScopedSession | None = None,
        let: Any = None,
        comment: Any = None,
    ) -> DeleteResult:
        """Remove the first document that fits."""
        if collation is None and hint is None and let is None and comment is None:
            work = self._bare.delete("delete_one", filter, session)
            if work is not None:
                gone: DeleteResult = await work
                return gone
        one = {"q": filter, "limit": 1, "collation": collation, "hint": hint}
        return await self._delete("delete_one", one, {"let": let, "comment": comment}, session)

    async def delete_many(
        self,
        filter: Mapping[str, Any],
        collation: Any = None,
        hint: Any = None,
        session: ScopedSession | None = None,
        let: Any = None,
        comment: Any = None,
    ) -> DeleteResult:
        """Remove all documents that fit."""
        if collation is None and hint is None and let is None and comment is None:
            work = self._bare.delete("delete_many", filter, session)
            if work is not None:
                gone: DeleteResult = await work
                return gone
        one = {"q": filter, "limit": 0, "collation": collation, "hint": hint}
        return await self._delete("delete_many", one, {"let": let, "comment": comment}, session)

    async def _delete(
        self,
        operation: str,
        one: Mapping[str, Any],
        beside: Mapping[str, Any],
        session: ScopedSession | None,
    ) -> DeleteResult:
        fields = {"delete": self._name, "deletes": [_formed(one)], **beside}
        fields["writeConcern"] = self._concern()
        result: DeleteResult = await self._ask(operation, fields, session)
        return result

    async def find_one_and_delete(
        self,
        filter: Mapping[str, Any],
        projection: Any = None,
        sort: Any = None,
        hint: Any = None,
        session: ScopedSession | None = None,
        let: Any = None,
        comment: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Remove the first document that fits; gives it, or None."""
        fields = {"query": filter, "remove": True, "fields": projection, "sort": sort}
        fields |= {"hint": hint, "let": let, "comment": comment}
        return await self._modify("find_one_and_delete", fields, session, kwargs)

    async def find_one_and_replace(
        self,
        filter: Mapping[str, Any],
        replacement: Mapping[str, Any],
        projection: Any = None,
        sort: Any = None,
        upsert: bool = False,
        return_document: bool = False,
        hint: Any = None,
        session: ScopedSession | None = None,
        let: Any = None,
        comment: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Put another document in its place; gives the one before, or after, or None."""
        forms.check_operators(replacement, self._options.codec, wanted=False)
        fields = {"query": filter, "update": replacement, "fields": projection, "sort": sort}
        fields |= {"upsert": upsert, "new": return_document, "hint": hint, "let": let}
        fields |= {"comment": comment}
        return await self._modify("find_one_and_replace", fields, session, kwargs)

    async def find_one_and_update(
        self,
        filter: Mapping[str, Any],
        update: Any,
        projection: Any = None,
        sort: Any = None,
        upsert: bool = False,
        return_document: bool = False,
        array_filters: Sequence[Mapping[str, Any]] | None = None,
        hint: Any = None,
        session: ScopedSession | None = None,
        let: Any = None,
        comment: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Change the first document that fits; gives it before, or after, or None."""
        forms.check_operators(update, self._options.codec, wanted=True)
        fields = {"query": filter, "update": update, "fields": projection, "sort": sort}
        fields |= {"upsert": upsert, "new": return_document, "arrayFilters": array_filters}
        fields |= {"hint": hint, "let": let, "comment": comment}
        return await self._modify("find_one_and_update", fields, session, kwargs)

    async def _modify(
        self,
        operation: str,
        fields: Mapping[str, Any],
        session: ScopedSession | None,
        more: Mapping[str, Any],
    ) -> Any:
        command = {"findAndModify": self._name, **fields, **known(more, operation)}
        command["fields"] = forms.projected(command.get("fields"))
        command["sort"] = forms.keys(command.get("sort"))
        command["hint"] = forms.hinted(command.get("hint"))
        command["writeConcern"] = self._concern()
        return await self._ask(operation, command, session)

    async def bulk_write(
        self,
        requests: Sequence[Any],
        ordered: bool = True,
        bypass_document_validation: bool | None = None,
        session: ScopedSession | None = None,
        comment: Any = None,
        let: Any = None,
    ) -> BulkWriteResult:
        """PyMongo's InsertOne, UpdateOne, ... together. If one is refused, none is sent."""
        beside = {
            "bypassDocumentValidation": bypass_document_validation,
            "comment": comment,
            "writeConcern": self._concern(),
        }
        found = bulk_requests(requests, self._options.codec)
        asks = [
            self._request(
                "bulk_write",
                {each.kind: self._name, **each.fields, **beside, "let": each.let(let)},
                session,
                each.batch,
            )
            for each in found.groups
        ]
        with in_place(found.originals):
            result: BulkWriteResult = await self._rim.bulk(asks, {"ordered": ordered})
        return result


def _formed(one: Mapping[str, Any]) -> dict[str, Any]:
    """A statement of the command; what was not given is left out."""
    forming = {"collation": forms.collated, "hint": forms.hinted, "sort": forms.keys}
    return {
        name: forming[name](value) if name in forming else value
        for name, value in one.items()
        if value is not None and not (name == "upsert" and value is False)
    }
