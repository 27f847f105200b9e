"""How a command ends that could not do its work: one sentence on stderr and an exit code."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import typer

from mdb_engine.exceptions import (
    ConfigurationError,
    InitializationError,
    ManifestValidationError,
    MongoDBEngineError,
    UpstreamError,
)

FAILED: Final = 1
USAGE: Final = 2
INVALID_MANIFEST: Final = 3
UNREACHABLE: Final = 4


def _system(error: Any) -> str:
    """Give a sentence for what the operating system refused."""
    said = str(error.strerror or error)
    if error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
        return f"{said}; choose another address with --listen"
    return f"{error.filename}: {said}" if error.filename else said


def _driver(error: Any) -> str:
    """Give the first sentence of the driver's text, which goes on with its view of the cluster."""
    return f"The cluster does not answer: {str(error).split(', Timeout:')[0].split(' (')[0]}"


def _refusal(error: Any) -> str:
    """Give what the cluster said, without the reply that the driver appends."""
    return f"The cluster refused: {(error.details or {}).get('errmsg', 'no reason given')}"


def endings() -> tuple[tuple[type[Exception], int, Callable[[Any], str]], ...]:
    """Give error type, exit code and wording; the first row that fits is taken."""
    from pymongo import errors  # noqa: PLC0415 - only a failure pays for this import

    return (
        (ConfigurationError, USAGE, str),
        (ManifestValidationError, INVALID_MANIFEST, str),
        (InitializationError, UNREACHABLE, str),
        (UpstreamError, UNREACHABLE, str),
        (MongoDBEngineError, FAILED, str),
        (errors.ConfigurationError, USAGE, lambda error: f"The cluster's URI: {error}"),
        (errors.ConnectionFailure, UNREACHABLE, _driver),
        (errors.OperationFailure, UNREACHABLE, _refusal),
        (OSError, FAILED, _system),
    )


def ending(error: BaseException) -> tuple[int, str] | None:
    """Give exit code and sentence of an error that a person can act on; None: it is a bug.

    Of a group (a TaskGroup raises one) the first error that has a row counts.
    """
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(ending, error.exceptions)), None)
    rows = ((code, say(error)) for kind, code, say in endings() if isinstance(error, kind))
    return next(rows, None)


@contextmanager
def one_sentence(command: str) -> Iterator[None]:
    """End the command with one sentence when what it does fails in a way that we know."""
    try:
        yield
    except _known() as error:
        found = ending(error)
        if found is None:
            raise
        code, sentence = found
        typer.echo(f"{command}: {sentence}", err=True)
        raise typer.Exit(code) from None


def _known() -> tuple[type[Exception], ...]:
    """Give the error types that have a row; asked when something was raised, never before."""
    return ExceptionGroup, *(kind for kind, *_ in endings())
