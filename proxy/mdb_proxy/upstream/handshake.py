"""How a new connection becomes ours: TCP or TLS, `hello` with our metadata, login.

Source: MongoDB handshake and authentication specifications.
"""

import asyncio
import hashlib
import platform
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Any, Final

from scramp import ScramClient, ScramException

from mdb_engine import rawbson
from mdb_engine.exceptions import InvalidBSONError, QueryValidationError, UpstreamError
from mdb_proxy.upstream.connection import Connection
from mdb_proxy.upstream.failures import TurnedAwayError
from mdb_proxy.upstream.target import SCRAM_MECHANISMS, X509, Login, Target
from mdb_proxy.wire import WireError

_BINARY_PREFIX: Final = 5


async def connect(member: tuple[str, int], target: Target, app_name: str) -> Connection:
    """An open connection to a member that has accepted our login.

    Raises:
        UpstreamError: it cannot be reached, is no MongoDB server, or refuses us.
    """
    host, port = member
    name = f"{host}:{port}"
    try:
        async with asyncio.timeout(target.connect_seconds):
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(name),
                host,
                port,
                ssl=target.tls,
                ssl_handshake_timeout=target.connect_seconds if target.tls else None,
            )
            await _introduce(connection, target.login, app_name)
    except (OSError, WireError, InvalidBSONError, QueryValidationError) as error:
        raise UpstreamError(f"cannot connect to {name}: {_reason(error)}") from error
    return connection


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


async def _introduce(connection: Connection, login: Login | None, app_name: str) -> None:
    accepted = False
    try:
        reply = await connection.command(_hello(login, app_name))
        if reply.get("ok") != 1:
            raise UpstreamError(f"{connection.member} refused the handshake")
        if login is not None:
            mechanism = _mechanism(login, reply)
            await _LOGINS.get(mechanism, _by_scram)(connection, login, mechanism)
        accepted = True
    finally:
        if not accepted:
            connection.abort()


def _hello(login: Login | None, app_name: str) -> dict[str, Any]:
    command: dict[str, Any] = {
        "hello": 1,
        "client": {
            "application": {"name": app_name},
            "driver": {"name": "mdb-proxy", "version": version("mdb-engine")},
            "os": {"type": platform.system()},
        },
        "$db": "admin",
    }
    if login is not None and login.mechanism is None:
        command["saslSupportedMechs"] = f"{login.source}.{login.name}"
    return command


def _mechanism(login: Login, hello: rawbson.Document) -> str:
    if login.mechanism is not None:
        return login.mechanism
    # Absent for an unknown user; the login then fails like any other.
    offered = hello.get("saslSupportedMechs") or ()
    return next((each for each in SCRAM_MECHANISMS if each in offered), SCRAM_MECHANISMS[0])


async def _by_certificate(connection: Connection, login: Login, mechanism: str) -> None:
    """The server has seen our certificate during the TLS handshake."""
    command = {"authenticate": 1, "mechanism": mechanism, "$db": login.source}
    reply = await connection.command({**command, **({"user": login.name} if login.name else {})})
    if reply.get("ok") != 1:
        raise TurnedAwayError(f"{connection.member} refused the login by our certificate")


async def _by_scram(connection: Connection, login: Login, mechanism: str) -> None:
    refused = TurnedAwayError(f"{connection.member} refused the login of user {login.name}")
    try:
        client = ScramClient([mechanism], login.name, _proof(login, mechanism))
        start: dict[str, Any] = {
            "saslStart": 1,
            "mechanism": mechanism,
            "payload": client.get_client_first().encode(),
            "options": {"skipEmptyExchange": True},
            "$db": login.source,
        }
        reply = await connection.command(start)
        client.set_server_first(_payload(reply, refused))
        # 15,000 rounds of a hash: some 8 ms that the loop should not stand still
        final = await asyncio.to_thread(client.get_client_final)
        reply = await _go_on(connection, login, reply, final)
        client.set_server_final(_payload(reply, refused))
        if not reply.get("done"):
            reply = await _go_on(connection, login, reply, "")
        if not reply.get("done"):
            raise refused
    except ScramException:
        raise refused from None


async def _go_on(
    connection: Connection, login: Login, reply: rawbson.Document, payload: str
) -> rawbson.Document:
    return await connection.command(
        {
            "saslContinue": 1,
            "conversationId": reply.get("conversationId"),
            "payload": payload.encode(),
            "$db": login.source,
        }
    )


def _proof(login: Login, mechanism: str) -> str:
    if mechanism != "SCRAM-SHA-1":
        return login.password
    # MongoDB's rule for SCRAM-SHA-1: the password is this digest, in hexadecimal
    text = f"{login.name}:mongo:{login.password}".encode()
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def _payload(reply: rawbson.Document, refused: UpstreamError) -> str:
    payload = reply.get("payload")
    if reply.get("ok") != 1 or not isinstance(payload, rawbson.Raw):
        raise refused
    return payload.data[_BINARY_PREFIX:].decode("utf-8", "replace")


_LOGINS: Final[Mapping[str, Callable[[Connection, Login, str], Awaitable[None]]]] = {
    X509: _by_certificate
}
"""Mechanisms that are not SCRAM."""
