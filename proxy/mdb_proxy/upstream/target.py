"""What a MongoDB URI says to our own connections: TLS, login, deadlines.

The list of members is the driver's business; here is only what it does not do for us.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from mdb_engine.exceptions import ConfigurationError

SCRAM_MECHANISMS: Final = ("SCRAM-SHA-256", "SCRAM-SHA-1")
X509: Final = "MONGODB-X509"
_CONNECT_SECONDS: Final = 10.0
_HEARTBEAT_SECONDS: Final = 1.0
"""The driver's own 10 s would be the time in which we notice a server that has come back."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are to the cluster. `mechanism` None: the best one that the server has for us.

    By X.509 the certificate says it: there is no password, and "" for the name will do.
    """

    name: str
    password: str = field(repr=False)
    source: str
    mechanism: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """How to connect to a member, whichever it is.

    Attributes:
        hosts: what the URI names, for messages.
        connect_seconds: for connection, TLS, handshake and login together.
        reply_seconds: for one reply; None for no bound.
        heartbeat_seconds: how often every member is looked at.
        pool_size: the most connections to a member for ordinary commands; None: as we like.
    """

    hosts: tuple[str, ...]
    tls: ssl.SSLContext | None = None
    login: Login | None = None
    connect_seconds: float = _CONNECT_SECONDS
    reply_seconds: float | None = None
    heartbeat_seconds: float = _HEARTBEAT_SECONDS
    pool_size: int | None = None


async def read_target(uri: str) -> Target:
    """What the URI says. SRV names are resolved, in a thread.

    Raises:
        ConfigurationError: not a usable URI; its text holds no password.
    """
    return await asyncio.to_thread(_read, uri)


def _read(uri: str) -> Target:
    try:
        parsed = parse_uri(uri)
    except (PyMongoError, ValueError, OSError):
        # `from None`, and the reason from a URI without credentials: the parser quotes its input.
        raise ConfigurationError(f"the MongoDB URI is not usable: {_reason(uri)}") from None
    # the parser restores the usual spelling of some names and not of others (PyMongo 4.20)
    options = {name.lower(): value for name, value in parsed["options"].items()}
    if options.get("loadbalanced"):
        raise ConfigurationError("a MongoDB URI with loadBalanced=true is not supported")
    return Target(
        hosts=tuple(
            host if port is None else f"{host}:{port}" for host, port in parsed["nodelist"]
        ),
        tls=_tls(options),
        login=_login(parsed, options),
        connect_seconds=options.get("connecttimeoutms") or _CONNECT_SECONDS,
        reply_seconds=options.get("sockettimeoutms") or None,
        heartbeat_seconds=options.get("heartbeatfrequencyms") or _HEARTBEAT_SECONDS,
        pool_size=options.get("maxpoolsize") or None,
    )


def _reason(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    try:
        parse_uri(f"{scheme}://{rest.rpartition('@')[2]}")
    except (PyMongoError, ValueError, OSError) as error:
        return str(error)
    return "user name and password must be percent-encoded"


def _login(parsed: Mapping[str, Any], options: Mapping[str, Any]) -> Login | None:
    mechanism = options.get("authmechanism", "DEFAULT")
    if mechanism == X509:
        return _certified(parsed, options)
    if mechanism not in {"DEFAULT", *SCRAM_MECHANISMS}:
        raise ConfigurationError(
            f"authMechanism={mechanism} is not supported; use SCRAM-SHA-256 or {X509}"
        )
    name, password = parsed["username"], parsed["password"]
    if name is None:
        return None
    if not password:
        raise ConfigurationError("the MongoDB URI holds a user name and no password")
    source = options.get("authsource") or parsed["database"] or "admin"
    return Login(name, password, source, None if mechanism == "DEFAULT" else mechanism)


def _certified(parsed: Mapping[str, Any], options: Mapping[str, Any]) -> Login:
    if not options.get("tls") or not options.get("tlscertificatekeyfile"):
        raise ConfigurationError(f"authMechanism={X509} needs tls=true and tlsCertificateKeyFile")
    return Login(parsed["username"] or "", "", "$external", X509)


def _tls(options: Mapping[str, Any]) -> ssl.SSLContext | None:
    if not options.get("tls"):
        return None
    insecure = bool(options.get("tlsinsecure"))
    try:
        context = ssl.create_default_context(cafile=options.get("tlscafile"))
        if options.get("tlscrlfile"):
            context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
            context.load_verify_locations(options["tlscrlfile"])
        if options.get("tlscertificatekeyfile"):
            context.load_cert_chain(
                options["tlscertificatekeyfile"],
                password=options.get("tlscertificatekeyfilepassword"),
            )
    except (OSError, ValueError):
        raise ConfigurationError("a certificate file of the MongoDB URI is not usable") from None
    if insecure or options.get("tlsallowinvalidhostnames"):
        context.check_hostname = False
    if insecure or options.get("tlsallowinvalidcertificates"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
