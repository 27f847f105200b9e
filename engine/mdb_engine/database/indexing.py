"""A collection's indexes: made, listed and dropped by logical commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pymongo.errors import OperationFailure
from pymongo.operations import IndexModel

from mdb_engine.database import forms
from mdb_engine.database.face import Face
from mdb_engine.database.sessions import ScopedSession

NOT_FOUND: Final = 26
_ALL: Final = 1_000


def created_specs(indexes: Sequence[IndexModel]) -> list[dict[str, Any]]:
    """Items of a createIndexes command."""
    specs = []
    for index in indexes:
        if not isinstance(index, IndexModel):
            msg = f"{index!r} is not an instance of pymongo.operations.IndexModel"
            raise TypeError(msg)
        specs.append(dict(index.document))
    return specs


async def listed_indexes(
    face: Face, session: ScopedSession | None = None, comment: Any = None
) -> list[dict[str, Any]]:
    """The indexes as listIndexes gives them; none when there is no collection."""
    fields = {"listIndexes": face._name, "cursor": {"batchSize": _ALL}, "comment": comment}  # noqa: SLF001 - one family
    try:
        reply = await face._run(fields, session)  # noqa: SLF001 - one family
    except OperationFailure as error:
        if error.code != NOT_FOUND:
            raise
        return []
    found: list[dict[str, Any]] = reply["cursor"]["firstBatch"]
    return found


class IndexManager(Face):
    """What `collection.index_manager` gives."""

    __slots__ = ()

    async def create_index(self, keys: Any, **kwargs: Any) -> str:
        """Make an index of any kind; PyMongo's options. Gives its name."""
        specs = created_specs([IndexModel(keys, **kwargs)])
        await self._run({"createIndexes": self._name, "indexes": specs})
        return str(specs[0]["name"])

    async def create_text_index(self, fields: Any, **kwargs: Any) -> str:
        """Make a text index on one field or several; `weights` and languages as options."""
        names = [fields] if isinstance(fields, str) else list(fields)
        return await self.create_index([(name, "text") for name in names], **kwargs)

    async def create_geo_index(self, field: str, geo_type: str = "2dsphere", **kwargs: Any) -> str:
        """Make a geospatial index on one field."""
        return await self.create_index([(field, geo_type)], **kwargs)

    async def create_search_index(
        self, name: str, definition: Mapping[str, Any], index_type: str = "search"
    ) -> str:
        """Make a search index, where the cluster has a search process."""
        spec = {"name": name, "type": index_type, "definition": definition}
        await self._run({"createSearchIndexes": self._name, "indexes": [spec]})
        return name

    async def create_vector_search_index(self, name: str, definition: Mapping[str, Any]) -> str:
        """Make a vector index, where the cluster has a search process."""
        return await self.create_search_index(name, definition, "vectorSearch")

    async def update_search_index(self, name: str, definition: Mapping[str, Any]) -> None:
        """Give a search index another definition."""
        fields = {"updateSearchIndex": self._name, "name": name, "definition": definition}
        await self._run(fields)

    async def drop_search_index(self, name: str) -> None:
        """Remove a search index."""
        await self._run({"dropSearchIndex": self._name, "name": name})

    async def drop_index(self, index_or_name: Any) -> None:
        """Remove one index, by name or keys; `"*"`: all."""
        index = index_or_name if isinstance(index_or_name, str) else forms.keys(index_or_name)
        await self._run({"dropIndexes": self._name, "index": index})

    async def list_indexes(self) -> list[dict[str, Any]]:
        """All indexes."""
        return await listed_indexes(self)

    async def list_search_indexes(self, name: str | None = None) -> list[dict[str, Any]]:
        """Search indexes, where the cluster has a search process."""
        stage = {"$listSearchIndexes": {} if name is None else {"name": name}}
        fields = {"aggregate": self._name, "pipeline": [stage], "cursor": {"batchSize": _ALL}}
        reply = await self._run(fields)
        found: list[dict[str, Any]] = reply["cursor"]["firstBatch"]
        return found

    async def get_index(self, name: str) -> dict[str, Any] | None:
        """One index by name, or None."""
        found = await self.list_indexes()
        return next((index for index in found if index["name"] == name), None)

    async def get_search_index(self, name: str) -> dict[str, Any] | None:
        """One search index by name, or None."""
        found = await self.list_search_indexes(name)
        return found[0] if found else None

    def __repr__(self) -> str:
        return f"IndexManager({self._name!r})"
