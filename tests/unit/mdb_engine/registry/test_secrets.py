"""What counts as a stored secret; making one needs a server (tests/e2e/test_registry.py)."""

from typing import Any

import pytest
from bson import Binary

from mdb_engine.exceptions import ConfigurationError
from mdb_engine.registry.secrets import SECRET_BYTES, value


@pytest.mark.parametrize("stored", [b"s" * SECRET_BYTES, b"s" * 64, Binary(b"s" * 32, 0)])
def test_secrets(stored: bytes) -> None:
    assert value({"_id": "proxy", "v": stored}) == bytes(stored)


@pytest.mark.parametrize("document", [{}, {"v": b"s" * 31}, {"v": "s" * 32}, {"v": None}])
def test_not_secrets(document: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        value(document)
    assert "sss" not in str(caught.value)
