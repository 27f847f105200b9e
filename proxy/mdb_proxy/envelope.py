"""Between a message and a command: sections become fields, replies become messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mdb_engine.exceptions import (
    BSONObjectTooLargeError,
    DuplicateFieldError,
    DuplicateSectionError,
    MissingDatabaseError,
    NotSupportedInTransactionError,
    OverloadedError,
    QueryValidationError,
    RefusedError,
    SectionInBodyError,
    TypeMismatchError,
    UnknownFieldError,
    UpstreamError,
)
from mdb_engine.rawbson import Document, check, encode, find, repeated, walk
from mdb_engine.scope.caps import parse_time
from mdb_engine.scope.fields import GENERIC
from mdb_engine.scope.model import Where
from mdb_engine.scope.names import type_name
from mdb_engine.scope.statements import SEQUENCES
from mdb_proxy.decisions import Exchange, Forward, Run
from mdb_proxy.lsids import client_id
from mdb_proxy.wire.messages import Message, encode_message

MAX_BODY: Final = 16_793_600
"""The largest body in bytes that a server reads: a document of full size and some fields."""

BACKOFF_MS: Final = 100
"""How long a driver waits before it repeats what an overload refused."""

_BATCHES: Final = frozenset({b"firstBatch", b"nextBatch"})
_LENGTH: Final = 4

SEQUENCES_OF: Final[Mapping[str, frozenset[str]]] = {
    "bulkWrite": frozenset({"nsInfo", "ops"}),
    "delete": frozenset({"deletes"}),
    "insert": frozenset({"documents"}),
    "update": frozenset({"updates"}),
}
"""The document sequences that each command may bring."""


def logical(message: Message) -> dict[str, Any]:
    """The command of a message, its document sequence put where it belongs.

    Raises:
        InvalidBSONError: broken bytes. Others: by the rules of the envelope.
    """
    if len(message.body) > MAX_BODY:
        msg = f"a command holds at most {MAX_BODY} bytes beside its document sequences"
        raise BSONObjectTooLargeError(msg)
    check(message.body)
    twice = repeated(message.body)
    command = Document(message.body)
    name = command.first
    if name is None:
        msg = "no command was given"
        raise QueryValidationError(msg)
    if twice is not None:
        msg = f"BSON field '{name}.{twice}' is a duplicate field"
        raise DuplicateFieldError(msg, twice)
    fields = dict(command)
    _add_sections(fields, name, message)
    if "$db" not in fields:
        msg = "OP_MSG requests require a $db argument"
        raise MissingDatabaseError(msg, "$db")
    if not isinstance(fields["$db"], str):
        kind = type_name(fields["$db"])
        msg = f"BSON field '{name}.$db' is the wrong type '{kind}', expected type 'string'"
        raise TypeMismatchError(msg, "$db")
    return fields


def _add_sections(fields: dict[str, Any], command: str, message: Message) -> None:
    seen = set()
    for name, documents in message.sections:
        if name in seen:
            msg = f"Duplicate document sequence: {name}"
            raise DuplicateSectionError(msg, name)
        if name in fields:
            msg = f"Duplicate field between body and document sequence {name}"
            raise SectionInBodyError(msg, name)
        if name not in SEQUENCES_OF.get(command, ()):
            msg = f"BSON field '{command}.{name}' is an unknown field."
            raise UnknownFieldError(msg, name)
        seen.add(name)
        if name != "documents":
            # Documents to store are walked where they get their tag.
            for document in documents:
                check(document)
        fields[name] = [Document(document) for document in documents]


def check_fields(command: Mapping[str, Any], known: frozenset[str] | None) -> None:
    """Refuse what a command that the kernel's table does not hold may not carry.

    Args:
        command: logical.
        known: its own fields, besides the generic ones; None: any.

    Raises:
        NotSupportedInTransactionError: in a transaction. UnknownFieldError: a field too many.
        InvalidOptionsError, QueryValidationError: a malformed session id or time.
    """
    name, *fields = command
    if "autocommit" in command:
        msg = f"Cannot run '{name}' in a multi-document transaction."
        raise NotSupportedInTransactionError(msg)
    unknown = set() if known is None else set(fields) - known - GENERIC.keys() - {"maxTimeMS"}
    for field in fields:
        if field in unknown:
            msg = f"BSON field '{name}.{field}' is an unknown field."
            raise UnknownFieldError(msg, field)
    client_id(command)
    if "maxTimeMS" in command:
        parse_time(command["maxTimeMS"], Where(name, command["$db"], path=("maxTimeMS",)))


def exchange(command: Mapping[str, Any], app: str, **more: Any) -> Exchange:
    """A physical command, ready for the cluster; its batch travels as a document sequence."""
    body = {name: value for name, value in command.items() if name not in SEQUENCES}
    sections = tuple(
        (name, tuple(encode(item) for item in command[name]))
        for name in SEQUENCES.intersection(command)
    )
    return Exchange(encode(body), sections, app, time_ms=command.get("maxTimeMS"), **more)


def documents(reply: bytes) -> int | None:
    """How many documents the batch of a reply holds; None when it holds no batch."""
    cursor = find(reply, "cursor")
    if not isinstance(cursor, Document):
        return None
    batch = next((item for item in walk(cursor.data) if item.name in _BATCHES), None)
    if batch is None:
        return None
    data, place, many = cursor.data, batch.start + _LENGTH, 0
    # From one to the next by its length: none is looked at.
    while place < batch.stop - 1:
        place = data.index(b"\0", place) + 1
        place += int.from_bytes(data[place : place + _LENGTH], "little")
        many += 1
    return many


def reply_to(request: Message, body: bytes) -> bytes:
    """The bytes of a reply; none when the client wants no answer."""
    if request.more_to_come:
        return b""
    return encode_message(Message(request.request_id, request.request_id, 0, body))


def refusal(error: RefusedError) -> bytes:
    """The reply to a command that the rules refuse: which rule, and where (`at`)."""
    return encode({
        **_said(error),
        **({"at": error.at} if error.at else {}),
        **({"baseBackoffMS": BACKOFF_MS} if isinstance(error, OverloadedError) else {}),
    })  # fmt: skip


def failure(error: UpstreamError) -> bytes:
    """The reply to a command that the cluster did not answer."""
    return encode(_said(error))


def _said(error: RefusedError | UpstreamError) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "ok": 0.0,
        "errmsg": error.reason,
        "code": error.code,
        "codeName": error.code_name,
    }
    return fields | {"errorLabels": list(error.labels)} if error.labels else fields


def late(request_id: int, body: bytes, decision: Forward | Run) -> bytes:
    """The bytes of a failure that was met while a decision was carried out.

    None when the client wants no answer; compressed when the answer would have been.
    """
    if decision.quiet:
        return b""
    return decision.finish(encode_message(Message(request_id, request_id, 0, body)))
