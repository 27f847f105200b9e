"""Is this a manifest? An answer instead of an exception, with and without `await`."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from mdb_engine.exceptions import ManifestValidationError
from mdb_engine.manifest.load import parse


class Verdict(tuple[bool, str | None, list[str] | None]):
    """`(is_valid, error, paths)`; awaited it gives itself."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, Verdict]:
        yield from ()
        return self


class ManifestValidator:
    """Checks manifests as `register_app` does."""

    def validate(self, manifest: Any) -> Verdict:
        """`(True, None, None)`, or `(False, what is wrong, [where])`."""
        try:
            parse(manifest)
        except ManifestValidationError as error:
            return Verdict((False, error.reason, [error.path]))
        return Verdict((True, None, None))
