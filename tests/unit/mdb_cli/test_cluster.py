"""How long a command waits for a cluster."""

import asyncio

import pytest

from mdb_cli.cluster import SELECTION_MS, cluster


@pytest.mark.parametrize(
    ("uri", "milliseconds"),
    [
        ("mongodb://127.0.0.1:9", SELECTION_MS),
        ("mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=300", 300),
    ],
)
def test_the_uri_has_the_last_word(uri: str, milliseconds: int) -> None:
    async def visit() -> float:
        async with cluster(uri) as client:
            return client.options.server_selection_timeout

    assert asyncio.run(visit()) == milliseconds / 1000
