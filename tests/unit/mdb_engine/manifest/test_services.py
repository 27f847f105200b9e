"""Sections of the sidecar's services."""

from typing import Any

import pytest

from mdb_engine.exceptions import ManifestValidationError
from mdb_engine.manifest import parse


def loaded(**sections: Any) -> Any:
    return parse({"slug": "shop", "name": "Shop", **sections})


def test_defaults() -> None:
    found = loaded(websockets={"live": {"path": "/ws"}})
    assert found.websockets["live"].ping_interval == 30
    assert found.websockets["live"].auth.required is True
    assert found.embedding_config.max_tokens_per_chunk == 1_000
    assert (found.memory_config.provider, found.memory_config.async_mode) == ("own", True)
    assert found.cors.allow_methods == ("GET", "POST", "PUT", "DELETE", "PATCH")
    assert found.observability.health_checks.endpoint == "/health"
    assert found.observability.logging.level == "INFO"


@pytest.mark.parametrize(
    ("sections", "path"),
    [
        ({"websockets": {"live": {}}}, "websockets.live.path"),
        ({"websockets": {"live": {"path": "ws"}}}, "websockets.live.path"),
        (
            {"websockets": {"live": {"path": "/ws", "ping_interval": 4}}},
            "websockets.live.ping_interval",
        ),
        ({"embedding_config": {"provider": "acme"}}, "embedding_config.provider"),
        (
            {"embedding_config": {"max_tokens_per_chunk": 99}},
            "embedding_config.max_tokens_per_chunk",
        ),
        ({"memory_config": {"temperature": 2.1}}, "memory_config.temperature"),
        ({"memory_config": {"collection_name": "a b"}}, "memory_config.collection_name"),
        ({"cors": {"max_age": -1}}, "cors.max_age"),
        (
            {"observability": {"health_checks": {"interval_seconds": 4}}},
            "observability.health_checks.interval_seconds",
        ),
        ({"observability": {"logging": {"level": "TRACE"}}}, "observability.logging.level"),
    ],
)
def test_refused(sections: dict[str, Any], path: str) -> None:
    with pytest.raises(ManifestValidationError) as caught:
        loaded(**sections)
    assert caught.value.path == path
