"""Between a message and a command: sections become fields, replies become messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mdb_engine.exceptions import (
    DuplicateFieldError,
    DuplicateSectionError,
    MissingDatabaseError,
    QueryValidationError,
    RefusedError,
    SectionInBodyError,
    UnknownFieldError,
    UpstreamError,
)
from mdb_engine.rawbson import Document, check, encode, repeated
from mdb_engine.scope.statements import SEQUENCES
from mdb_proxy.decisions import Close, Exchange, Forward, Reply, Run
from mdb_proxy.wire.messages import Message, encode_message

SEQUENCE_OF: Final[Mapping[str, str]] = {
    "delete": "deletes",
    "insert": "documents",
    "update": "updates",
}
"""The one document sequence that each command may bring."""


def logical(message: Message) -> dict[str, Any]:
    """The command of a message, its document sequence put where it belongs.

    Raises:
        InvalidBSONError: broken bytes. Others: by the rules of the envelope.
    """
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
        if SEQUENCE_OF.get(command) != name:
            msg = f"BSON field '{command}.{name}' is an unknown field."
            raise UnknownFieldError(msg, name)
        seen.add(name)
        if name != "documents":
            # Documents to store are walked where they get their tag.
            for document in documents:
                check(document)
        fields[name] = [Document(document) for document in documents]


def exchange(command: Mapping[str, Any], app: str, **more: Any) -> Exchange:
    """A physical command, ready for the cluster; its batch travels as a document sequence."""
    body = {name: value for name, value in command.items() if name not in SEQUENCES}
    sections = tuple(
        (name, tuple(encode(item) for item in command[name]))
        for name in SEQUENCES.intersection(command)
    )
    return Exchange(encode(body), sections, app, **more)


def reply_to(request: Message, body: bytes) -> bytes:
    """The bytes of a reply; none when the client wants no answer."""
    if request.more_to_come:
        return b""
    return encode_message(Message(request.request_id, request.request_id, 0, body))


def refusal(error: RefusedError) -> bytes:
    """The reply to a command that the rules refuse: which rule, and where (`at`)."""
    fields: dict[str, Any] = {
        "ok": 0.0,
        "errmsg": error.reason,
        "code": error.code,
        "codeName": error.code_name,
    }
    if error.at:
        fields["at"] = error.at
    if error.labels:
        fields |= {"errorLabels": list(error.labels), "baseBackoffMS": 100}
    return encode(fields)


def failure(error: UpstreamError) -> bytes:
    """The reply to a command that the cluster did not answer."""
    fields: dict[str, Any] = {
        "ok": 0.0,
        "errmsg": error.reason,
        "code": error.code,
        "codeName": error.code_name,
    }
    if error.labels:
        fields["errorLabels"] = list(error.labels)
    return encode(fields)


def late(request_id: int, body: bytes, decision: Forward | Run | Reply | Close) -> bytes:
    """The bytes of a failure that was met while a decision was carried out.

    None when the client wants no answer; compressed when the answer would have been.
    """
    if isinstance(decision, Reply | Close) or decision.quiet:
        return b""
    return decision.finish(encode_message(Message(request_id, request_id, 0, body)))
