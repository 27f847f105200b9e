"""Handles on the engine's own collections."""

import asyncio

from pymongo import AsyncMongoClient
from pymongo.read_preferences import Primary

from mdb_engine.registry.stores import CREDENTIALS, SECRETS, SLUGS, store
from mdb_engine.scope.names import ENGINE_PREFIX


def test_all_names_are_the_engine_s_own() -> None:
    names = [CREDENTIALS, SECRETS, SLUGS]
    assert all(name.startswith(ENGINE_PREFIX) for name in names)
    assert len(set(names)) == len(names)


def test_handles_ignore_what_the_uri_says() -> None:
    async def run() -> None:
        uri = "mongodb://localhost:1/?w=1&readPreference=secondary&readConcernLevel=local"
        async with AsyncMongoClient[dict[str, object]](uri, connect=False) as client:
            handle = store(client["mdb"], SLUGS)
            assert handle.write_concern.document == {"w": "majority"}
            assert handle.read_concern.level == "majority"
            assert handle.codec_options.tz_aware is True
            assert isinstance(handle.read_preference, Primary)

    asyncio.run(run())
