"""How the engine is: the cluster, the driver's connections, and a safe view of the client."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pymongo.asynchronous.mongo_client import AsyncMongoClient
from pymongo.errors import PyMongoError
from pymongo.monitoring import ConnectionPoolListener

HEALTHY, DEGRADED, UNHEALTHY = "healthy", "degraded", "unhealthy"
_ORDER: Final = (HEALTHY, DEGRADED, UNHEALTHY)
CROWDED: Final = 0.8
"""Share of the connections in use from which on the pool counts as degraded."""

Client = AsyncMongoClient[dict[str, Any]]


class PoolWatch(ConnectionPoolListener):
    """Counts the driver's connections."""

    def __init__(self) -> None:
        self.open, self.in_use = 0, 0

    def connection_created(self, event: Any) -> None:
        """One more."""
        del event
        self.open += 1

    def connection_closed(self, event: Any) -> None:
        """One fewer."""
        del event
        self.open -= 1

    def connection_checked_out(self, event: Any) -> None:
        """Somebody uses one."""
        del event
        self.in_use += 1

    def connection_checked_in(self, event: Any) -> None:
        """It came back."""
        del event
        self.in_use -= 1

    def pool_created(self, event: Any) -> None:
        """Of no interest."""

    def pool_ready(self, event: Any) -> None:
        """Of no interest."""

    def pool_cleared(self, event: Any) -> None:
        """Of no interest."""

    def pool_closed(self, event: Any) -> None:
        """Of no interest."""

    def connection_ready(self, event: Any) -> None:
        """Of no interest."""

    def connection_check_out_started(self, event: Any) -> None:
        """Of no interest."""

    def connection_check_out_failed(self, event: Any) -> None:
        """Of no interest."""


async def health(client: Client | None, pool: PoolWatch) -> dict[str, Any]:
    """`{status, timestamp, mongodb: {status, ...}, pool: {status, ...}, checks: [...]}`."""
    if client is None:
        mongodb = {"status": UNHEALTHY, "message": "the engine is not initialized"}
        connections: dict[str, Any] = {"status": UNHEALTHY, "message": mongodb["message"]}
    else:
        mongodb, connections = await _pinged(client), _crowd(client, pool)
    worst = max((mongodb["status"], connections["status"]), key=_ORDER.index)
    return {
        "status": worst,
        "timestamp": datetime.now(UTC).isoformat(),
        "mongodb": mongodb,
        "pool": connections,
        "checks": [_check("mongodb", mongodb), _check("pool", connections)],
    }


def _check(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    details = {key: value for key, value in found.items() if key not in ("message", "status")}
    return {
        "name": name,
        "status": found["status"],
        "message": found.get("message", ""),
        "details": details,
    }


async def _pinged(client: Client) -> dict[str, Any]:
    began = time.monotonic()
    try:
        await client.admin.command("ping")
    except PyMongoError as error:
        return {"status": UNHEALTHY, "message": f"no answer: {type(error).__name__}"}
    return {"status": HEALTHY, "ping_ms": 1000 * (time.monotonic() - began)}


def _crowd(client: Client, pool: PoolWatch) -> dict[str, Any]:
    most = client.options.pool_options.max_pool_size or 0
    crowded = bool(most) and pool.in_use >= CROWDED * most
    return {
        "status": DEGRADED if crowded else HEALTHY,
        "message": "most connections are in use" if crowded else "",
        "open": pool.open,
        "in_use": pool.in_use,
        "max": most,
    }


class ClusterView:
    """What `engine.mongo_client` gives: how the cluster is, and no way to its data."""

    __slots__ = ("ping", "server_info", "topology")

    ping: Callable[[], Awaitable[dict[str, Any]]]
    """`{ok: 1.0}`, or PyMongo's error."""
    server_info: Callable[[], Awaitable[dict[str, Any]]]
    """The server's `buildInfo`."""
    topology: Callable[[], dict[str, Any]]
    """`{type, members: [{address, type}]}`."""

    def __init__(self, client: Client) -> None:
        async def ping() -> dict[str, Any]:
            return dict(await client.admin.command("ping"))

        async def server_info() -> dict[str, Any]:
            return dict(await client.server_info())

        def topology() -> dict[str, Any]:
            found = client.topology_description
            members = found.server_descriptions().values()
            return {
                "type": found.topology_type_name,
                "members": [
                    {"address": "{}:{}".format(*each.address), "type": each.server_type_name}
                    for each in members
                ],
            }

        self.ping, self.server_info, self.topology = ping, server_info, topology

    def __repr__(self) -> str:
        return "ClusterView()"
