"""What a listener is, read from one line or from one table of the settings file: the same parser.

    tls://0.0.0.0:27018?presentation=replicaset:apps&advertise=db.example.com:27018
    unix:///run/mdb/mdb.sock?mode=0660

`HOST:PORT` alone is a listener without TLS that presents itself as a mongos.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, unquote

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mdb_engine.exceptions import ConfigurationError

MAX_PORT: Final = 65_535
MAX_PATH: Final = 96
"""Bytes in the path of a Unix socket: 107 (Linux), less what it has while it is made."""

SCHEMES: Final = ("tcp", "tls", "unix")
MODE: Final = re.compile(r"0?[0-7]{3}")

Network = IPv4Network | IPv6Network
Clients = Literal["none", "optional", "required"]


def parse_address(text: str) -> tuple[str, int]:
    """Give host and port of `HOST:PORT`, `[IPv6]:PORT` or `:PORT` (every interface).

    Raises:
        ConfigurationError: not of that form, or the port is outside 0-65535.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > MAX_PORT:
        raise ConfigurationError(f"{text!r} is not an address; write it as HOST:PORT")
    bare = host.removeprefix("[").removesuffix("]")
    if ":" in bare and bare == host:
        raise ConfigurationError(f"{text!r}: an IPv6 address stands in brackets, [::1]:27018")
    return bare or "0.0.0.0", int(port)  # noqa: S104 - asked for by an empty host


def format_address(host: str, port: int) -> str:
    """Give `HOST:PORT`, with the brackets that IPv6 needs."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Keys(BaseModel):
    """Files that TLS needs.

    Attributes:
        certificate: PEM, with the chain; and with the key, unless that stands in `key`.
        client_ca: authorities of the clients' certificates.
        client_certificates: whether clients show one. It is verified in any case.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    client_certificates: Clients = "none"

    def over(self, usual: Keys) -> Keys:
        """These files; where none is named the usual ones, each group as a whole."""
        mine, other = self.model_dump(), usual.model_dump()
        groups = (("certificate", "key"), ("client_ca", "client_certificates"))
        kept = [name for group in groups if self.model_fields_set & {*group} for name in group]
        return Keys(**{**other, **{name: mine[name] for name in kept}})


class Listening(BaseModel):
    """Where one listener takes clients in, and as what.

    Attributes:
        host, port: of TCP; port 0 is any. path, mode: of a Unix socket.
        tls: the bytes are protected. keys: by these files.
        presentation: `mongos`, `loadbalanced` (for clients that say `loadBalanced`; for others a
            mongos) or `replicaset:NAME`.
        advertise: `HOST:PORT` that clients of a replica set are told; "": the one they came to.
        proxy_protocol: each connection begins with a PROXY header (version 2), which is believed
            if it comes from one of the `trusted` networks; others are refused.
        max_connections: closed at once when there are so many; None: the setting of that name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = ""
    port: int = Field(0, ge=0, le=MAX_PORT)
    path: str = ""
    mode: int = 0o600
    tls: bool = False
    keys: Keys = Field(default_factory=Keys)
    presentation: str = "mongos"
    advertise: str = ""
    proxy_protocol: bool = False
    trusted: tuple[Network, ...] = ()
    max_connections: int | None = Field(None, ge=1)

    @field_validator("mode", mode="before")
    @classmethod
    def _mode(cls, value: Any) -> Any:
        if isinstance(value, str):
            if not MODE.fullmatch(value):
                raise ValueError("a mode is written as 0600 or 0660")
            return int(value, 8)
        return value

    @field_validator("trusted", mode="before")
    @classmethod
    def _networks(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())
        return value

    @field_validator("presentation")
    @classmethod
    def _presentation(cls, value: str) -> str:
        kind, _, name = value.partition(":")
        if value in ("mongos", "loadbalanced") or (kind == "replicaset" and name):
            return value
        raise ValueError("a presentation is mongos, loadbalanced or replicaset:NAME")

    @field_validator("advertise")
    @classmethod
    def _advertised(cls, value: str) -> str:
        if value and not parse_address(value)[1]:
            raise ValueError("clients cannot be told port 0")
        return value

    @model_validator(mode="after")
    def _sensible(self) -> Listening:
        if self.proxy_protocol and not (self.trusted or self.path):
            raise ValueError("proxy_protocol needs the networks that it is trusted from: trusted=")
        if not (self.host or self.path):
            raise ValueError("a listener needs a host or a path")
        if len(self.path.encode()) > MAX_PATH:
            raise ValueError(f"the path of a Unix socket has at most {MAX_PATH} bytes")
        if self.path and self.replica_set and not self.advertise:
            raise ValueError("a replica set at a Unix socket needs an address: advertise=")
        return self

    @property
    def replica_set(self) -> str:
        """The name of the set that it presents itself as; "" for none."""
        return self.presentation.partition(":")[2]

    @property
    def balanced(self) -> bool:
        """Whether it may say that it stands behind a load balancer."""
        return self.presentation == "loadbalanced"

    @property
    def name(self) -> str:
        """The listener in logs, metrics and on the terminal."""
        if self.path:
            return f"unix://{self.path}"
        return ("tls://" if self.tls else "") + format_address(self.host, self.port)

    def trusts(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether a PROXY header from there is believed."""
        return any(address in network for network in self.trusted)


FILES: Final = frozenset(Keys.model_fields)
WHERE: Final = frozenset({"host", "keys", "path", "port", "tls"})
"""Fields that the rest of the line tells."""


def read_listener(where: str, options: Mapping[str, Any], usual: Keys) -> Listening:
    """Give the listener that a line and more options describe.

    Args:
        where: `HOST:PORT`, or a URL (`tcp`, `tls`, `unix`) whose query holds options.
        options: those that do not stand in the query.
        usual: the files of TLS that a listener has which names none.

    Raises:
        ConfigurationError: says what is wrong with it.
    """
    scheme, slashes, rest = where.rpartition("://")
    place, _, query = rest.partition("?")
    if (slashes and scheme not in SCHEMES) or (query and not slashes):
        raise ConfigurationError(f"{where!r}: a listener is HOST:PORT or tcp://, tls://, unix://")
    fields = _place(scheme, place)
    try:
        given = _given([*parse_qsl(query, keep_blank_values=True), *options.items()])
        files = {name: given.pop(name) for name in FILES & given.keys()}
        keys = Keys(**files).over(usual)
        found = Listening(**given, **fields, tls=scheme == "tls", keys=keys)
        _check_keys(found)
    except ValidationError as error:
        raise ConfigurationError(f"{where!r}: {_sentence(error)}") from None
    except ValueError as error:
        raise ConfigurationError(f"{where!r}: {error}") from None
    return found


def _given(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    given = dict(pairs)
    if len(given) < len(pairs):
        raise ValueError("an option stands there twice")
    for name in WHERE & given.keys():
        raise ValueError(f"{name}: there is no such option")
    return given


def _place(scheme: str, place: str) -> dict[str, Any]:
    if scheme == "unix":
        return {"path": unquote(place)}
    host, port = parse_address(place)
    return {"host": host, "port": port}


def _check_keys(listening: Listening) -> None:
    keys = listening.keys
    if listening.tls and keys.certificate is None:
        raise ValueError("TLS needs a certificate: --tls-certificate")
    if listening.tls and (keys.client_ca is None) != (keys.client_certificates == "none"):
        raise ValueError("client_ca and client_certificates go together")


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"][:1])
    if first["type"] == "extra_forbidden":
        return f"{name}: there is no such option"
    said = first["msg"].removeprefix("Value error, ")
    return f"{name}: {said}" if name else said
