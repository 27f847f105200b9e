"""A driver's client of the cluster, for the short visits of a command line."""

from typing import Any, Final

from pymongo import AsyncMongoClient

SELECTION_MS: Final = 10_000
"""How long a person waits for a cluster that does not answer, unless the URI says otherwise."""


def cluster(uri: str) -> AsyncMongoClient[dict[str, Any]]:
    """Give the client; use it in `async with`."""
    own = "serverselectiontimeoutms=" in uri.lower()
    wait: dict[str, Any] = {} if own else {"serverSelectionTimeoutMS": SELECTION_MS}
    return AsyncMongoClient(uri, appname="mdb", tz_aware=True, **wait)
