"""One connection to a proxy, byte by byte: to know which worker it leads to, and when it closes."""

import socket
import struct
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import bson
from pymongo.uri_parser import parse_uri
from scramp import ScramClient

from mdb_engine.credentials import SCRAM_SHA_256
from tests.support.talks import decoded, message

SECONDS = 20


class Visitor:
    """A logged-in connection; `address`: where it comes from, if that matters.

    Attributes:
        number: what the proxy calls the connection; of two workers the first has the odd ones.
    """

    def __init__(self, uri: str, address: str = "") -> None:
        parsed = parse_uri(uri)
        own = (address, 0) if address else None
        self._socket = socket.create_connection(parsed["nodelist"][0], SECONDS, own)
        try:
            self._log_in(parsed)
        except BaseException:
            self._socket.close()
            raise

    def _log_in(self, parsed: Mapping[str, Any]) -> None:
        self.number = self.ask({"hello": 1, "$db": "admin"})["connectionId"]
        scram = ScramClient([SCRAM_SHA_256], parsed["username"], parsed["password"])
        first = {"saslStart": 1, "mechanism": SCRAM_SHA_256, "$db": "admin"}
        options = {"skipEmptyExchange": True}
        reply = self.ask({**first, "payload": scram.get_client_first(), "options": options})
        assert reply["ok"], reply
        scram.set_server_first(reply["payload"].decode())
        final = {"saslContinue": 1, "conversationId": reply["conversationId"], "$db": "admin"}
        reply = self.ask({**final, "payload": scram.get_client_final()})
        assert reply["ok"], reply

    @property
    def worker(self) -> int:
        """Give the number of the worker, when there are two."""
        return (int(self.number) - 1) % 2 + 1

    def ask(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Give the reply to a command."""
        self.say(command)
        (size,) = struct.unpack("<i", self._read(4))
        return decoded(self._read(size - 4)[17:])

    def say(self, command: Mapping[str, Any]) -> None:
        """Send a command and wait for nothing."""
        self._socket.sendall(message(command))

    def _read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            more = self._socket.recv(size - len(found))
            if not more:
                raise EOFError("the proxy closed the connection")
            found += more
        return found

    def closed(self) -> bool:
        """Whether the proxy closes the connection, without being asked anything."""
        try:
            return self._socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()


def one_at_each(uri: str) -> tuple[Visitor, Visitor]:
    """Give a connection to each of two workers."""
    found: dict[int, Visitor] = {}
    for _ in range(200):
        visitor = Visitor(uri)
        if visitor.worker in found:
            visitor.__exit__(None, None, None)
        else:
            found[visitor.worker] = visitor
        if len(found) == 2:
            return found[1], found[2]
    raise AssertionError("all connections lead to one worker")


def batch(reply: Mapping[str, Any]) -> list[Any]:
    """Give the documents of a reply."""
    assert reply["ok"], reply
    cursor = reply["cursor"]
    return list(cursor.get("firstBatch", cursor.get("nextBatch")))


def long(number: int) -> bson.Int64:
    """Give a number as the type that cursors have."""
    return bson.Int64(number)
