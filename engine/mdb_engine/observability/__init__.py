"""What a running process tells about itself."""

from mdb_engine.observability.context import get_correlation_id, get_logger, set_correlation_id
from mdb_engine.observability.logs import configure_logging

__all__ = ["configure_logging", "get_correlation_id", "get_logger", "set_correlation_id"]
