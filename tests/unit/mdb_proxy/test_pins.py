"""What a connection behind a balancer had open, and only that, ends with it."""

import asyncio

import bson
import pytest
from bson import Int64

from mdb_engine.exceptions import UpstreamError
from mdb_proxy.channel import Channel
from mdb_proxy.pins import taken
from tests.support.talks import Connection, House, house, message, settle, told

HELLO = {"hello": 1, "loadBalanced": True, "$db": "admin"}
OPEN = {"ok": 1, "cursor": {"id": Int64(7), "ns": "appdata.shop_x", "firstBatch": []}}
LSID = {"id": bson.Binary(bytes(16), 4)}


async def guest(found: House, *, balanced: bool) -> Connection:
    """Give a client of a listener for balancers; or one that does not say where it stands."""
    made = Connection(found.listener, lambda _: Channel("127.0.0.1:5", balanced=True))
    if balanced:
        assert "serviceId" in await made.ask(HELLO)
    await made.log_in("shop")
    return made


async def opens(found: House, visitor: Connection) -> None:
    """A cursor in a session, and a transaction."""
    found.cluster.will_say(OPEN, {"ok": 1, "n": 1})
    assert (await visitor.ask({"find": "x", "lsid": LSID, "$db": "shop"}))["cursor"]["id"] == 7
    begin = {"txnNumber": Int64(1), "startTransaction": True, "autocommit": False}
    rest = {"lsid": {"id": bson.Binary(bytes(15) + b"1", 4)}, **begin, "$db": "shop"}
    data = message({"insert": "x", **rest}, documents=[{"_id": 1}])
    assert (await visitor.hear(data)).body["ok"]


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("error", [None, UpstreamError("away", None)])
def test_it_ends_with_the_connection(balanced: bool, error: Exception | None) -> None:
    async def main() -> None:
        async with house() as found:
            leaving, other = [await guest(found, balanced=balanced) for _ in range(2)]
            await opens(found, leaving)
            found.cluster.asked.clear()
            if error:
                found.cluster.answers.append(error)
            await other.leave()
            assert found.world.cursors.count("shop") == 1
            await leaving.leave()
            await settle()
            asked = [next(iter(told(each))) for each in found.cluster.asked]
            assert asked == (["killSessions", "killCursors"] if balanced else [])
            assert found.world.cursors.count("shop") == (0 if balanced else 1)
            assert found.world.sessions.open_transactions("shop") == (0 if balanced else 1)

    asyncio.run(main())


def test_who_has_nothing_open_leaves_nothing() -> None:
    async def main() -> None:
        async with house() as found:
            leaving = await guest(found, balanced=True)
            assert taken("shop", 1, found.world.cursors, found.world.sessions) is None
            await leaving.leave()
            assert found.cluster.asked == []

    asyncio.run(main())
