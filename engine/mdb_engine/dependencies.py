"""What FastAPI routes ask for: `db = Depends(get_scoped_db)`."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from mdb_engine.current import current
from mdb_engine.database import ScopedDatabase
from mdb_engine.engine import MongoDBEngine
from mdb_engine.exceptions import ConfigurationError


def get_engine(connection: HTTPConnection) -> MongoDBEngine:
    """The engine of the app that serves (`app.state.engine`), else the only one of the process.

    Raises:
        NotInitializedError: there is none. ConfigurationError: there are several.
    """
    engine = getattr(connection.app.state, "engine", None)
    found: MongoDBEngine = current() if engine is None else engine
    return found


def get_scoped_db(
    connection: HTTPConnection, engine: Annotated[MongoDBEngine, Depends(get_engine)]
) -> ScopedDatabase:
    """The database of the app that serves (`app.state.app_slug`), else of the only one registered.

    Raises:
        ConfigurationError: several apps are registered, and none is named.
    """
    return engine.get_scoped_db(_slug(connection, engine))


def _slug(connection: HTTPConnection, engine: MongoDBEngine) -> str:
    named = getattr(connection.app.state, "app_slug", None)
    if isinstance(named, str):
        return named
    slugs = engine.list_apps()
    if len(slugs) != 1:
        msg = f"{len(slugs)} apps are registered: say which one serves in app.state.app_slug"
        raise ConfigurationError(msg)
    return slugs[0]
