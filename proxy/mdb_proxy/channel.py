"""What is known of a connection before anything was said on it: who calls, where, how safely."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Channel:
    """The facts of one connection; they never change.

    Attributes:
        peer: the client's `host:port`; "local" for a Unix socket.
        secure: the bytes are protected by TLS.
        server_name: the host name that the client asked for in TLS (SNI); "" for none.
        subject: the subject of the client's certificate (RFC 2253 form), which the listener has
            verified; "" when it showed none.
        replica_set: the name of the set that its listener presents itself as; "" for a mongos.
        balanced: its listener may say that it stands behind a load balancer.
        here: `host:port` under which the client may be told to find us; "" for unknown.
    """

    peer: str
    secure: bool = False
    server_name: str = ""
    subject: str = ""
    replica_set: str = ""
    balanced: bool = False
    here: str = ""

    @property
    def address(self) -> str:
        """The client's, without its port."""
        return self.peer.rpartition(":")[0] or self.peer
