"""How much clients may take of a process before they are anybody: connections, time, attempts."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, Field

SHARED: Final = (
    "max_connections",
    "max_connections_per_address",
    "connections_per_second",
    "login_failures",
    "login_failures_per_second",
    "max_buffered_bytes",
)
"""Bounds of which each process has its own part."""


class Bounds(BaseModel):
    """The settings; those in SHARED are divided by the number of workers."""

    max_connections: int = Field(
        default=10_000, ge=1, description="connections of a listener; more are closed at once"
    )
    max_connections_per_address: int = Field(
        default=5_000,
        ge=1,
        description="those from one address (IPv6: one /64); more are closed at once",
    )
    connections_per_second: int = Field(
        default=1_000, ge=1, description="so many a listener takes in; others wait to be accepted"
    )
    first_byte_seconds: float = Field(
        default=5.0, gt=0, description="until a connection says something, or its balancer does"
    )
    login_seconds: float = Field(
        default=10.0, gt=0, description="from accept to logged in, the handshake of TLS included"
    )
    frame_seconds: float = Field(default=30.0, gt=0, description="for a message that was begun")
    unknown_seconds: float = Field(
        default=600.0,
        gt=0,
        description="how long who does not log in (a driver's monitor) may be silent",
    )
    send_seconds: float = Field(
        default=60.0, gt=0, description="how long a client may take nothing of an answer"
    )
    keepalive_seconds: int = Field(
        default=60, ge=1, description="silence before TCP asks whether the client is there"
    )
    login_failures: int = Field(
        default=10,
        ge=1,
        description="wrong passwords for one name from one address, then one in 6 s",
    )
    login_failures_per_second: int = Field(
        default=100,
        ge=1,
        description="wrong passwords altogether, for who has not logged in lately",
    )
    max_buffered_bytes: int = Field(
        default=256_000_000, ge=1, description="of answers that clients of one app are slow to read"
    )

    def shared(self, workers: int) -> Bounds:
        """The part of one of several processes. Nothing becomes nothing."""
        parts = {name: max(1, -(-getattr(self, name) // workers)) for name in SHARED}
        return self.model_copy(update=parts)
