"""Which error labels an unanswered command earns, so that the client's driver does the right thing.

Source: MongoDB retryable writes and transactions specifications, "Error Labels".
"""

import ssl
from typing import Final

from mdb_engine import rawbson
from mdb_engine.exceptions import UpstreamError

RETRYABLE_WRITE: Final = "RetryableWriteError"
TRANSIENT_TRANSACTION: Final = "TransientTransactionError"
_ENDINGS: Final = frozenset({b"abortTransaction", b"commitTransaction"})


class TurnedAwayError(UpstreamError):
    """A member does not want us as we are: it would not do so later either."""


def is_final(error: BaseException | None) -> bool:
    """Whether what went wrong is the configuration; what has it among its causes is that, too.

    A connection that ends during the TLS handshake says nothing: the server may be starting.
    """
    while error is not None:
        if isinstance(error, TurnedAwayError):
            return True
        if isinstance(error, ssl.SSLError):
            return not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
        error = error.__cause__
    return False


def labels(body: bytes) -> tuple[str, ...]:
    """The labels for a command that may or may not have been executed."""
    items = list(rawbson.walk(body))
    names = {item.name for item in items}
    if b"autocommit" in names:
        # A commit that may have happened must be repeated, not the whole transaction.
        return (RETRYABLE_WRITE if items[0].name in _ENDINGS else TRANSIENT_TRANSACTION,)
    return (RETRYABLE_WRITE,) if b"txnNumber" in names else ()
