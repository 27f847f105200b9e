import asyncio

import pytest
from pymongo.errors import OperationFailure

from mdb_engine.database import ScopedSession
from mdb_engine.database.handle import scoped_database
from mdb_engine.database.sessions import driver_session
from mdb_engine.exceptions import MongoDBEngineError, NotSupportedInTransactionError
from mdb_engine.observability.operations import Operations
from tests.support.kernel import SHOP
from tests.support.recorders import recording


def test_transactions_in_every_spelling() -> None:
    async def body() -> None:
        async with recording() as (recorder, client):
            recorder.hello["setName"] = "rs0"
            db = scoped_database(client["appdata"], lambda: SHOP, Operations())

            async def goes_wrong(session: ScopedSession) -> None:
                async with await session.start_transaction():
                    await db.tasks.insert_one({}, session=session)
                    raise ZeroDivisionError

            async with await ScopedSession(client.start_session()) as session:
                async with session.start_transaction():
                    await db.tasks.insert_one({}, session=session)
                    with pytest.raises(NotSupportedInTransactionError):
                        await db.command("dropDatabase", session=session)
                    assert session.in_transaction
                with pytest.raises(ZeroDivisionError):
                    await goes_wrong(session)

                async def work(given: ScopedSession) -> str:
                    assert given is session
                    await db.tasks.find_one({}, session=given)
                    return "done"

                assert await session.with_transaction(work) == "done"
                assert not session.in_transaction
            assert session.has_ended
        names = [next(iter(each)) for each in recorder.seen]
        assert names == [
            "insert", "commitTransaction", "insert", "abortTransaction",
            "find", "commitTransaction",
        ]  # fmt: skip

    asyncio.run(body())


def test_what_a_session_tells() -> None:
    async def body() -> None:
        async with recording() as (_, client):
            session = ScopedSession(client.start_session())
            assert set(session.session_id) == {"id"}
            assert (session.cluster_time, session.operation_time) == (None, None)
            await session.end_session()

    asyncio.run(body())


def test_the_drivers_session_is_not_given_away() -> None:
    async def body() -> None:
        async with recording() as (_, client):
            raw = client.start_session()
            session = ScopedSession(raw)
            assert driver_session(session) is raw
            assert driver_session(None) is None
            with pytest.raises(AttributeError):
                session._reveal(object())
            with pytest.raises(TypeError):
                driver_session(raw)  # type: ignore[arg-type]
            await session.end_session()

    asyncio.run(body())


def test_errors_of_a_commit_are_both() -> None:
    async def body() -> None:
        async with recording() as (recorder, client):
            recorder.replies["commitTransaction"] = {"ok": 0.0, "code": 251, "errmsg": "gone"}
            db = scoped_database(client["appdata"], lambda: SHOP, Operations())
            async with ScopedSession(client.start_session()) as session:
                await session.start_transaction()
                await db.tasks.insert_one({}, session=session)
                with pytest.raises(OperationFailure) as raised:
                    await session.commit_transaction()
                assert isinstance(raised.value, MongoDBEngineError)

    asyncio.run(body())
