"""Methods that define: indexes, drop, rename, options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo.errors import OperationFailure
from pymongo.operations import IndexModel

from mdb_engine.database import forms
from mdb_engine.database.cursors import ListedCursor
from mdb_engine.database.face import Face
from mdb_engine.database.indexing import NOT_FOUND, IndexManager, created_specs, listed_indexes
from mdb_engine.database.sessions import ScopedSession


class Defining(Face):
    """The defining part of a collection."""

    __slots__ = ()

    @property
    def index_manager(self) -> IndexManager:
        """The collection's indexes."""
        return IndexManager(self._rim, self._name, self._options)

    async def create_index(
        self, keys: Any, session: ScopedSession | None = None, comment: Any = None, **kwargs: Any
    ) -> str:
        """Make an index; PyMongo's options. Gives its name."""
        names = await self.create_indexes([IndexModel(keys, **kwargs)], session, comment)
        return names[0]

    async def create_indexes(
        self,
        indexes: Sequence[IndexModel],
        session: ScopedSession | None = None,
        comment: Any = None,
        **kwargs: Any,
    ) -> list[str]:
        """Make several indexes; gives their names."""
        specs = created_specs(indexes)
        fields = {"createIndexes": self._name, "indexes": specs, "comment": comment, **kwargs}
        await self._run(fields, session)
        return [str(spec["name"]) for spec in specs]

    async def drop_index(
        self, index_or_name: Any, session: ScopedSession | None = None, comment: Any = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        """Remove one index, by name or keys."""
        index = index_or_name if isinstance(index_or_name, str) else forms.keys(index_or_name)
        fields = {"dropIndexes": self._name, "index": index, "comment": comment, **kwargs}
        await self._run(fields, session)

    async def drop_indexes(
        self, session: ScopedSession | None = None, comment: Any = None, **kwargs: Any
    ) -> None:
        """Remove all indexes but the one on `_id`."""
        await self.drop_index("*", session, comment, **kwargs)

    def list_indexes(
        self, session: ScopedSession | None = None, comment: Any = None
    ) -> ListedCursor:
        """The indexes; with and without `await`."""

        async def given() -> list[Any]:
            return await listed_indexes(self, session, comment)

        return ListedCursor(given)

    async def index_information(
        self, session: ScopedSession | None = None, comment: Any = None
    ) -> dict[str, Any]:
        """The indexes by name, keys as pairs."""
        found = {}
        for index in await listed_indexes(self, session, comment):
            index["key"] = list(index["key"].items())
            name = index.pop("name")
            found[name] = index
        return found

    async def drop(
        self, session: ScopedSession | None = None, comment: Any = None, **kwargs: Any
    ) -> None:
        """Remove the collection; it need not exist."""
        fields = {"drop": self._name, "comment": comment, "writeConcern": self._concern()}
        try:
            await self._run({**fields, **kwargs}, session)
        except OperationFailure as error:
            if error.code != NOT_FOUND:
                raise

    async def rename(
        self, new_name: str, session: ScopedSession | None = None, comment: Any = None,
        **kwargs: Any,
    ) -> Mapping[str, Any]:  # fmt: skip
        """Give the collection another logical name (`dropTarget=True`: over one that is there)."""
        home = self._rim.scope().home[0]
        fields = {"renameCollection": f"{home}.{self._name}", "to": f"{home}.{new_name}"}
        return await self._run({**fields, "comment": comment, **kwargs}, session)

    async def options(
        self, session: ScopedSession | None = None, comment: Any = None
    ) -> dict[str, Any]:
        """How the collection was made; empty when it does not exist."""
        fields = {"listCollections": 1, "filter": {"name": self._name}, "comment": comment}
        reply = await self._run(fields, session)
        found = reply["cursor"]["firstBatch"]
        options: dict[str, Any] = found[0].get("options", {}) if found else {}
        return options
