"""Bytes to messages and back: framing, OP_MSG, OP_QUERY, OP_COMPRESSED. No I/O."""

from mdb_proxy.wire.compression import COMPRESSORS, Compressor, unwrap, wrap
from mdb_proxy.wire.frames import (
    MAX_BEFORE_LOGIN,
    MAX_MESSAGE,
    OP_COMPRESSED,
    OP_MSG,
    OP_QUERY,
    OP_REPLY,
    Frame,
    Frames,
    WireError,
    foreign,
    frame,
)
from mdb_proxy.wire.messages import (
    EXHAUST_ALLOWED,
    MORE_TO_COME,
    Message,
    Sections,
    encode_message,
    parse_message,
)
from mdb_proxy.wire.queries import QUERY_FAILURE, Query, encode_reply, parse_query

__all__ = [
    "COMPRESSORS",
    "EXHAUST_ALLOWED",
    "MAX_BEFORE_LOGIN",
    "MAX_MESSAGE",
    "MORE_TO_COME",
    "OP_COMPRESSED",
    "OP_MSG",
    "OP_QUERY",
    "OP_REPLY",
    "QUERY_FAILURE",
    "Compressor",
    "Frame",
    "Frames",
    "Message",
    "Query",
    "Sections",
    "WireError",
    "encode_message",
    "encode_reply",
    "foreign",
    "frame",
    "parse_message",
    "parse_query",
    "unwrap",
    "wrap",
]
