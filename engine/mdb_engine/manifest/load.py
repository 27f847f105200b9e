"""From a file or a document to a checked manifest, or to one sentence that says what is wrong."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mdb_engine.exceptions import ConfigurationError, ManifestValidationError
from mdb_engine.manifest.base import BROKEN_RULE, UNKNOWN_KEY
from mdb_engine.manifest.comments import read_json
from mdb_engine.manifest.migrations import migrate
from mdb_engine.manifest.model import Manifest
from mdb_engine.manifest.rules import check_manifest, check_together
from mdb_engine.manifest.spellings import unify

SUFFIX: Final = ".json"
REASONS: Final[Mapping[str, str]] = {
    "bool_type": "true or false is expected",
    "dict_type": "an object is expected",
    "float_type": "a number is expected",
    "int_type": "a whole number is expected",
    "missing": "this key is required",
    "model_type": "an object is expected",
    "string_type": "a text is expected",
    "too_short": "at least one item is needed",
    "tuple_type": "a list is expected",
}
"""Pydantic's error types in the words of JSON; the others read well as they are."""


def parse(document: Any, *, source: str = "", trusted: bool = False) -> Manifest:
    """A checked manifest from a document as JSON gives it.

    Args:
        document: the manifest in any version that we read.
        source: file name or slug, for the error.
        trusted: the operator lets this app raise its limits.

    Raises:
        ManifestValidationError: the first rule that is broken, with path and reason.
    """
    if not isinstance(document, Mapping):
        raise ManifestValidationError("a manifest is a JSON object", source=source)
    try:
        manifest = Manifest.model_validate(unify(migrate(document)))
        check_manifest(manifest, trusted=trusted)
    except ManifestValidationError as error:
        raise ManifestValidationError(error.reason, error.path, source) from None
    except ValidationError as error:
        # `from None`: pydantic's own text may quote values.
        first = error.errors(include_url=False, include_input=False)[0]
        raise ManifestValidationError(_reason(first), _path(first), source) from None
    return manifest


def load_manifest(path: Path, *, trusted: Collection[str] = ()) -> Manifest:
    """The manifest in a file; comments are tolerated.

    Args:
        path: the file.
        trusted: slugs whose limits the operator lets rise.

    Raises:
        ManifestValidationError: unreadable, not JSON, or against a rule; `source` is its name.
    """
    document = read_document(path)
    slug = document.get("slug") if isinstance(document, dict) else None
    by_operator = isinstance(slug, str) and slug in trusted
    return parse(document, source=path.name, trusted=by_operator)


def read_document(path: Path) -> Any:
    """The JSON of a file as it stands there; comments are tolerated.

    Raises:
        ManifestValidationError: unreadable, or not JSON.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = f"the file cannot be read: {error.strerror}"
        raise ManifestValidationError(reason, source=path.name) from error
    except UnicodeDecodeError:
        raise ManifestValidationError("the file is not UTF-8", source=path.name) from None
    try:
        return read_json(text)
    except ManifestValidationError as error:
        raise ManifestValidationError(error.reason, source=path.name) from None


def load_folder(folder: Path, *, trusted: Collection[str] = ()) -> dict[str, Manifest]:
    """Every `<slug>.json` of a folder by slug, in the order of the names; dot-files are ignored.

    Raises:
        ConfigurationError: there is no such folder.
        ManifestValidationError: the first file that is not usable, or two that exclude each other.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"the folder of manifests {folder} does not exist")
    manifests: dict[str, Manifest] = {}
    for path in _files(folder):
        manifest = load_manifest(path, trusted=trusted)
        if path.name != manifest.slug + SUFFIX:
            reason = f"the file of the app '{manifest.slug}' is named {manifest.slug}{SUFFIX}"
            raise ManifestValidationError(reason, "slug", path.name)
        manifests[manifest.slug] = manifest
    try:
        check_together(manifests)
    except ManifestValidationError as error:
        source = error.source + SUFFIX
        raise ManifestValidationError(error.reason, error.path, source) from None
    return manifests


def _files(folder: Path) -> Iterable[Path]:
    found = (path for path in folder.iterdir() if path.suffix == SUFFIX)
    return sorted(path for path in found if not path.name.startswith(".") and path.is_file())


def _path(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    steps = [str(step) for step in error["loc"] if step != "[key]"]
    if error["type"] == UNKNOWN_KEY:
        steps.append(str(context["key"]))
    if error["type"] == BROKEN_RULE and context["at"]:
        steps.append(str(context["at"]))
    return ".".join(steps)


def _reason(error: ErrorDetails) -> str:
    message = error["msg"]
    return REASONS.get(error["type"], message[0].lower() + message[1:])
