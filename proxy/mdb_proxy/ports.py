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
        for family, *_, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            where = (address[0], port, *address[2:])
            if port:
                # With SO_REUSEPORT another proxy of the same user would share it unnoticed.
                with _socket(family, socket.SO_REUSEADDR) as probe:
                    probe.bind(where)
            port = stack.enter_context(_held(family, where)).getsockname()[1]
        yield port


def _held(family: int, where: tuple[str | int, ...]) -> socket.socket:
    held = _socket(family, socket.SO_REUSEPORT)
    try:
        try:
            held.bind(where)
        except OSError:
            # Connections that ended a moment ago are in the way of whoever does not say this;
            # whoever does may take the port before somebody listens.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(where)
    except OSError:
        held.close()
        raise
    return held


def _socket(family: int, option: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, option, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made
