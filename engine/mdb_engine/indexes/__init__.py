"""Indexes of an app: from its manifest to the server."""

from mdb_engine.indexes.apply import Report, apply_indexes
from mdb_engine.indexes.auto import AutoIndexManager
from mdb_engine.indexes.kinds import INDEX_TYPES, index_models, search_models
from mdb_engine.indexes.manual import run_index_creation_for_collection
from mdb_engine.indexes.planning import plan_indexes

__all__ = [
    "INDEX_TYPES",
    "AutoIndexManager",
    "Report",
    "apply_indexes",
    "index_models",
    "plan_indexes",
    "run_index_creation_for_collection",
    "search_models",
]
