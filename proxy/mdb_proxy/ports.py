"""The places where clients come: ports and Unix sockets, one's own or shared by several processes.

A port that several processes will listen at is kept free for them, without taking a client; a Unix
socket is made once, and handed to them as it listens.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from mdb_proxy.listeners import Listening, format_address

BACKLOG: Final = 1024
"""Connections that may wait to be accepted; the system may allow less."""


@contextmanager
def listening_at(
    listening: Listening, handed: int | None = None, *, shared: bool = False
) -> Iterator[Sequence[socket.socket]]:
    """Listen while the block runs. `handed`: the descriptor of a socket that listens already.

    Raises:
        OSError: the place is taken, or cannot be had.
    """
    with ExitStack() as stack:
        if handed is not None:
            found = [stack.enter_context(socket.socket(fileno=handed))]
        elif listening.path:
            found = [stack.enter_context(unix_socket(Path(listening.path), listening.mode))]
        else:
            found = _bound(stack, listening.host, listening.port, shared=shared)
        for each in found:
            each.setblocking(False)
        yield found


def _bound(stack: ExitStack, host: str, port: int, *, shared: bool) -> list[socket.socket]:
    found = []
    for family, *_, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        made = stack.enter_context(_socket(family, socket.SO_REUSEADDR))
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            made.bind((address[0], port, *address[2:]))
            made.listen(BACKLOG)
        except OSError as error:
            said = (error.strerror or "cannot listen").lower()
            raise OSError(error.errno, f"{format_address(host, port)}: {said}") from None
        port = made.getsockname()[1]
        found.append(made)
    return found


@contextmanager
def unix_socket(path: Path, mode: int) -> Iterator[socket.socket]:
    """Listen at a path while the block runs; what a process that has gone left there is replaced.

    Raises:
        OSError: somebody listens there, or the file is no socket.
    """
    _make_room(path)
    # Under another name until it has its mode: nobody comes too early.
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        try:
            made.bind(str(fresh))
            fresh.chmod(mode)
            made.listen(BACKLOG)
            fresh.rename(path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(path)) from None
        ours = path.stat().st_ino
        try:
            yield made
        finally:
            with suppress(OSError):
                if path.stat().st_ino == ours:
                    path.unlink()


def _make_room(path: Path) -> None:
    """Remove a socket that nobody listens at."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(there.st_mode):
        raise OSError(errno.EEXIST, "There is a file that is no socket", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:  # BlockingIOError: its queue is full, so somebody is there
            if error.errno not in (errno.EAGAIN, errno.EWOULDBLOCK):
                raise
    raise OSError(errno.EADDRINUSE, f"{path}: address already in use", str(path))


@contextmanager
def kept(
    listeners: Sequence[Listening],
) -> Iterator[tuple[Sequence[Listening], dict[str, int]]]:
    """Hold all places for other processes while the block runs.

    Gives the listeners with their real ports, and by their number the descriptors to hand down.

    Raises:
        OSError: a place is taken, or cannot be had.
    """
    handed = {}
    found = []
    with ExitStack() as stack:
        for number, each in enumerate(listeners):
            if each.path:
                (made,) = stack.enter_context(listening_at(each))
                handed[str(number)] = made.fileno()
                found.append(each)
            else:
                port = stack.enter_context(reserved(each.host, each.port))
                found.append(each.model_copy(update={"port": port}))
        yield found, handed


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
