"""The PROXY protocol, version 2: what a load balancer says of a connection before its first byte.

Source: HAProxy, "The PROXY protocol", section 2.2 (binary header format).
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from mdb_proxy.wire.frames import WireError

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
FIXED: Final = struct.Struct(">12sBBH")
"""Signature, version and command, family and transport, length of what follows."""

MAX_REST: Final = 4_096
"""Bytes behind the fixed part; whoever hands certificates on in it needs some."""

_PORTS: Final = struct.Struct(">HH")
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_FAMILIES: Final = {0x11: (IPv4Address, 4), 0x21: (IPv6Address, 16)}
"""TCP over IPv4, TCP over IPv6."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the client is, and what it connected to: host and port of each."""

    source: tuple[str, int]
    destination: tuple[str, int]


def rest_of(fixed: bytes) -> int:
    """How many bytes follow the fixed part.

    Raises:
        WireError: this is no header of version 2.
    """
    signature, command, _, size = FIXED.unpack(fixed)
    if signature != SIGNATURE:
        raise WireError("the connection does not begin with a PROXY header (version 2)")
    if command not in (_LOCAL, _PROXY) or size > MAX_REST:
        raise WireError(f"PROXY header: command {command:#x}, {size} bytes")
    return int(size)


def origin_of(fixed: bytes, rest: bytes) -> Origin | None:
    """Whom the connection is for; None: for the balancer itself, or it does not know.

    Raises:
        WireError: the addresses are cut off.
    """
    _, command, family, _ = FIXED.unpack(fixed)
    kind = _FAMILIES.get(family)
    if command == _LOCAL or kind is None:
        return None
    address, size = kind
    if len(rest) < 2 * size + _PORTS.size:
        raise WireError("PROXY header: the addresses are cut off")
    source, destination = (str(address(rest[at : at + size])) for at in (0, size))
    ports = _PORTS.unpack_from(rest, 2 * size)
    return Origin((source, ports[0]), (destination, ports[1]))
