"""The engine's own collections: their names, and handles that only see what a majority has."""

from typing import Any, Final

from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from mdb_engine.scope.names import ENGINE_PREFIX

CREDENTIALS: Final = f"{ENGINE_PREFIX}credentials"
ROUTERS: Final = f"{ENGINE_PREFIX}routers"
SECRETS: Final = f"{ENGINE_PREFIX}secrets"
SLUGS: Final = f"{ENGINE_PREFIX}slugs"

Stored = dict[str, Any]
Database = AsyncDatabase[Stored]
Store = AsyncCollection[Stored]


def store(database: Database, name: str) -> Store:
    """A collection of ours: majority writes, majority reads, at the primary, aware times.

    What decides who owns what must not be rolled back, whatever the URI says.
    """
    return database.get_collection(
        name,
        codec_options=database.codec_options.with_options(tz_aware=True),
        read_concern=ReadConcern("majority"),
        read_preference=ReadPreference.PRIMARY,
        write_concern=WriteConcern("majority"),
    )
