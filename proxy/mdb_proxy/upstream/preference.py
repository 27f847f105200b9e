"""A read preference as drivers spell it, made into the rule by which PyMongo chooses members."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from pymongo.errors import ConfigurationError as PyMongoConfigurationError
from pymongo.read_preferences import (
    Nearest,
    Primary,
    PrimaryPreferred,
    Secondary,
    SecondaryPreferred,
)

from mdb_engine.exceptions import QueryValidationError

Selector = Primary | PrimaryPreferred | Secondary | SecondaryPreferred | Nearest

PRIMARY: Final = Primary()
ANY: Final = Nearest()
INVALID: Final = "the read preference is not valid"

_MODES: Final[Mapping[str, Callable[..., Selector]]] = MappingProxyType(
    {
        "nearest": Nearest,
        "primaryPreferred": PrimaryPreferred,
        "secondary": Secondary,
        "secondaryPreferred": SecondaryPreferred,
    }
)


def selector(preference: Mapping[str, Any] | None) -> Selector:
    """The rule for `{"mode": str, "tags": [{...}], "maxStalenessSeconds": int}`; None: primary.

    Raises:
        QueryValidationError: an unknown mode, or tags or staleness of a wrong form.
    """
    if preference is None or preference.get("mode", "primary") == "primary":
        return PRIMARY
    made = _MODES.get(preference["mode"])
    if made is None:
        raise QueryValidationError(INVALID, "$readPreference.mode")
    try:
        tags = [dict(each) for each in preference.get("tags") or ()] or None
        staleness = int(preference.get("maxStalenessSeconds", -1))
        return made(tag_sets=tags, max_staleness=staleness)
    except (PyMongoConfigurationError, TypeError, ValueError):
        raise QueryValidationError(INVALID, "$readPreference") from None
