"""MongoDBEngine: opens and closes everything that an app in this process needs. Has no rules."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import structlog
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from mdb_engine import config, current
from mdb_engine.background import Supervisor
from mdb_engine.database.grants import Known, grant, scope_for
from mdb_engine.database.handle import ScopedDatabase, scoped_database
from mdb_engine.database.sessions import ScopedSession
from mdb_engine.exceptions import (
    ConfigurationError,
    InitializationError,
    ManifestValidationError,
    NotInitializedError,
)
from mdb_engine.following import Following
from mdb_engine.indexes.apply import apply_indexes
from mdb_engine.indexes.auto import AutoIndexManager, Watching
from mdb_engine.manifest.extras import missing_extra
from mdb_engine.manifest.load import parse, read_document
from mdb_engine.manifest.model import Manifest
from mdb_engine.manifest.rules import check_together
from mdb_engine.observability.health import ClusterView, PoolWatch, health
from mdb_engine.observability.logs import URI_PASSWORD
from mdb_engine.observability.operations import Operations
from mdb_engine.registry import apps, ledger
from mdb_engine.scope.model import Features, Scope
from mdb_engine.seeding import seed
from mdb_engine.settings import settle
from mdb_engine.web import make_app, teach_json

Client = AsyncMongoClient[dict[str, Any]]
log = structlog.get_logger("mdb_engine.engine")


class MongoDBEngine:
    """The engine of one process: apps are registered with it and get their databases from it."""

    def __init__(
        self,
        mongo_uri: str | None = None,
        db_name: str | None = None,
        *,
        settle_seconds: float = ledger.SETTLE_SECONDS,
        allow_unregistered: bool = False,
        trusted_apps: tuple[str, ...] = (),
        **client_options: Any,
    ) -> None:
        """Note the settings; nothing is opened yet.

        Args:
            mongo_uri: the cluster; by default MONGO_URI or MONGODB_URI, else localhost.
            db_name: the physical database that holds all apps; by default MONGO_DB_NAME or
                MDB_DB_NAME, else "mdb".
            settle_seconds: how long a new app waits for other processes to learn of it, when the
                database holds other apps already.
            allow_unregistered: handles also for slugs without a manifest.
            trusted_apps: slugs whose manifests may raise the limits.
            client_options: `max_pool_size`, `min_pool_size`, `server_selection_timeout_ms`.

        Raises:
            TypeError: another keyword.
        """
        unknown = sorted(client_options.keys() - _CLIENT_OPTIONS.keys())
        if unknown:
            msg = f"MongoDBEngine() got an unexpected keyword argument {unknown[0]!r}"
            raise TypeError(msg)
        self._uri = mongo_uri or config.mongo_uri()
        self._db_name = db_name or config.db_name()
        self._settle, self._unregistered = settle_seconds, allow_unregistered
        self._trusted = tuple(trusted_apps)
        self._client_options = {_CLIENT_OPTIONS[n]: v for n, v in client_options.items()}
        self._client: Client | None = None
        self._jobs = Supervisor()
        self._following = Following(Known(self._db_name), self._jobs)
        self._documents: dict[str, dict[str, Any]] = {}
        self._reasons: dict[str, str] = {}
        self._handles: dict[Any, ScopedDatabase] = {}
        self._indexers: dict[str, AutoIndexManager] = {}
        self._operations, self._pool = Operations(), PoolWatch()
        self._registering = asyncio.Lock()

    def __repr__(self) -> str:
        return (
            f"MongoDBEngine(db_name={self._db_name!r}, apps={len(self._following.known.manifests)})"
        )

    async def initialize(self) -> None:
        """Connect and see that the cluster answers; a second call does nothing.

        Raises:
            InitializationError: it does not; never tells the password.
        """
        if self._client is not None:
            log.warning("engine.initialized_twice")
            return
        client: Client | None = None
        try:
            client = AsyncMongoClient(
                self._uri, appname="mdb-engine", event_listeners=[self._pool],
                **self._client_options,
            )  # fmt: skip
            features = await _features(client)
            self._following.known = replace(self._following.known, features=features)
            await self._following.open(client)
        except (PyMongoError, ValueError) as error:
            if client is not None:
                await client.close()
            raise InitializationError(_reason(error)) from None
        self._client = client
        current.opened(self)
        teach_json()

    def _open(self) -> Client:
        if self._client is None:
            msg = "the engine is not initialized: await engine.initialize() first"
            raise NotInitializedError(msg)
        return self._client

    async def load_manifest(self, path: str | Path) -> dict[str, Any]:
        """The manifest of a file, checked; comments are tolerated.

        Raises:
            FileNotFoundError: there is no such file.
            ManifestValidationError: it breaks a rule; carries path and reason.
        """
        place = Path(path)
        exists = await asyncio.to_thread(place.is_file)
        if not exists:
            raise FileNotFoundError(f"there is no manifest {place}")
        document: dict[str, Any] = await asyncio.to_thread(read_document, place)
        parse(document, source=place.name, trusted=self._trusts(document))
        return document

    def _trusts(self, document: Any) -> bool:
        return isinstance(document, Mapping) and document.get("slug") in self._trusted

    async def register_app(self, manifest: Mapping[str, Any], create_indexes: bool = True) -> bool:
        """Enter an app: its slug, its manifest, its indexes, its first data. Running again is fine.

        In a database that holds other apps a new slug waits `settle_seconds`.

        Returns:
            True, or False when the manifest or its slug cannot be had; the log says why.
        """
        database = self._open()[self._db_name]
        async with self._registering:
            try:
                app = self._checked(manifest)
                self._following.haste += 1
                try:
                    await ledger.register(database, {app.slug: app}, wait=self._settle)
                finally:
                    self._following.haste -= 1
            except (ConfigurationError, ManifestValidationError, InitializationError) as error:
                slug = str(dict(manifest).get("slug"))
                self._reasons[slug] = str(error)
                log.error("app.not_registered", slug=slug, reason=str(error))  # noqa: TRY400 - no bug
                return False
            self._reasons.pop(app.slug, None)
            await apps.save(database, app.slug, app.status, manifest)
            await self._adopt({app.slug: app}, {app.slug: copy.deepcopy(dict(manifest))})
        if app.active:
            await self._prepare(app, create_indexes=create_indexes)
        return True

    def _checked(self, manifest: Mapping[str, Any]) -> Manifest:
        app = parse(manifest, trusted=self._trusts(manifest))
        check_together({**self._following.known.manifests, app.slug: app})
        missing = missing_extra(app)
        if missing:
            raise ConfigurationError(missing)
        return app

    async def _adopt(
        self, manifests: Mapping[str, Manifest], documents: Mapping[str, dict[str, Any]]
    ) -> None:
        """Serve these apps from now on; an app that is not active is served no more."""
        served = {**self._following.known.manifests, **manifests}
        served = {slug: manifest for slug, manifest in served.items() if manifest.active}
        self._following.known = replace(self._following.known, manifests=served)
        await self._following.read()
        await self._withdraw()
        self._documents = {**self._documents, **documents}

    async def _withdraw(self) -> None:
        """End what shows what its app may no longer see."""
        manifests = self._following.known.manifests
        granted = {
            slug: frozenset(manifest.read_scopes)
            for slug, manifest in manifests.items()
            if "data_access" in manifest.model_fields_set
        }
        await self._following.house.withdraw(granted)

    async def _prepare(self, app: Manifest, *, create_indexes: bool) -> None:
        if app.collection_settings:
            await settle(app, self.get_scoped_db(app.slug))
        if create_indexes and app.managed_indexes:
            report = await apply_indexes(self._open()[self._db_name], app)
            log.info("indexes.applied", slug=app.slug, report=report)
        if app.initial_data:
            await seed(self._open()[self._db_name], app, self.get_scoped_db(app.slug))

    async def reload_apps(self) -> int:
        """Serve what the database says: its active apps; gives their number."""
        database = self._open()[self._db_name]
        documents = await apps.active(database)
        found: dict[str, Manifest] = {}
        for slug, document in documents.items():
            try:
                found[slug] = parse(document, source=slug, trusted=slug in self._trusted)
                check_together(found)
            except ManifestValidationError as error:
                found.pop(slug, None)
                log.error("app.not_loaded", slug=slug, reason=str(error))  # noqa: TRY400 - no bug
        self._following.known = replace(self._following.known, manifests=found)
        await self._following.read()
        await self._withdraw()
        self._documents = {slug: documents[slug] for slug in found}
        return len(found)

    def list_apps(self) -> list[str]:
        """The slugs of the active apps that are registered here."""
        return sorted(self._following.known.manifests)

    def get_app(self, slug: str) -> dict[str, Any] | None:
        """A copy of an app's manifest as it was registered; None when there is none."""
        document = self._documents.get(slug)
        return None if document is None else copy.deepcopy(document)

    def get_scoped_db(
        self,
        app_slug: str,
        read_scopes: list[str] | None = None,
        write_scope: str | None = None,
        auto_index: bool = True,
        *,
        app_token: str | None = None,
    ) -> ScopedDatabase:
        """The database of an app; works with and without `await`.

        Args:
            app_slug: the app.
            read_scopes: apps whose documents are read; by default what the manifest grants.
            write_scope: whose names are written; by default what the manifest says.
            auto_index: let the engine make indexes for frequent queries.
            app_token: reserved.

        Raises:
            ConfigurationError: the app is not registered, or a scope is not granted (ValueError).
        """
        client = self._open()
        manifest = self._manifest(app_slug)
        given = grant(manifest, read_scopes, write_scope)
        key = (given, auto_index)
        if key not in self._handles:
            if given.explicit:
                log.info("scopes.explicit", slug=app_slug, read_scopes=list(given.reads))
                self._operations.granted(app_slug)
            stand_in = manifest if self._unregistered else None
            following = self._following
            view = _view(lambda: following.known, lambda known: scope_for(given, known, stand_in))
            view()
            database = client[self._db_name]
            house = following.house
            handle = scoped_database(database, view, self._operations, house)
            if auto_index:
                watch = Watching(self._operations, self._indexer(given.writes, handle))
                handle = scoped_database(database, view, watch, house)
            self._handles[key] = handle
        return self._handles[key]

    def _indexer(self, slug: str, handle: ScopedDatabase) -> AutoIndexManager:
        """The one that watches the queries of an app, whatever handles they come through."""
        if slug not in self._indexers:
            told = partial(self._operations.indexed, slug)
            self._indexers[slug] = AutoIndexManager(handle, self._jobs, told)
        return self._indexers[slug]

    def _manifest(self, slug: Any) -> Manifest:
        known = self._following.known.manifests.get(slug) if isinstance(slug, str) else None
        if known is not None:
            return known
        if self._unregistered:
            return parse({"slug": slug, "name": str(slug)})
        raise ConfigurationError(f"the app {slug!r} is not registered{self._why(slug)}")

    def _why(self, slug: Any) -> str:
        """Why an app could not be registered, to go behind a colon."""
        reason = self._reasons.get(slug) if isinstance(slug, str) else None
        return "" if reason is None else f": {reason}"

    @property
    def mongo_client(self) -> ClusterView:
        """How the cluster is: `ping()`, `server_info()`, `topology()`; no way to its data."""
        return ClusterView(self._open())

    def start_session(self, **options: Any) -> ScopedSession:
        """A session for every handle of this engine; PyMongo's options."""
        return ScopedSession(self._open().start_session(**options))

    async def get_health_status(self) -> dict[str, Any]:
        """`{status, timestamp, mongodb: {status, ...}, pool: {status, ...}, checks: [...]}`."""
        return await health(self._client, self._pool)

    def get_metrics(self) -> dict[str, Any]:
        """`{timestamp, total_operations, summary: {operation: {count, errors, avg_ms, ...}}}`."""
        return self._operations.summary()

    def get_prometheus_metrics(self) -> str:
        """The same for Prometheus."""
        return self._operations.prometheus()

    async def shutdown(self) -> None:
        """End every job and the connections; a second call does nothing."""
        current.closed(self)
        await self._jobs.close()
        await self._following.close()
        client, self._client = self._client, None
        self._handles.clear()
        self._indexers.clear()
        if client is not None:
            await client.close()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.shutdown()

    def lifespan(
        self, slug: str, manifest: Mapping[str, Any] | str | Path
    ) -> Callable[[Any], AbstractAsyncContextManager[None]]:
        """A FastAPI lifespan: the engine is up, and this app registered, while the server runs.

        Raises:
            ConfigurationError: at the start, when the app cannot be registered.
        """

        @asynccontextmanager
        async def run(app: Any) -> AsyncIterator[None]:
            async with self:
                given = manifest
                if not isinstance(given, Mapping):
                    given = await self.load_manifest(given)
                if given.get("slug") != slug or not await self.register_app(given):
                    raise ConfigurationError(
                        f"the app '{slug}' could not be registered{self._why(slug)}"
                    )
                app.state.engine, app.state.app_slug = self, slug
                yield

        return run

    def create_app(
        self, slug: str, manifest: Mapping[str, Any] | str | Path, **options: Any
    ) -> Any:
        """A FastAPI app whose lifespan is the engine's; needs fastapi.

        Raises:
            ConfigurationError: fastapi is not installed.
        """
        made = make_app(self.lifespan(slug, manifest), options)
        teach_json()
        return made


_CLIENT_OPTIONS: Final[Mapping[str, str]] = {
    "max_pool_size": "maxPoolSize",
    "min_pool_size": "minPoolSize",
    "server_selection_timeout_ms": "serverSelectionTimeoutMS",
}


def _view(known: Callable[[], Known], make: Callable[[Known], Scope]) -> Callable[[], Scope]:
    """A handle's scope, made anew only when something has changed."""
    last: tuple[Known, Scope] | None = None

    def view() -> Scope:
        nonlocal last
        now = known()
        if last is None or last[0] is not now:
            last = (now, make(now))
        return last[1]

    return view


async def _features(client: Client) -> Features:
    info = await client.server_info()
    numbers = [int(part) for part in info["versionArray"][:2]]
    kind = client.topology_description.topology_type_name
    alone = kind == "Single" and "setName" not in await client.admin.command("hello")
    return Features(version=(numbers[0], numbers[1]), standalone=alone)


def _reason(error: Exception) -> str:
    """What is wrong, without the URI's user and password."""
    text = URI_PASSWORD.sub(r"\1***@", str(error).partition(", Timeout:")[0])
    return f"the cluster cannot be used: {type(error).__name__}: {text}"
