"""A port that several processes will listen at: kept free for them, without taking a client."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """Hold the port at every address of the host while the block runs; 0 takes a free one.

    The sockets are bound and do not listen, so that they get no share of the connections.

    Raises:
        OSError: somebody has the port. Ours alone may share it, and only those we start.
    """
    with ExitStack() as stack:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            where = (address[0], port, *address[2:])
            if port:
                # With SO_REUSEPORT another proxy of the same user would share it unnoticed.
                with _socket(family, kind, protocol) as probe:
                    probe.bind(where)
            held = stack.enter_context(_socket(family, kind, protocol))
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(where)
            port = held.getsockname()[1]
        yield port


def _socket(family: int, kind: int, protocol: int) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made
