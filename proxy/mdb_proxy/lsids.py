"""Session ids: each app's and user's own, whatever id the client made up.

Without it, and with one upstream user, who knows another app's session id reads its uncommitted
writes and commits or aborts its transactions (6.0.5).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any, Final

from mdb_engine.exceptions import (
    InvalidOptionsError,
    QueryValidationError,
    UnknownFieldError,
)
from mdb_engine.rawbson import BINARY, Array, Document, Raw, encode

_HEADER: Final = b"\x10\0\0\0\x04"
_SIZE: Final = 21
MAX_SESSIONS: Final = 10_000


def uuid_value(data: bytes) -> Raw:
    """Sixteen bytes as a UUID of BSON."""
    return Raw(BINARY, _HEADER + data)


def random_uuid(data: bytes) -> Raw:
    """Sixteen random bytes as a UUID of version 4 (RFC 4122 section 4.4)."""
    return uuid_value(_versioned(data))


def _versioned(data: bytes) -> bytes:
    parts = bytearray(data[:16])
    parts[6] = parts[6] & 0x0F | 0x40
    parts[8] = parts[8] & 0x3F | 0x80
    return bytes(parts)


def client_id(command: Mapping[str, Any]) -> bytes | None:
    """The session id that a command carries, as the client made it up; None without one.

    Raises:
        InvalidOptionsError: fields beside the id. QueryValidationError: not a UUID.
    """
    given = command.get("lsid")
    if given is None:
        return None
    if not isinstance(given, Document):
        msg = "lsid must be an object"
        raise QueryValidationError(msg, "lsid")
    for name in given:
        if name != "id":
            msg = f"lsid.{name} is not supported"
            raise InvalidOptionsError(msg, f"lsid.{name}")
    return _uuid(given.get("id"), "lsid.id")


def _uuid(value: Any, where: str) -> bytes:
    if not (
        isinstance(value, Raw)
        and value.kind == BINARY
        and len(value.data) == _SIZE
        and value.data.startswith(_HEADER)
    ):
        msg = "a session id must be a UUID"
        raise QueryValidationError(msg, where)
    return value.data[len(_HEADER) :]


def mapped(client: bytes, app: str, user: str, secret: bytes) -> bytes:
    """The sixteen bytes by which the cluster knows a client's session.

    The same in every process that holds the secret, so that retries may take another way.
    """
    text = b"\0".join((app.encode(), user.encode(), client))
    return _versioned(hmac.digest(secret, b"lsid\0" + text, "sha256"))


def lsid(session: bytes) -> Document:
    """The document that a command carries."""
    return Document(encode({"id": uuid_value(session)}))


def ids_in(value: Any, where: str) -> list[bytes]:
    """The session ids of `endSessions` and its like, as the client made them up.

    Raises:
        QueryValidationError: not an array of ids, or too many. UnknownFieldError: other fields.
    """
    if not isinstance(value, Array) or len(value) > MAX_SESSIONS:
        msg = f"{where} must be an array of at most {MAX_SESSIONS} session ids"
        raise QueryValidationError(msg, where)
    found = []
    for index, item in enumerate(value):
        if not isinstance(item, Document):
            msg = "a session id must be an object"
            raise QueryValidationError(msg, f"{where}.{index}")
        for name in item:
            if name != "id":
                msg = f"BSON field '{where}.{name}' is an unknown field."
                raise UnknownFieldError(msg, f"{where}.{index}.{name}")
        found.append(_uuid(item.get("id"), f"{where}.{index}.id"))
    return found
