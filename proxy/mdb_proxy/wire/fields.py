"""The two kinds of variable fields inside a payload: a BSON document, a NUL-terminated string.

Only lengths are looked at here; whether a document's inside is valid BSON is not asked.
"""

import struct
from typing import Final

from mdb_proxy.wire.frames import WireError

INT32: Final = struct.Struct("<i")
_SMALLEST_DOCUMENT: Final = 5


def cut_document(data: bytes, start: int, end: int) -> tuple[bytes, int]:
    """The document at `start` that must fit before `end`, and the position behind it.

    Raises:
        WireError: its length is below 5 or reaches beyond `end`.
    """
    if end - start < INT32.size:
        raise WireError("a document is cut off")
    (length,) = INT32.unpack_from(data, start)
    if not _SMALLEST_DOCUMENT <= length <= end - start:
        raise WireError(f"document length {length} does not fit in {end - start} bytes")
    return data[start : start + length], start + length


def cut_text(data: bytes, start: int, end: int) -> tuple[str, int]:
    """The NUL-terminated string at `start`, and the position behind its NUL.

    Raises:
        WireError: no NUL before `end`, or not UTF-8.
    """
    stop = data.find(b"\0", start, end)
    if stop < 0:
        raise WireError("a name is not terminated")
    try:
        return data[start:stop].decode(), stop + 1
    except UnicodeDecodeError:
        raise WireError("a name is not UTF-8") from None
