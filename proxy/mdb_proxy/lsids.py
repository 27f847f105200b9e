"""Session ids: each app's and user's own, whatever id the client made up.

Without it, and with one upstream user, who knows another app's session id reads its uncommitted
writes and commits or aborts its transactions (6.0.5).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mdb_engine.exceptions import (
    InvalidOptionsError,
    QueryValidationError,
    UnknownFieldError,
)
from mdb_engine.rawbson import BINARY, Document, Raw, encode

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


def mapped(client_id: Any, app: str, user: str, secret: bytes) -> bytes:
    """The sixteen bytes by which the cluster knows a client's session.

    The same in every process that holds the secret, so that retries may take another way.

    Raises:
        QueryValidationError: not a UUID.
    """
    if not (
        isinstance(client_id, Raw)
        and client_id.kind == BINARY
        and len(client_id.data) == _SIZE
        and client_id.data.startswith(_HEADER)
    ):
        msg = "a session id must be a UUID"
        raise QueryValidationError(msg, "lsid.id")
    text = b"\0".join((app.encode(), user.encode(), client_id.data[5:]))
    return _versioned(hmac.new(secret, b"lsid\0" + text, hashlib.sha256).digest())


def lsid(session: bytes) -> Document:
    """The document that a command carries."""
    return Document(encode({"id": uuid_value(session)}))


def session_of(command: Mapping[str, Any], app: str, user: str, secret: bytes) -> bytes | None:
    """The mapped session of a command; None when it has none.

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
    return mapped(given.get("id"), app, user, secret)


def sessions_in(value: Any, app: str, user: str, secret: bytes, where: str) -> list[bytes]:
    """The mapped sessions of `endSessions` and its like.

    Raises:
        QueryValidationError: not an array of ids, or too many. UnknownFieldError: other fields.
    """
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > MAX_SESSIONS:
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
        found.append(mapped(item.get("id"), app, user, secret))
    return found
