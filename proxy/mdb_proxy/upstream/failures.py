"""Which error labels an unanswered command earns, so that the client's driver does the right thing.

Source: MongoDB retryable writes and transactions specifications, "Error Labels".
"""

from typing import Final

from mdb_engine import rawbson

RETRYABLE_WRITE: Final = "RetryableWriteError"
TRANSIENT_TRANSACTION: Final = "TransientTransactionError"
_ENDINGS: Final = frozenset({b"abortTransaction", b"commitTransaction"})


def labels(body: bytes) -> tuple[str, ...]:
    """The labels for a command that may or may not have been executed."""
    items = list(rawbson.walk(body))
    names = {item.name for item in items}
    if b"autocommit" in names:
        # A commit that may have happened must be repeated, not the whole transaction.
        return (RETRYABLE_WRITE if items[0].name in _ENDINGS else TRANSIENT_TRANSACTION,)
    return (RETRYABLE_WRITE,) if b"txnNumber" in names else ()
