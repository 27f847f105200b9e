"""A port is held for several listeners, and for nobody else."""

import socket

import pytest

from mdb_proxy.ports import reserved


def listener(port: int, *, shared: bool = True) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made.bind(("127.0.0.1", port))
    except OSError:
        made.close()
        raise
    made.listen()
    return made


def test_a_free_port_is_found_and_kept() -> None:
    with reserved("127.0.0.1", 0) as port:
        assert port
        with pytest.raises(OSError, match="in use"):
            listener(port, shared=False)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_only_listeners_get_connections() -> None:
    with reserved("127.0.0.1", 0) as port, listener(port) as first, listener(port) as second:
        for sock in (first, second):
            sock.setblocking(False)
        visitors = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
        counts = []
        for sock in (first, second):
            taken = 0
            while True:
                try:
                    sock.accept()[0].close()
                except BlockingIOError:
                    break
                taken += 1
            counts.append(taken)
        for visitor in visitors:
            visitor.close()
    assert sum(counts) == 100
    assert min(counts) > 0


@pytest.mark.parametrize("shared", [False, True])
def test_a_port_of_somebody_else(shared: bool) -> None:
    with reserved("127.0.0.1", 0) as port:
        pass
    with (
        listener(port, shared=shared),
        pytest.raises(OSError, match="in use"),
        reserved("127.0.0.1", port),
    ):
        pytest.fail("it was shared")


def test_the_same_port_of_every_address() -> None:
    with reserved("localhost", 0) as port, reserved("127.0.0.2", port) as same:
        assert same == port
