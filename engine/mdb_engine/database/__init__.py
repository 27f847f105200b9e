"""A scoped database in Python's hands: PyMongo-shaped faces over the kernel."""

from mdb_engine.database.collection import ScopedCollection
from mdb_engine.database.cursors import ScopedCommandCursor, ScopedCursor
from mdb_engine.database.gridfs import ScopedGridFSBucket
from mdb_engine.database.handle import ScopedDatabase
from mdb_engine.database.sessions import ScopedSession
from mdb_engine.database.streams import ScopedChangeStream

__all__ = [
    "ScopedChangeStream",
    "ScopedCollection",
    "ScopedCommandCursor",
    "ScopedCursor",
    "ScopedDatabase",
    "ScopedGridFSBucket",
    "ScopedSession",
]
