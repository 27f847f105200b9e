"""Sentences and exit codes of commands that failed."""

import errno

import pytest
import typer
from pymongo import errors

from mdb_engine.exceptions import (
    ConfigurationError,
    InitializationError,
    ManifestValidationError,
    MongoDBEngineError,
    UpstreamError,
)
from mdb_proxy.exits import ending, one_sentence

IN_USE = OSError(errno.EADDRINUSE, "address already in use")
MISSING = FileNotFoundError(errno.ENOENT, "No such file or directory", "x.pem")
TIMEOUT = "127.0.0.1:1: [Errno 111] Connection refused (configured timeouts: ...), Timeout: 30s"


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (ConfigurationError("that cannot be"), 2, "that cannot be"),
        (ManifestValidationError("is too long", "slug", "a.json"), 3, "a.json: slug: is too long"),
        (InitializationError("MongoDB 5.0 is too old"), 4, "MongoDB 5.0 is too old"),
        (UpstreamError("gone"), 4, "gone"),
        (MongoDBEngineError("no mongod"), 1, "no mongod"),
        (IN_USE, 1, "address already in use; choose another address with --listen"),
        (MISSING, 1, "x.pem: No such file or directory"),
        (errors.InvalidURI("bad"), 2, "The cluster's URI: bad"),
        (
            errors.ServerSelectionTimeoutError(TIMEOUT),
            4,
            "The cluster does not answer: 127.0.0.1:1: [Errno 111] Connection refused",
        ),
        (
            errors.OperationFailure(
                "Authentication failed., full error: {}", 18, {"errmsg": "No."}
            ),
            4,
            "The cluster refused: No.",
        ),
        (ExceptionGroup("", [ValueError("a bug"), IN_USE]), 1, "choose another address"),
        (ExceptionGroup("", [ExceptionGroup("", [UpstreamError("gone")])]), 4, "gone"),
    ],
)
def test_what_we_know_is_one_sentence(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int, sentence: str
) -> None:
    with pytest.raises(typer.Exit) as raised, one_sentence("mdb-proxy"):
        raise error
    said = capsys.readouterr().err
    assert raised.value.exit_code == code
    assert said.startswith("mdb-proxy: ")
    assert sentence in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("error", [ValueError("a bug"), ExceptionGroup("", [KeyError("a bug")])])
def test_a_bug_stays_a_bug(error: Exception) -> None:
    assert ending(error) is None
    with pytest.raises(type(error)), one_sentence("mdb-proxy"):
        raise error
