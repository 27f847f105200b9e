"""Indexes of an app: from its manifest to the server."""

from mdb_engine.indexes.apply import Report, apply_indexes
from mdb_engine.indexes.kinds import INDEX_TYPES, index_models, search_models

__all__ = ["INDEX_TYPES", "Report", "apply_indexes", "index_models", "search_models"]
