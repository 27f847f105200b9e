"""What a client is told that asks while the process ends: nothing was done, ask another one.

A connection that is closed instead says less: Node's driver (7.9) repeats only the first of several
writes that meet closed connections together.
"""

from __future__ import annotations

from mdb_engine.exceptions import InvalidBSONError, ShutdownInProgressError
from mdb_engine.rawbson import check
from mdb_proxy import envelope
from mdb_proxy.upstream.failures import labels
from mdb_proxy.wire import (
    MAX_MESSAGE,
    OP_COMPRESSED,
    OP_MSG,
    Frame,
    WireError,
    parse_message,
    unwrap,
)

_REASON = "The server is in quiesce mode and will shut down"


def farewell(frame: Frame) -> bytes:
    """The refusal of whatever is asked; none when no answer is wanted, or could be read."""
    try:
        message = parse_message(_inner(frame))
        check(message.body)
    except (InvalidBSONError, WireError):
        return b""
    error = ShutdownInProgressError(_REASON, labels(message.body))
    return envelope.reply_to(message, envelope.failure(error))


def _inner(frame: Frame) -> Frame:
    if frame.opcode == OP_COMPRESSED:
        frame = unwrap(frame, MAX_MESSAGE)
    if frame.opcode != OP_MSG:
        msg = "no message"
        raise WireError(msg)
    return frame
