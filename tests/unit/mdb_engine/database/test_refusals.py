from mdb_engine.database.refusals import detailed, statement_error
from mdb_engine.exceptions import (
    ImmutableFieldError,
    QueryValidationError,
    ResourceLimitExceeded,
    UnauthorizedError,
)
from mdb_engine.rawbson import Document, encode
from mdb_engine.scope.model import Limits, Physical, StatementError

LIMITS = Limits(max_document_bytes=100)


def test_a_refusal_knows_its_command() -> None:
    error = detailed(QueryValidationError("no", "pipeline.0.$match.$where"), "aggregate")
    assert isinstance(error, QueryValidationError)
    assert (error.message, error.query_type, error.operator, error.path) == (
        "no", "aggregate", "$where", "pipeline.0.$match.$where",
    )  # fmt: skip
    assert error.context == {
        "query_type": "aggregate", "operator": "$where", "path": "pipeline.0.$match.$where",
    }  # fmt: skip
    other = UnauthorizedError("no")
    assert detailed(other, "find") is other


def test_a_document_too_large_names_its_index() -> None:
    physical = Physical({}, refused=(StatementError(1, 2, "too large"),))
    documents = [Document(encode({})), Document(encode({"a": "x" * 200}))]
    error = statement_error(physical, {"documents": documents}, LIMITS)
    assert isinstance(error, ResourceLimitExceeded)
    assert (error.message, error.at) == ("too large", "documents.1")
    assert (error.limit_type, error.limit_value) == ("document_bytes", 100)
    assert (error.actual_value, error.context) == (len(documents[1].data), {"index": 1})


def test_a_statement_that_touches_the_tag() -> None:
    physical = Physical({}, refused=(StatementError(0, 66, "no"),))
    error = statement_error(physical, {}, LIMITS)
    assert isinstance(error, ImmutableFieldError)
    assert isinstance(error, QueryValidationError | ValueError)
