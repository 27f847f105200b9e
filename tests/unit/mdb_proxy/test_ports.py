"""A port is held for several listeners, and for nobody else."""

import os
import socket
import stat
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from mdb_proxy.listeners import Listening
from mdb_proxy.ports import kept, listening_at, reserved, unix_socket


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


# Unix sockets.


def visited(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as visitor:
        try:
            visitor.connect(str(path))
        except OSError:
            return False
    return True


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with unix_socket(path, 0o660):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert visited(path)
        with pytest.raises(OSError, match="in use") as error, unix_socket(path, 0o600):
            pass
        assert error.value.filename == str(path)
        assert visited(path)
    assert list(tmp_path.iterdir()) == []


def test_what_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    assert not visited(path)
    with unix_socket(path, 0o600):
        assert visited(path)
    assert not path.exists()


def test_a_socket_of_somebody_who_is_busy(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as busy, ExitStack() as stack:
        busy.bind(str(path))
        busy.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(str(path))
        with pytest.raises(OSError, match="in use"), unix_socket(path, 0o600):
            pass


@pytest.mark.parametrize("where", ["file", "nowhere/s"])
def test_a_path_that_cannot_be_had(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("kept")
    with (
        pytest.raises(OSError, match=r"no socket|No such file") as error,
        unix_socket(tmp_path / where, 0o600),
    ):
        pass
    assert error.value.filename == str(tmp_path / where)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_who_has_taken_our_place_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with unix_socket(path, 0o600):
        path.unlink()
        path.write_text("another's")
    assert path.read_text() == "another's"


def test_all_places_are_kept_for_others(tmp_path: Path) -> None:
    wanted = [Listening(host="127.0.0.1"), Listening(path=str(tmp_path / "s"))]
    with kept(wanted) as (found, handed):
        assert found[0].port
        with pytest.raises(OSError, match="in use"):
            listener(found[0].port, shared=False)
        assert found[1] == wanted[1]
        with listening_at(wanted[1], os.dup(handed["1"])) as (made,):
            assert visited(tmp_path / "s")
            made.accept()[0].close()
        with listening_at(found[0], shared=True) as (made,):
            socket.create_connection(made.getsockname()).close()
    assert not visited(tmp_path / "s")


def test_a_port_at_every_address_of_a_host() -> None:
    with listening_at(Listening(host="localhost")) as sockets:
        assert len({each.getsockname()[1] for each in sockets}) == 1
        assert not any(each.getblocking() for each in sockets)
