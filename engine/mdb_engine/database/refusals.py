"""Refusals with the fields that Python callers want; one of a statement becomes the batch's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from mdb_engine.exceptions import (
    QueryValidationError,
    RefusedError,
    ResourceLimitExceeded,
)
from mdb_engine.rawbson import Document
from mdb_engine.scope.model import Limits, Physical
from mdb_engine.scope.statements import STATEMENT_ERRORS

_KINDS: Final[Mapping[int, type[RefusedError]]] = {kind.code: kind for kind in STATEMENT_ERRORS}
"""Code of a refused statement -> its class."""


def detailed(error: RefusedError, command: str) -> RefusedError:
    """The refusal, which knows now in which command it was met."""
    if isinstance(error, QueryValidationError):
        error.query_type = command
    return error


def statement_error(
    physical: Physical, batch: Mapping[str, Sequence[Document]], limits: Limits
) -> RefusedError:
    """The first refused statement of a batch as an error: in Python nothing is sent without it."""
    refused = physical.refused[0]
    kind = _KINDS[refused.code]
    name = next(iter(batch), "statements")
    error = kind(refused.message, f"{name}.{refused.index}")
    if isinstance(error, ResourceLimitExceeded):
        documents = batch.get(name, ())
        error.limit_type, error.limit_value = "document_bytes", limits.max_document_bytes
        error.context = {"index": refused.index}
        if refused.index < len(documents):
            error.actual_value = len(documents[refused.index].data)
    return error
