"""A database of one app: what `engine.get_scoped_db` gives."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, Final

from bson.codec_options import CodecOptions
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import CollectionInvalid

from mdb_engine.database import forms
from mdb_engine.database.collection import ScopedCollection, merged
from mdb_engine.database.cursors import ListedCursor, ScopedCommandCursor
from mdb_engine.database.errors import TWINS
from mdb_engine.database.house import House
from mdb_engine.database.reading import aggregation
from mdb_engine.database.rim import Ask, Options, Rim, open_rim
from mdb_engine.database.sessions import ScopedSession
from mdb_engine.database.streams import ScopedChangeStream, watching
from mdb_engine.exceptions import UnauthorizedError
from mdb_engine.observability.operations import Observer
from mdb_engine.rawbson import Document
from mdb_engine.scope.model import Scope
from mdb_engine.scope.names import not_authorized

NOT_BY_COMMAND: Final = frozenset(
    {"abortTransaction", "commitTransaction", "getMore", "killCursors", "listDatabases"}
)
"""Commands of cursors, sessions and several databases: their methods know whose they are."""

KEPT: Final = 1_000
"""Collections that are kept with what was found out about them; then they are made anew."""


class ScopedDatabase:
    """One app's database: collections by attribute or `[name]`, and PyMongo's methods.

    Awaited it gives itself.
    """

    __slots__ = ("__weakref__", "_checked", "_collections", "_options", "_rim")

    def __init__(self, rim: Rim, options: Options) -> None:
        self._rim, self._options = rim, options
        self._collections: dict[str, ScopedCollection] = {}
        self._checked: Scope | None = None

    def __await__(self) -> Generator[Any, None, ScopedDatabase]:
        yield from ()
        return self

    @property
    def name(self) -> str:
        """The logical name."""
        return self._rim.scope().home[0]

    @property
    def app_slug(self) -> str:
        """The app."""
        return self._rim.scope().slug

    @property
    def read_scopes(self) -> tuple[str, ...]:
        """Apps whose documents are read, the own one first."""
        scope = self._rim.scope()
        return (scope.slug, *scope.readable)

    @property
    def codec_options(self) -> Any:
        """How documents become Python's."""
        return self._options.codec

    def get_collection(
        self,
        name: str,
        codec_options: Any = None,
        read_preference: Any = None,
        write_concern: Any = None,
        read_concern: Any = None,
    ) -> ScopedCollection:
        """A collection by its logical name, or by its full one in a granted read scope.

        Raises:
            RefusedError: malformed, reserved or another app's name (a ValueError).
        """
        given = (codec_options, read_preference, write_concern, read_concern)
        return ScopedCollection(self._rim, name, merged(self._options, *given))

    def __getitem__(self, name: str) -> ScopedCollection:
        if self._checked is not (scope := self._rim.scope()) or len(self._collections) > KEPT:
            self._collections.clear()
            self._checked = scope
        if type(name) is not str:
            return self.get_collection(name)
        found = self._collections.get(name)
        if found is None:
            found = self._collections[name] = self.get_collection(name)
        return found

    def __getattr__(self, name: str) -> ScopedCollection:
        if name.startswith("_"):
            msg = f"a database has no attribute {name!r}; write [{name!r}] for a collection"
            raise AttributeError(msg)
        return self[name]

    def with_options(
        self,
        codec_options: Any = None,
        read_preference: Any = None,
        write_concern: Any = None,
        read_concern: Any = None,
    ) -> ScopedDatabase:
        """The same database, read and written in another way."""
        given = (codec_options, read_preference, write_concern, read_concern)
        return ScopedDatabase(self._rim, merged(self._options, *given))

    async def command(
        self,
        command: str | Mapping[str, Any],
        value: Any = 1,
        session: ScopedSession | None = None,
        comment: Any = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Run a command of the kernel's table; gives its reply in the app's words.

        Raises:
            RefusedError: unknown, or not for apps.
        """
        given = {command: value} if isinstance(command, str) else command
        fields = {**given, **kwargs}
        name = next(iter(fields), "")
        if name in NOT_BY_COMMAND:
            raise UnauthorizedError(not_authorized(self.name, f"{name}: 1"))
        if comment is not None:
            fields["comment"] = comment
        batch = self._batch(fields)
        return await self._rim.run(Ask("run", fields, self._options, session, batch))

    def _batch(self, fields: dict[str, Any]) -> dict[str, list[Document]]:
        """Documents to store, taken out of the command: each is bytes of its own."""
        if next(iter(fields), "") != "insert" or not isinstance(fields.get("documents"), list):
            return {}
        documents = fields.pop("documents")
        return {"documents": [forms.document(each, self._options.codec) for each in documents]}

    def aggregate(
        self,
        pipeline: Any,
        session: ScopedSession | None = None,
        let: Any = None,
        comment: Any = None,
        **kwargs: Any,
    ) -> ScopedCommandCursor:
        """The result of a pipeline without a collection (`$documents`)."""
        fields = aggregation(1, pipeline, let, comment, kwargs)
        return ScopedCommandCursor(self._rim, Ask("aggregate", fields, self._options, session))

    def watch(self, pipeline: Any = None, **kwargs: Any) -> ScopedChangeStream:
        """What changes in any collection of the app."""
        return watching(self._rim, self._options, 1, pipeline, kwargs)

    async def list_collection_names(
        self,
        session: ScopedSession | None = None,
        filter: Mapping[str, Any] | None = None,
        comment: Any = None,
    ) -> list[str]:
        """Logical names of the app's own collections."""
        found = await self._listed(session, filter, comment, name_only=True)
        return [item["name"] for item in found]

    def list_collections(
        self,
        session: ScopedSession | None = None,
        filter: Mapping[str, Any] | None = None,
        comment: Any = None,
    ) -> ListedCursor:
        """The app's own collections with their options; with and without `await`."""

        async def given() -> list[Any]:
            return await self._listed(session, filter, comment, name_only=False)

        return ListedCursor(given)

    async def _listed(
        self, session: ScopedSession | None, filter: Any, comment: Any, *, name_only: bool
    ) -> list[dict[str, Any]]:
        fields = {"listCollections": 1, "nameOnly": name_only, "filter": filter}
        reply = await self._run({**fields, "comment": comment}, session)
        found: list[dict[str, Any]] = reply["cursor"]["firstBatch"]
        return found

    async def _run(
        self, fields: Mapping[str, Any], session: ScopedSession | None = None
    ) -> dict[str, Any]:
        plain = Options(codec=self._options.codec.with_options(document_class=dict))
        return await self._rim.run(Ask("run", fields, plain, session))

    async def create_collection(
        self,
        name: str,
        codec_options: Any = None,
        read_preference: Any = None,
        write_concern: Any = None,
        read_concern: Any = None,
        session: ScopedSession | None = None,
        check_exists: bool = True,
        **kwargs: Any,
    ) -> ScopedCollection:
        """Make a collection, with the server's options.

        Raises:
            CollectionInvalid: there is one of this name.
        """
        if check_exists and name in await self.list_collection_names(session, {"name": name}):
            raise TWINS[CollectionInvalid](f"collection {name} already exists")
        if "collation" in kwargs:
            kwargs["collation"] = forms.collated(kwargs["collation"])
        await self._run({"create": name, **kwargs}, session)
        given = (codec_options, read_preference, write_concern, read_concern)
        return self.get_collection(name, *given)

    async def drop_collection(
        self,
        name_or_collection: str | ScopedCollection,
        session: ScopedSession | None = None,
        comment: Any = None,
    ) -> None:
        """Remove a collection; it need not exist."""
        name = name_or_collection
        found = name if isinstance(name, ScopedCollection) else self.get_collection(name)
        await found.drop(session, comment)

    async def validate_collection(
        self,
        name_or_collection: str | ScopedCollection,
        session: ScopedSession | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Let the cluster check a collection's data."""
        given = name_or_collection
        name = given.name if isinstance(given, ScopedCollection) else given
        return await self._run({"validate": name, **kwargs}, session)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ScopedDatabase):
            return self._rim.scope() == other._rim.scope()
        return NotImplemented

    def __hash__(self) -> int:
        return hash((ScopedDatabase, self.app_slug))

    def __bool__(self) -> bool:
        msg = "a database has no truth value; compare it with None"
        raise NotImplementedError(msg)

    def __repr__(self) -> str:
        return f"ScopedDatabase(app={self.app_slug!r})"


def scoped_database(
    database: AsyncDatabase[Any],
    scope: Callable[[], Scope],
    observer: Observer,
    house: House | None = None,
) -> ScopedDatabase:
    """The handle of an app over the physical database.

    Args:
        database: the physical one.
        scope: the app's scope now; read for each command.
        observer: is told of operations and refusals.
        house: what the process knows of what its apps hold; by default one of its own.
    """
    codec: CodecOptions[Any] = database.codec_options
    return ScopedDatabase(
        open_rim(database, scope, observer, house or House()), Options(codec=codec)
    )
