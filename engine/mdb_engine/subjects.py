"""The subject of a certificate as text, in one spelling: what two spellings of one name share.

Source: RFC 4514. The order of the parts is theirs, the most specific first (`CN=app,O=Example`);
another order is another name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from mdb_engine.exceptions import ConfigurationError

_NAMES: Final[Mapping[str, str]] = MappingProxyType({
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "EMAILADDRESS",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "TITLE",
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.42": "GN",
    "2.5.4.5": "SERIALNUMBER",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "COMMONNAME": "CN",
    "COUNTRYNAME": "C",
    "DOMAINCOMPONENT": "DC",
    "E": "EMAILADDRESS",
    "EMAIL": "EMAILADDRESS",
    "GIVENNAME": "GN",
    "LOCALITYNAME": "L",
    "ORGANIZATIONALUNITNAME": "OU",
    "ORGANIZATIONNAME": "O",
    "S": "ST",
    "STATEORPROVINCENAME": "ST",
    "STREETADDRESS": "STREET",
    "SURNAME": "SN",
    "USERID": "UID",
})  # fmt: skip
"""How else an attribute is called -> the name that we write. Others stay as they are."""

MAX_SUBJECT: Final = 1_024
_ATTRIBUTE: Final = re.compile(r"[A-Z][A-Z0-9-]*|[0-9]+(?:\.[0-9]+)+")
_TOKEN: Final = re.compile(r"((?:\\[0-9A-Fa-f]{2})+)|\\([ \"#+,;<=>\\])|([^\"+,;<>\\\0])|([+,])")
_HEX: Final = re.compile(r"#(?:[0-9a-f]{2})+")
_SPECIAL: Final = re.compile(r'["+,;<>\\]')
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

_Char = tuple[str, bool]
"""A character of a value, and whether it was escaped."""


def canonical(subject: str) -> str:
    r"""A subject in our spelling.

    >>> canonical("cn = app\\2c 1 , ou=b+2.5.4.10=Example")
    'CN=app\\, 1,O=Example+OU=b'

    Raises:
        ConfigurationError: it is empty, too long, or no subject.
    """
    if not subject or len(subject) > MAX_SUBJECT:
        raise _wrong()
    parts: list[str] = []
    several: list[str] = []
    for chars, separator in _split(subject):
        several.append(_attribute(chars))
        if separator != "+":
            parts.append("+".join(sorted(several)))
            several = []
    return ",".join(parts)


def _split(subject: str) -> Iterator[tuple[list[_Char], str]]:
    """The characters of each attribute and the separator behind it; "" behind the last."""
    found: list[_Char] = []
    at = 0
    while at < len(subject):
        token = _TOKEN.match(subject, at)
        if token is None:
            raise _wrong()
        at = token.end()
        pairs, escaped, plain, separator = token.groups()
        if separator:
            yield found, separator
            found = []
        elif plain:
            found.append((plain, False))
        else:
            found += [(char, True) for char in (escaped or _decoded(pairs))]
    yield found, ""


def _decoded(pairs: str) -> str:
    try:
        return bytes.fromhex(pairs.replace("\\", "")).decode()
    except UnicodeDecodeError:
        raise _wrong() from None


def _attribute(chars: list[_Char]) -> str:
    """`NAME=value` in our spelling."""
    equals = next((n for n, char in enumerate(chars) if char == ("=", False)), None)
    if equals is None:
        raise _wrong()
    name = "".join(char for char, _ in chars[:equals]).strip(" ").upper()
    value = _trimmed(chars[equals + 1 :])
    if not _ATTRIBUTE.fullmatch(name) or not value:
        raise _wrong()
    text = "".join(char for char, _ in value)
    if value[0] == ("#", False):
        if not _HEX.fullmatch(text.lower()):
            raise _wrong()
        return f"{_NAMES.get(name, name)}={text.lower()}"
    return f"{_NAMES.get(name, name)}={_escaped(text)}"


def _trimmed(chars: list[_Char]) -> list[_Char]:
    """Without the blanks around it, unless they were escaped."""
    blank = (" ", False)
    start, end = 0, len(chars)
    while start < end and chars[start] == blank:
        start += 1
    while end > start and chars[end - 1] == blank:
        end -= 1
    return chars[start:end]


def _escaped(text: str) -> str:
    shown = _SPECIAL.sub(lambda found: f"\\{found[0]}", text)
    shown = _CONTROL.sub(lambda found: f"\\{ord(found[0]):02x}", shown)
    if text[0] in " #":
        shown = f"\\{shown}"
    if len(text) > 1 and text[-1] == " ":
        shown = f"{shown[:-1]}\\ "
    return shown


def _wrong() -> ConfigurationError:
    return ConfigurationError("a certificate's subject is written like CN=app,O=Example (RFC 4514)")
