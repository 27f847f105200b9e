import asyncio
import gc
from dataclasses import replace
from typing import Any

import pytest

from mdb_engine.database.house import House, note
from mdb_engine.exceptions import OutOfDiskSpaceError, OverloadedError
from mdb_engine.scope.holdings import Holdings
from mdb_engine.scope.model import Limits
from tests.support.kernel import SHOP

FEW = replace(SHOP, limits=Limits(max_cursors=1, max_change_streams=1, max_transactions=1))


class Thing:
    held = True


def test_what_nobody_holds_does_not_count() -> None:
    house, thing, other = House(), Thing(), Thing()
    house.cursor(FEW)
    note(house.cursors, "shop", thing)
    with pytest.raises(OverloadedError, match="too many open cursors"):
        house.cursor(FEW)
    house.cursor(replace(FEW, slug="crm"))
    thing.held = False
    house.cursor(FEW)
    note(house.cursors, "shop", other)
    with pytest.raises(OverloadedError):
        house.cursor(FEW)
    del other
    gc.collect()
    house.cursor(FEW)


def test_streams_and_transactions() -> None:
    house, stream, session, another = House(), Thing(), Thing(), Thing()
    house.stream(FEW)
    note(house.streams, "shop", stream)
    with pytest.raises(OverloadedError, match="change streams"):
        house.stream(FEW)
    house.transaction(FEW, session)
    house.transaction(FEW, session)
    with pytest.raises(OverloadedError, match="transactions"):
        house.transaction(FEW, another)
    session.held = False
    house.transaction(FEW, another)


def test_nothing_new_without_the_ledger() -> None:
    now = [10.0]
    house = House(Holdings({"shop": frozenset({"shop_a"})}), 10.0, lambda: now[0])
    new: Any = {"insert": "shop_b", "documents": []}
    house.check(SHOP, "insert", {"insert": "shop_a"})
    now[0] = 14.5
    house.check(SHOP, "insert", {"insert": "shop_a"})
    with pytest.raises(OverloadedError):
        house.check(SHOP, "insert", new)
    house.confirmed = 14.0
    house.check(SHOP, "insert", new)


def test_full_is_full() -> None:
    house = House(Holdings({"shop": frozenset({"shop_a"})}, frozenset({"shop"})))
    assert not house.admits(SHOP, "shop_a")
    with pytest.raises(OutOfDiskSpaceError):
        house.check(SHOP, "insert", {"insert": "shop_a"})
    house.holdings = Holdings({"shop": frozenset({"shop_a"})})
    assert house.admits(SHOP, "shop_a")
    assert not house.admits(SHOP, "shop_b")


def test_calls_are_those_of_one_time() -> None:
    house = House()
    calls = house.begin("shop")
    assert house.begin("shop") is calls
    assert calls.going == 2
    house.calls.clear()
    assert house.begin("shop") is not calls


class Feed:
    held = True

    def __init__(self, *readable: str) -> None:
        self.readable, self.ends = readable, 0

    async def end(self) -> None:
        self.ends += 1


class Stream:
    refreshed = 0

    async def refresh(self) -> None:
        self.refreshed += 1


def test_what_is_not_granted_any_more_ends() -> None:
    house, stream = House(), Stream()
    feeds = {name: Feed(*name.split()) for name in ("", "crm", "crm shared")}
    free = Feed("crm")
    for feed in feeds.values():
        note(house.cursors, "shop", feed)
    note(house.cursors, "free", free)
    note(house.streams, "shop", stream)
    asyncio.run(house.withdraw({"shop": frozenset({"crm"}), "other": frozenset()}))
    assert {name: feed.ends for name, feed in feeds.items()} == {"": 0, "crm": 0, "crm shared": 1}
    assert (free.ends, stream.refreshed) == (0, 1)
