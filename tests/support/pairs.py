"""Replies of a private database and of ours, in a form that can be compared."""

from typing import Any

from pymongo.database import Database
from pymongo.errors import OperationFailure

VOLATILE = frozenset({
    "$clusterTime", "at", "electionId", "host", "localTime", "opTime", "operationTime",
    "serverInfo", "uuid",
})  # fmt: skip
"""Fields of replies that differ between any two servers, or that only we have (`at`)."""

Sandbox = Database[dict[str, Any]]


def bare(value: Any) -> Any:
    """Take away what differs between any two servers."""
    if isinstance(value, dict):
        return {name: bare(item) for name, item in value.items() if name not in VOLATILE}
    return [bare(item) for item in value] if isinstance(value, list) else value


def reply(database: Sandbox, command: dict[str, Any]) -> Any:
    """Give what a command is answered with, an error or not."""
    try:
        return bare(database.command(command))
    except OperationFailure as error:
        return bare(error.details)
