"""What the environment says; nobody else in the engine reads it."""

from __future__ import annotations

import os
from typing import Final

URI_NAMES: Final = ("MONGO_URI", "MONGODB_URI")
DATABASE_NAMES: Final = ("MONGO_DB_NAME", "MDB_DB_NAME")
DEFAULT_URI: Final = "mongodb://localhost:27017"
DEFAULT_DATABASE: Final = "mdb"


def mongo_uri() -> str:
    """The cluster that the environment names."""
    return _first(URI_NAMES) or DEFAULT_URI


def db_name() -> str:
    """The physical database that the environment names."""
    return _first(DATABASE_NAMES) or DEFAULT_DATABASE


def _first(names: tuple[str, ...]) -> str | None:
    return next((value for name in names if (value := os.environ.get(name))), None)
