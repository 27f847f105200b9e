"""How long something lasts, as people write it: `30s`, `15m`, `12h`, `7d`."""

import re
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from mdb_engine.exceptions import ConfigurationError

_SECONDS: Final[Mapping[str, int]] = MappingProxyType({"s": 1, "m": 60, "h": 3_600, "d": 86_400})
_SPAN: Final = re.compile(r"([0-9]{1,6})([smhd])")


def span(text: str) -> timedelta:
    """The time that the text means.

    >>> span("12h")
    datetime.timedelta(seconds=43200)

    Raises:
        ConfigurationError: it is not so written.
    """
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ConfigurationError(f"{text!r} is no time; write it as 30s, 15m, 12h or 7d")
    return timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
