"""OP_QUERY and OP_REPLY: the old form in which some clients open a connection.

Source: MongoDB legacy opcodes, "OP_QUERY" and "OP_REPLY".
"""

import struct
from dataclasses import dataclass
from typing import Final

from mdb_proxy.wire.fields import INT32, cut_document, cut_text
from mdb_proxy.wire.frames import OP_REPLY, Frame, WireError, frame

QUERY_FAILURE: Final = 1 << 1
"""Reply flag: the document is `{$err: ..., code: ...}`."""

_SKIP_AND_LIMIT: Final = struct.Struct("<ii")
_REPLY: Final = struct.Struct("<iqii")


@dataclass(frozen=True, slots=True)
class Query:
    """One OP_QUERY. `namespace` is `db.collection`; `document` is BSON, perhaps `{$query: ...}`."""

    request_id: int
    flags: int
    namespace: str
    document: bytes


def parse_query(frame: Frame) -> Query:
    """The query in a frame of opcode OP_QUERY; its field selector is checked and dropped.

    Raises:
        WireError: a part is cut off, does not fit, or bytes are left over.
    """
    payload, end = frame.payload, len(frame.payload)
    if end < INT32.size:
        raise WireError("the flags are cut off")
    (flags,) = INT32.unpack_from(payload)
    namespace, start = cut_text(payload, INT32.size, end)
    # cut_document looks at the end itself, so that a missing skip or limit is found there
    document, start = cut_document(payload, start + _SKIP_AND_LIMIT.size, end)
    if start < end:
        _, start = cut_document(payload, start, end)
    if start < end:
        raise WireError(f"{end - start} bytes behind the query")
    return Query(frame.request_id, flags, namespace, document)


def encode_reply(document: bytes, response_to: int, request_id: int, flags: int = 0) -> bytes:
    """A whole OP_REPLY with one document and no cursor, header included."""
    return frame(OP_REPLY, request_id, response_to, (_REPLY.pack(flags, 0, 0, 1), document))
