from datetime import timedelta

import pytest

from mdb_cli.spans import span
from mdb_engine.exceptions import ConfigurationError


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("30s", 30), ("15m", 900), ("12h", 43_200), ("7d", 604_800)]
)
def test_times(text: str, seconds: int) -> None:
    assert span(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "h", "-1h", "1.5h", "1w", " 1h", "1h\n", "1234567d"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no time"):
        span(text)
