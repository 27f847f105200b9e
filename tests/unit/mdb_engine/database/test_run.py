import asyncio

import pytest
from pymongo.errors import AutoReconnect

from mdb_engine.database.run import exchange, failed
from mdb_engine.rawbson import Document, encode
from tests.support.recorders import recording


def test_a_reply_comes_raw_also_when_it_is_an_error() -> None:
    async def body() -> None:
        async with recording() as (recorder, client):
            database = client["appdata"]
            command = {"collStats": "x", "$db": "appdata", "lsid": 5}
            assert Document(await exchange(database, command, None))["ok"] == 1.0
            assert isinstance(recorder.seen[0]["lsid"], Document), "the driver's own"
            recorder.replies["collStats"] = {"ok": 0.0, "code": 26, "errmsg": "none"}
            assert Document(await exchange(database, command, None))["code"] == 26
            recorder.replies["collStats"] = {"ok": 0.0, "code": 10107, "errmsg": "not primary"}
            with pytest.raises(AutoReconnect):
                await exchange(database, command, None)

    asyncio.run(body())


def test_the_error_of_a_reply() -> None:
    assert failed(encode({"ok": 1.0})) is None
    error = failed(encode({"ok": 0.0, "code": 26, "errmsg": "none"}))
    assert error is not None
    assert (error.code, error.details) == (26, {"ok": 0.0, "code": 26, "errmsg": "none"})
