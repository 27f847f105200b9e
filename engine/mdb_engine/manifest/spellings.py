"""Settings that two keys can spell: the written one counts, two different ones are refused.

After `unify` the second key of a row of `SPELLINGS` holds what was written under the first; the
rest of the engine reads the second one only.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mdb_engine.exceptions import ManifestValidationError

SECONDS_PER_HOUR: Final = 3_600
_SECURITY: Final = "token_management.security"
_ABSENT: Final = object()


def _same(value: Any) -> Any:
    return value


def _hours(value: Any) -> Any:
    # A value of another type is left for the model to refuse at its own path.
    return value * SECONDS_PER_HOUR if isinstance(value, int) else _ABSENT


def _switch(value: Any) -> Any:
    return value.get("enabled", _ABSENT) if isinstance(value, Mapping) else value


@dataclass(frozen=True, slots=True)
class Spelling:
    """Two paths of one setting; `convert` turns a value of `path` into one of `canonical`."""

    path: str
    canonical: str
    convert: Callable[[Any], Any] = _same


def _rows(path: str, canonical: str, *keys: str) -> Iterator[Spelling]:
    for key in keys:
        yield Spelling(f"{path}.{key}", f"{canonical}.{key}")


SPELLINGS: Final[tuple[Spelling, ...]] = (
    Spelling("auth.csrf_protection", f"{_SECURITY}.csrf_protection", _switch),
    Spelling("auth.jwt.token_expiry_hours", "token_management.access_token_ttl", _hours),
    *_rows(
        "auth.password_policy",
        f"{_SECURITY}.password_policy",
        "min_length",
        "require_lowercase",
        "require_numbers",
        "require_special",
        "require_uppercase",
    ),
    *(
        spelling
        for name in ("login", "refresh", "register")
        for spelling in _rows(
            f"auth.rate_limits.{name}",
            f"{_SECURITY}.rate_limiting.{name}",
            "max_attempts",
            "window_seconds",
        )
    ),
    Spelling(
        "auth.session_binding.allow_ip_change_with_reauth",
        f"{_SECURITY}.ip_validation.allow_ip_change",
    ),
    Spelling(
        "auth.session_binding.bind_fingerprint", f"{_SECURITY}.session_fingerprinting.enabled"
    ),
    Spelling("auth.session_binding.bind_ip", f"{_SECURITY}.ip_validation.enabled"),
    Spelling("embedding_config.default_max_tokens", "embedding_config.max_tokens_per_chunk"),
    Spelling("embedding_config.default_tokenizer_model", "embedding_config.tokenizer_model"),
)


def unify(document: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with every setting under its canonical key; the input is left alone.

    Raises:
        ManifestValidationError: both keys are written and say different things.
    """
    unified = dict(document)
    for spelling in SPELLINGS:
        found = _get(document, spelling.path)
        wanted = _ABSENT if found is _ABSENT else spelling.convert(found)
        if wanted is _ABSENT or wanted is None:
            continue
        written = _get(document, spelling.canonical)
        if written is _ABSENT:
            unified = _put(unified, spelling.canonical.split("."), wanted)
        elif written != wanted:
            reason = f"{spelling.path} and {spelling.canonical} differ; write one of them"
            raise ManifestValidationError(reason, spelling.path)
    return unified


def _get(document: Any, path: str) -> Any:
    for key in path.split("."):
        if not isinstance(document, Mapping) or key not in document:
            return _ABSENT
        document = document[key]
    return document


def _put(document: Mapping[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    """A copy with the value at the path; what is not an object there is left to be refused."""
    key, *rest = path
    below = document.get(key, {})
    if rest and not isinstance(below, Mapping):
        return dict(document)
    return {**document, key: _put(below, rest, value) if rest else value}
