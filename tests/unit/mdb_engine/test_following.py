import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from mdb_engine import following
from mdb_engine.background import Supervisor
from mdb_engine.database.grants import Known
from mdb_engine.database.house import House, note
from mdb_engine.following import Following, captured, let_go
from mdb_engine.registry.claims import LedgerEntry


def entry(slug: str, state: str = "live") -> LedgerEntry:
    return LedgerEntry(slug, state, datetime.now(UTC), None, slug, ())


@pytest.mark.parametrize(
    ("before", "after", "taken"),
    [
        ({"shop"}, {"shop", "shop_eu"}, ("shop_eu_",)),
        ({"shop"}, {"shop", "crm"}, ()),
        ({"shop"}, {"shop", "shopper"}, ()),
        (set(), {"shop", "shop_eu"}, ()),
        ({"shop", "shop_eu"}, {"shop", "shop_eu"}, ()),
    ],
)
def test_whose_names_are_taken(before: set[str], after: set[str], taken: tuple[str, ...]) -> None:
    assert captured(before, after) == taken


class Feed:
    def __init__(self, physical: str) -> None:
        self.physical, self.held, self.ends = physical, True, 0

    async def end(self) -> None:
        self.ends += 1
        self.held = False


class Stream:
    refreshed = 0

    async def refresh(self) -> None:
        self.refreshed += 1


class Session:
    held, session_id = True, {"id": 1}


def test_everything_under_the_names_ends_first() -> None:
    async def body() -> None:
        house, killed = House(), []
        own, other, stream, session = Feed("shop_eu_x"), Feed("shop_tasks"), Stream(), Session()
        for hand, thing in ((house.cursors, own), (house.cursors, other),
                            (house.streams, stream), (house.transactions, session)):  # fmt: skip
            note(hand, "shop", thing)
        calls = house.begin("shop")

        async def kill(session_id: Any) -> None:
            killed.append(session_id)

        job = asyncio.ensure_future(let_go(house, ("shop_eu_",), kill))
        await asyncio.sleep(0.1)
        assert not job.done(), "a call is on its way"
        later = house.begin("shop")
        calls.going -= 1
        await asyncio.wait_for(job, 5)
        assert (own.ends, other.ends, stream.refreshed, killed) == (1, 0, 1, [{"id": 1}])
        assert later.going == 1

    asyncio.run(body())


class Cluster:
    """Stands for the stores."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entries = {"shop": entry("shop")}
        self.reports: list[list[str]] = []
        self.broken = False

        async def entries(_: Any) -> Any:
            if self.broken:
                raise AutoReconnect("gone")
            return self.entries

        async def report(_: Any, __: Any, honours: Any) -> None:
            self.reports.append(sorted(honours))

        monkeypatch.setattr(following.ledger, "entries", entries)
        monkeypatch.setattr(following.routers, "report", report)
        monkeypatch.setattr(following, "FOLLOW_SECONDS", 0.01)


def test_a_claim_is_honoured_when_its_names_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        cluster, jobs = Cluster(monkeypatch), Supervisor()
        client: Any = {"mdb": None}
        here = Following(Known("mdb"), jobs, client=client)
        await here.read()
        calls = here.house.begin("shop")
        jobs.start("follow", here.follow, lasting=True)
        cluster.entries = {"shop": entry("shop"), "shop_eu": entry("shop_eu", "claimed")}
        await asyncio.sleep(0.1)
        assert here.known.entries.keys() == {"shop", "shop_eu"}
        assert set(map(tuple, cluster.reports)) == {()}, "something is on its way"
        calls.going -= 1
        await asyncio.sleep(0.2)
        assert cluster.reports[-1] == ["shop_eu"]
        confirmed = here.house.confirmed
        cluster.broken = True
        await asyncio.sleep(0.05)
        stale = here.house.confirmed
        await asyncio.sleep(0.05)
        assert here.house.confirmed == stale
        assert confirmed is not None
        cluster.broken = False
        await asyncio.sleep(0.05)
        assert here.house.confirmed != stale
        here.client = None
        await jobs.close()

    asyncio.run(body())
