"""Connections that behave badly: bytes as they are, from an address of choice."""

import contextlib
import itertools
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import bson

from tests.support.talks import heard as understood
from tests.support.talks import message, one_frame

SECONDS = 20
CROWD = "127.0.0.3"
"""Where crowds come from: so they take no ports from the servers of other tests."""

NONCE = "rOprNGfwEbeRWgbNEkqO"


class Stranger:
    """One connection to a port of this machine, without a driver."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), SECONDS, (source, 0))
        self._numbers = itertools.count(1)

    def __enter__(self) -> "Stranger":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def says(self, data: bytes) -> None:
        """Send bytes, if it still may."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def hears(self) -> bytes:
        """Give what comes until the other side closes."""
        found = b""
        with contextlib.suppress(ConnectionError):
            while part := self.socket.recv(65_536):
                found += part
        return found

    def closed(self) -> bool:
        """Whether the other side has closed, now."""
        self.socket.setblocking(False)
        try:
            return self.socket.recv(1 << 16) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.socket.settimeout(SECONDS)

    def asks(self, command: dict[str, Any]) -> dict[str, Any]:
        """Give the answer to a command."""
        self.socket.sendall(message(command, number=next(self._numbers)))
        head = self._exactly(4)
        return understood(one_frame(head + self._exactly(struct.unpack("<i", head)[0] - 4))).body

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            part = self.socket.recv(size - len(found))
            if not part:
                raise ConnectionError("the other side closed the connection")
            found += part
        return found

    def guesses(self, name: str) -> dict[str, Any]:
        """Log in with a proof that is wrong; gives the refusal. Costs next to nothing."""
        first = {
            "saslStart": 1,
            "mechanism": "SCRAM-SHA-256",
            "payload": bson.Binary(f"n,,n={name},r={NONCE}".encode()),
            "$db": "admin",
        }
        reply = self.asks(first)
        if not reply["ok"]:
            return reply
        nonce = reply["payload"].decode().split(",")[0]
        proof = bson.Binary(f"c=biws,{nonce},p={'A' * 43}=".encode())
        more = {"saslContinue": 1, "conversationId": reply["conversationId"], "payload": proof}
        return self.asks({**more, "$db": "admin"})


@contextmanager
def strangers(port: int, count: int, first: bytes = b"") -> Iterator[Sequence[Stranger]]:
    """Give so many connections that have said this much."""
    with ExitStack() as stack:
        found = [stack.enter_context(Stranger(port, CROWD)) for _ in range(count)]
        for each in found:
            each.says(first)
        yield found


def all_closed(found: Sequence[Stranger], seconds: float) -> bool:
    """Whether all of them are closed by the other side in time."""
    deadline, left = time.monotonic() + seconds, list(found)
    while left and time.monotonic() < deadline:
        left = [each for each in left if not each.closed()]
        time.sleep(0.1)
    return not left
