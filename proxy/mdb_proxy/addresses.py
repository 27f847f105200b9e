"""What counts as one client's address: an IPv4 address, or the network that an IPv6 one is in."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

NETWORK: Final = 64
"""Bits of an IPv6 address that count: whoever has one has all that begin so."""


def group_of(host: str) -> str:
    """Give the group of a host; what is no address ("" at a Unix socket) is a group of its own."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address, NETWORK), strict=False))
