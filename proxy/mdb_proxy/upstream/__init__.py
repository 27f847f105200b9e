"""The cluster behind the proxy: who its members are, and our own connections to them. I/O."""

from mdb_proxy.upstream.discovery import ClusterFeatures
from mdb_proxy.upstream.pool import PoolSettings
from mdb_proxy.upstream.upstream import OLDEST_WIRE_VERSION, Upstream, open_upstream

__all__ = [
    "OLDEST_WIRE_VERSION",
    "ClusterFeatures",
    "PoolSettings",
    "Upstream",
    "open_upstream",
]
