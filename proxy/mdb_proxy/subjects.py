"""The subject of a certificate as text: RFC 2253, letter by letter as `openssl` prints it.

openssl x509 -noout -subject -nameopt RFC2253 -in client.pem
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

SHORT: Final[Mapping[x509.ObjectIdentifier, str]] = {
    NameOID.BUSINESS_CATEGORY: "businessCategory",
    NameOID.COMMON_NAME: "CN",
    NameOID.COUNTRY_NAME: "C",
    x509.ObjectIdentifier("2.5.4.13"): "description",
    NameOID.DN_QUALIFIER: "dnQualifier",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.GENERATION_QUALIFIER: "generationQualifier",
    NameOID.GIVEN_NAME: "GN",
    NameOID.INITIALS: "initials",
    NameOID.JURISDICTION_COUNTRY_NAME: "jurisdictionC",
    NameOID.JURISDICTION_LOCALITY_NAME: "jurisdictionL",
    NameOID.JURISDICTION_STATE_OR_PROVINCE_NAME: "jurisdictionST",
    NameOID.LOCALITY_NAME: "L",
    x509.ObjectIdentifier("2.5.4.41"): "name",
    NameOID.ORGANIZATION_IDENTIFIER: "organizationIdentifier",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.POSTAL_ADDRESS: "postalAddress",
    NameOID.POSTAL_CODE: "postalCode",
    NameOID.PSEUDONYM: "pseudonym",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.STREET_ADDRESS: "street",
    NameOID.SURNAME: "SN",
    NameOID.TITLE: "title",
    NameOID.UNSTRUCTURED_NAME: "unstructuredName",
    NameOID.USER_ID: "UID",
    NameOID.X500_UNIQUE_IDENTIFIER: "x500UniqueIdentifier",
}
"""Short names; an attribute without one is shown by number, its value as bytes of DER."""

SPECIAL: Final = frozenset(b',+"\\<>;')


def subject_of(name: x509.Name) -> str:
    """Give the text of a name: the last part of it first."""
    return ",".join("+".join(map(_part, reversed(list(rdn)))) for rdn in reversed(name.rdns))


def _part(attribute: x509.NameAttribute[str | bytes]) -> str:
    short = SHORT.get(attribute.oid)
    if short is None or isinstance(attribute.value, bytes):
        return f"{short or attribute.oid.dotted_string}=#{_der(attribute).hex().upper()}"
    return f"{short}={_escaped(attribute.value.encode())}"


def _escaped(value: bytes) -> str:
    last = len(value) - 1
    return "".join(
        _character(byte, first=place == 0, last=place == last) for place, byte in enumerate(value)
    )


def _character(byte: int, *, first: bool, last: bool) -> str:
    if byte < ord(" ") or byte >= 0x7F:  # noqa: PLR2004 - ASCII that can be seen
        return f"\\{byte:02X}"
    if byte in SPECIAL or (byte == ord(" ") and (first or last)) or (byte == ord("#") and first):
        return f"\\{chr(byte)}"
    return chr(byte)


def _der(attribute: x509.NameAttribute[str | bytes]) -> bytes:
    """The value with its tag: what stands behind the OID in a sequence of one set of one pair."""
    data = x509.Name([attribute]).public_bytes()
    for _ in range(3):
        data = _inside(data)[0]
    return _inside(data)[1]


def _inside(data: bytes) -> tuple[bytes, bytes]:
    """The content of the first DER value, and what stands behind it."""
    size, start = data[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start], "big")
    return data[start : start + size], data[start + size :]
