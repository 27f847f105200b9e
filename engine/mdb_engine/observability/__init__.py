"""What a running process tells about itself."""

from mdb_engine.observability.logs import configure_logging

__all__ = ["configure_logging"]
