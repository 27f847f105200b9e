"""mdb-engine: one MongoDB cluster, a private slice of it for every app.

The public names are loaded when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mdb_engine.database import ScopedCollection, ScopedDatabase
    from mdb_engine.engine import MongoDBEngine
    from mdb_engine.exceptions import (
        ConfigurationError,
        InitializationError,
        ManifestValidationError,
        MongoDBEngineError,
        QueryValidationError,
        ResourceLimitExceeded,
    )
    from mdb_engine.manifest import ManifestValidator

_PLACES: Final = {
    "ConfigurationError": "mdb_engine.exceptions",
    "InitializationError": "mdb_engine.exceptions",
    "ManifestValidationError": "mdb_engine.exceptions",
    "ManifestValidator": "mdb_engine.manifest",
    "MongoDBEngine": "mdb_engine.engine",
    "MongoDBEngineError": "mdb_engine.exceptions",
    "QueryValidationError": "mdb_engine.exceptions",
    "ResourceLimitExceeded": "mdb_engine.exceptions",
    "ScopedCollection": "mdb_engine.database",
    "ScopedDatabase": "mdb_engine.database",
}
"""Public name -> the module that has it."""

__all__ = [
    "ConfigurationError",
    "InitializationError",
    "ManifestValidationError",
    "ManifestValidator",
    "MongoDBEngine",
    "MongoDBEngineError",
    "QueryValidationError",
    "ResourceLimitExceeded",
    "ScopedCollection",
    "ScopedDatabase",
]


def __getattr__(name: str) -> Any:
    """Load a public name (PEP 562)."""
    if name not in _PLACES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
