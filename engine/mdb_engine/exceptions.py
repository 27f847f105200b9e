"""Every error a caller can meet: Python type, MongoDB code and HTTP status, side by side.

This module imports nothing. One subclass per code.
"""


class MongoDBEngineError(Exception):
    """The root of all our errors."""


class ConfigurationError(MongoDBEngineError, ValueError):
    """A setting, an environment variable or a file is not usable."""


class InitializationError(MongoDBEngineError, RuntimeError):
    """The cluster did not answer when we started."""


class UnreachableError(InitializationError):
    """The cluster cannot be reached; it may be later."""


class NotInitializedError(MongoDBEngineError, RuntimeError):
    """The engine is used before `initialize()` or after `shutdown()`."""


class ManifestValidationError(MongoDBEngineError, ValueError):
    """A manifest breaks a rule. Carries where and why.

    Attributes:
        path: where in the manifest, dotted (`managed_indexes.tasks.0.keys`); "" for the whole.
        reason: one sentence.
        source: file name or slug.
    """

    def __init__(self, reason: str, path: str = "", source: str = "") -> None:
        self.reason, self.path, self.source = reason, path, source
        super().__init__(": ".join(part for part in (source, path, reason) if part))


def _printable(text: str) -> str:
    """A text with parts from the wire, which need not be UTF-8, fit for replies and logs."""
    return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)


class UpstreamError(MongoDBEngineError):
    """The cluster did not answer a command.

    Attributes:
        code, code_name: as MongoDB would report it (6 HostUnreachable when nothing else is known).
        labels: error labels for the client's driver.
    """

    code = 6
    code_name = "HostUnreachable"

    def __init__(self, reason: str, labels: tuple[str, ...] = ()) -> None:
        self.reason, self.labels = reason, labels
        super().__init__(reason)


class ShutdownInProgressError(UpstreamError):
    """This process is about to end; another one may answer."""

    code = 91
    code_name = "ShutdownInProgress"


class RefusedError(MongoDBEngineError, ValueError):
    """The rules say no.

    Attributes:
        reason: the text for the client: which rule. Never another app, a secret or a document.
        at: where in the command, dotted (`pipeline.2.$lookup.from`); "" for the whole command.
        code, code_name: MongoDB's own; http_status: the sidecar's.
        labels: error labels; empty, so that drivers do not retry, except for overload.
    """

    code = 2
    code_name = "BadValue"
    http_status = 400
    labels: tuple[str, ...] = ()

    def __init__(self, reason: str, at: str = "") -> None:
        self.reason, self.at = _printable(reason), _printable(at)
        super().__init__(self.reason)


class QueryValidationError(RefusedError):
    """A filter, pipeline or update holds something that is not allowed, or too much of it.

    Attributes:
        query_type: the command, where it is known; "" elsewhere.
    """

    query_type = ""

    @property
    def message(self) -> str:
        """The reason."""
        return self.reason

    @property
    def path(self) -> str:
        """Where in the command, dotted."""
        return self.at

    @property
    def operator(self) -> str:
        """The operator or stage that it is about; "" when it is none."""
        steps = (step for step in reversed(self.at.split(".")) if step.startswith("$"))
        return next(steps, "")

    @property
    def context(self) -> dict[str, str]:
        """All of it, for a log line."""
        names = ("query_type", "operator", "path")
        return {name: value for name in names if (value := getattr(self, name))}


class FailedToParseError(RefusedError):
    """A part of the command does not have the form that MongoDB knows."""

    code, code_name = 9, "FailedToParse"


class UnauthorizedError(RefusedError):
    """The command or stage exists, but not for tenants, not for this role, or not before login."""

    code, code_name, http_status = 13, "Unauthorized", 403


class TypeMismatchError(RefusedError):
    """A field has the wrong BSON type."""

    code, code_name = 14, "TypeMismatch"


class AuthenticationFailedError(RefusedError):
    """The login failed; one text for every reason."""

    code, code_name, http_status = 18, "AuthenticationFailed", 401


class IllegalOperationError(RefusedError):
    """The command cannot be used in this way."""

    code, code_name = 20, "IllegalOperation"


class InvalidBSONError(RefusedError):
    """A message's body is not valid BSON."""

    code, code_name = 22, "InvalidBSON"


class NamespaceNotFoundError(RefusedError):
    """The collection does not exist."""

    code, code_name, http_status = 26, "NamespaceNotFound", 404


class IndexNotFoundError(RefusedError):
    """The search index does not exist."""

    code, code_name, http_status = 27, "IndexNotFound", 404


class CursorNotFoundError(RefusedError):
    """The cursor does not exist, or is not this client's."""

    code, code_name, http_status = 43, "CursorNotFound", 404


class NotSingleValueFieldError(QueryValidationError):
    """An upsert's filter gives the hidden tag a second value."""

    code, code_name = 54, "NotSingleValueField"


class CommandNotFoundError(RefusedError):
    """No such command."""

    code, code_name, http_status = 59, "CommandNotFound", 404


class ImmutableFieldError(QueryValidationError):
    """An update would change the app's tag."""

    code, code_name = 66, "ImmutableField"


class CannotCreateIndexError(RefusedError):
    """The index definition is not possible."""

    code, code_name = 67, "CannotCreateIndex"


class IndexAlreadyExistsError(RefusedError):
    """A search index of that name exists."""

    code, code_name, http_status = 68, "IndexAlreadyExists", 409


class InvalidOptionsError(RefusedError):
    """An option is not supported."""

    code, code_name = 72, "InvalidOptions"


class InvalidNamespaceError(RefusedError):
    """The name is malformed, reserved or not the app's."""

    code, code_name = 73, "InvalidNamespace"


class OperationFailedError(RefusedError):
    """A result exceeds a limit and the app asked to be told."""

    code, code_name = 96, "OperationFailed"


class ViewStageError(RefusedError):
    """A stage that may not stand in the pipeline of a view."""

    code, code_name = 167, "OptionNotSupportedOnView"


class NotSupportedInTransactionError(RefusedError):
    """The command cannot run inside a transaction."""

    code, code_name = 263, "OperationNotSupportedInTransaction"


class APIVersionError(RefusedError):
    """The requested API version is not known."""

    code, code_name = 322, "APIVersionError"


class UnsupportedOpQueryError(RefusedError):
    """An old wire message that current clients do not send."""

    code, code_name = 352, "UnsupportedOpQueryCommand"


class IndexOptionError(RefusedError):
    """An index has an option that nobody knows."""

    code, code_name = 197, "InvalidIndexSpecificationOption"


class ReauthenticationRequiredError(RefusedError):
    """What a client is logged in by has ended; drivers show another token by themselves."""

    code, code_name, http_status = 391, "ReauthenticationRequired", 401


class OverloadedError(RefusedError):
    """A quota is used up for now; drivers back off and try again."""

    code, code_name, http_status = 462, "IngressRequestRateLimitExceeded", 429
    labels = ("SystemOverloadedError", "RetryableError")


class DatabaseDifferCaseError(RefusedError):
    """The database exists in another spelling."""

    code, code_name = 13297, "DatabaseDifferCase"


class BSONObjectTooLargeError(RefusedError):
    """The rewritten message would be too large for the cluster."""

    code, code_name, http_status = 10334, "BSONObjectTooLarge", 413


class ResourceLimitExceeded(RefusedError):
    """A document or a batch is larger than the app may send.

    Attributes:
        limit_type: which limit; "" where it is not known.
        limit_value, actual_value: in the limit's unit (bytes of a document); None: not known.
        context: what else helps; the index of the document in a batch.
    """

    code, code_name, http_status = 2, "BadValue", 413
    limit_type = ""
    limit_value: int | None = None
    actual_value: int | None = None
    context: dict[str, int] | None = None

    @property
    def message(self) -> str:
        """The reason."""
        return self.reason


class MatchShapeError(RefusedError):
    """`$match` takes a document."""

    code, code_name = 15959, "Location15959"


class NoDocumentError(RefusedError):
    """What must be a document, or a list of them, is none."""

    code, code_name = 10065, "Location10065"


class OutShapeError(RefusedError):
    """`$out` takes a name or a document."""

    code, code_name = 16990, "Location16990"


class OutOfDiskSpaceError(RefusedError):
    """The app has used up its storage."""

    code, code_name, http_status = 14031, "OutOfDiskSpace", 413


class OutOptionError(RefusedError):
    """`$out` holds an option that it does not know."""

    code, code_name = 16994, "Location16994"


class FacetShapeError(RefusedError):
    """`$facet` takes a document of pipelines."""

    code, code_name = 40169, "Location40169"


class FacetBranchError(RefusedError):
    """A branch of `$facet` is an array of stages."""

    code, code_name = 40170, "Location40170"


class FacetItemError(RefusedError):
    """A branch of `$facet` holds what is no stage."""

    code, code_name = 40171, "Location40171"


class GraphOptionError(RefusedError):
    """`$graphLookup` holds an option that it does not know."""

    code, code_name = 40104, "Location40104"


class MergeShapeError(RefusedError):
    """`$merge.into` is a name or a document."""

    code, code_name = 51178, "Location51178"


class MergeTargetError(RefusedError):
    """`$merge.into` names no collection."""

    code, code_name = 5786801, "Location5786801"


class StatisticsShapeError(RefusedError):
    """`$collStats` takes a document."""

    code, code_name = 5447000, "Location5447000"


class StageShapeError(RefusedError):
    """A pipeline stage is a document with one field."""

    code, code_name = 40323, "Location40323"


class UnknownStageError(RefusedError):
    """The pipeline stage does not exist."""

    code, code_name = 40324, "Location40324"


class DuplicateFieldError(RefusedError):
    """A command names one of its fields twice."""

    code, code_name = 40413, "Location40413"


class MissingFieldError(RefusedError):
    """A command lacks a required field."""

    code, code_name = 40414, "Location40414"


class UnknownFieldError(RefusedError):
    """A command holds a field that it does not know."""

    code, code_name = 40415, "Location40415"


class DuplicateSectionError(RefusedError):
    """A message holds two document sequences of one name."""

    code, code_name = 40431, "Location40431"


class SectionInBodyError(RefusedError):
    """A document sequence repeats a field of the body."""

    code, code_name = 40433, "Location40433"


class MissingDatabaseError(RefusedError):
    """A message names no database."""

    code, code_name = 40571, "Location40571"


class StagePositionError(RefusedError):
    """A stage stands where it must not."""

    code, code_name = 40601, "Location40601"


class FirstStageError(RefusedError):
    """A stage must be the first of its pipeline."""

    code, code_name = 40602, "Location40602"


class GeoNearPositionError(RefusedError):
    """`$geoNear` must be the first stage of its pipeline."""

    code, code_name = 40603, "Location40603"


class FacetStageError(RefusedError):
    """A stage must not stand inside `$facet`."""

    code, code_name = 40600, "Location40600"


class LookupStageError(RefusedError):
    """A stage must not stand in the pipeline of a `$lookup`."""

    code, code_name = 51047, "Location51047"


class UnionStageError(RefusedError):
    """A stage must not stand in the pipeline of a `$unionWith`."""

    code, code_name = 31441, "Location31441"


class NegativeLimitError(RefusedError):
    """A count is below zero."""

    code, code_name = 51024, "Location51024"


class NoSessionCursorError(RefusedError):
    """A cursor that belongs to no session is read in one."""

    code, code_name = 50736, "Location50736"


class SessionCursorError(RefusedError):
    """A cursor that belongs to a session is read in none."""

    code, code_name = 50737, "Location50737"


class OtherSessionCursorError(RefusedError):
    """A cursor that belongs to a session is read in another one."""

    code, code_name = 50738, "Location50738"


class LegacyQueryError(RefusedError):
    """A query in the legacy wire form."""

    code, code_name = 5739101, "Location5739101"


class ChangeStreamShapeError(RefusedError):
    """`$changeStream` is not a document."""

    code, code_name = 6188500, "Location6188500"
