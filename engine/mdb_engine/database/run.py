"""Drives what takes several exchanges, and commands that no method of PyMongo spells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure

from mdb_engine.database.forms import handed
from mdb_engine.exceptions import NotSupportedInTransactionError
from mdb_engine.rawbson import Document
from mdb_engine.scope.plans import run_plan
from mdb_engine.scope.replies import Asked

RAW: Final = CodecOptions(document_class=RawBSONDocument)
_OF_THE_DRIVER: Final = frozenset({"$db", "lsid"})

Database = AsyncDatabase[Any]


async def exchange(
    database: Database, command: Mapping[str, Any], session: AsyncClientSession | None
) -> bytes:
    """One physical command, at the primary; gives the raw reply, also when it is an error."""
    fields = {name: handed(v) for name, v in command.items() if name not in _OF_THE_DRIVER}
    target = database.client[str(command["$db"])]
    try:
        reply = await target.command(fields, codec_options=RAW, session=session)
    except OperationFailure as error:
        if not isinstance(error.details, RawBSONDocument):
            raise
        return bytes(error.details.raw)
    return bytes(reply.raw)


async def carry_out(
    database: Database,
    asked: Asked,
    token: str,
    session: AsyncClientSession | None,
    done: Callable[[Mapping[str, Any]], None],
) -> bytes:
    """A plan of the kernel, all its steps in one session; gives the logical reply.

    `done` is told of every step that succeeded.

    Raises:
        NotSupportedInTransactionError: a transaction is open.
    """
    if session is not None and session.in_transaction:
        msg = f"Cannot run '{asked.name}' in a multi-document transaction."
        raise NotSupportedInTransactionError(msg)
    if session is not None:
        return await _steps(database, run_plan(asked, token), session, done)
    # A cursor is read on in the session that opened it.
    async with database.client.start_session(causal_consistency=False) as own:
        return await _steps(database, run_plan(asked, token), own, done)


async def _steps(
    database: Database,
    plan: Any,
    session: AsyncClientSession,
    done: Callable[[Mapping[str, Any]], None],
) -> bytes:
    try:
        command = next(plan)
        while True:
            answered = await exchange(database, command, session)
            if failed(answered) is None:
                done(command)
            command = plan.send(answered)
    except StopIteration as stop:
        reply: bytes = stop.value
        return reply


def failed(reply: bytes) -> OperationFailure | None:
    """The error that a reply carries."""
    fields = Document(reply)
    if fields.get("ok"):
        return None
    details = RawBSONDocument(reply)
    return OperationFailure(str(fields.get("errmsg", "")), fields.get("code"), dict(details))
