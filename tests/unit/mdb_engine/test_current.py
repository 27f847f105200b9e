import gc

import pytest

from mdb_engine.current import closed, current, opened
from mdb_engine.exceptions import ConfigurationError, NotInitializedError


class Engine:
    pass


def test_the_only_one_is_found() -> None:
    gc.collect()
    one, other = Engine(), Engine()
    with pytest.raises(NotInitializedError):
        current()
    opened(one)
    assert current() is one
    opened(other)
    with pytest.raises(ConfigurationError, match="several"):
        current()
    closed(one)
    closed(one)
    assert current() is other
    del other
    gc.collect()
    with pytest.raises(NotInitializedError):
        current()
