"""What clients that left had open is ended, at once or when nobody like them is left."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import bson
import pytest

from mdb_engine.exceptions import UpstreamError
from mdb_proxy import departures
from mdb_proxy.cursors import Cursor, Cursors, Sessions
from mdb_proxy.decisions import Answer, Exchange
from mdb_proxy.departures import Departures, Guest

ANN = Guest("shop", "shop", "10.0.0.1")
ELSEWHERE = Guest("shop", "shop", "10.0.0.2")
S1, S2 = b"1" * 16, b"2" * 16


class Scene:
    """Departures in front of a cluster that notes what it is told."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.told: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.cursors, self.sessions = Cursors(), Sessions()
        self.all = Departures(self.cursors, self.sessions, self.exchange, group.create_task)

    async def exchange(self, exchange: Exchange) -> Answer:
        self.told.append(bson.decode(exchange.body))
        if self.error is not None:
            raise self.error
        return Answer(b"", "")

    def use(self, session: bytes, guest: Guest = ANN, cursor: int = 0) -> None:
        """Have a guest use a session, and open a cursor in it."""
        self.sessions.use(guest.app, guest.user, session, 100, 0.0)
        self.sessions.note(guest.app, session, guest.address)
        if cursor:
            self.cursors.open(cursor, opened(session), 0.0)

    def names(self) -> list[str]:
        return [next(iter(each)) for each in self.told]


def opened(session: bytes | None, connection: int = 0) -> Cursor:
    place = ("shop", "tasks", "shop_tasks", "appdata", "m:1")
    return Cursor("shop", "shop", *place, session=session, connection=connection)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departures, "PATIENCE_SECONDS", 0.02)


def on(work: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            await work(Scene(group))

    asyncio.run(main())


async def long_enough() -> None:
    await asyncio.sleep(0.08)


def test_a_cursor_outside_a_session_goes_with_its_connection() -> None:
    async def work(scene: Scene) -> None:
        for number, connection in ((1, 7), (2, 7), (3, 8)):
            scene.cursors.open(number, opened(None, connection), 0.0)
        scene.all.came(ANN)
        scene.all.came(ANN)
        scene.all.left(ANN, 7)
        assert scene.cursors.count("shop") == 1
        await long_enough()
        assert [each["cursors"] for each in scene.told] == [[1], [2]]
        assert [each["killCursors"] for each in scene.told] == ["shop_tasks", "shop_tasks"]

    on(work)


def test_sessions_go_when_nobody_was_there_for_a_while() -> None:
    async def work(scene: Scene) -> None:
        scene.use(S1, cursor=1)
        scene.use(S2, ELSEWHERE, cursor=2)
        for _ in range(2):
            scene.all.came(ANN)
        scene.all.left(ANN, 1)
        await long_enough()
        assert scene.told == []
        scene.all.left(ANN, 2)
        assert scene.told == []
        await long_enough()
        assert scene.names() == ["killSessions", "endSessions"]
        assert all(len(next(iter(each.values()))) == 1 for each in scene.told)
        assert scene.cursors.count("shop") == 1, "another address"
        assert scene.sessions.of("shop", "shop") == [S2]

    on(work)


def test_who_comes_back_in_time_finds_everything() -> None:
    async def work(scene: Scene) -> None:
        scene.use(S1, cursor=1)
        for _ in range(5):
            scene.all.came(ANN)
            await asyncio.sleep(0.015)
            scene.all.left(ANN, 1)
            await asyncio.sleep(0.005)
        scene.all.came(ANN)
        await long_enough()
        assert scene.told == []
        assert scene.all.has(ANN)
        scene.all.left(ANN, 1)
        await long_enough()
        assert scene.cursors.count("shop") == 0

    on(work)


def test_the_wait_begins_anew_with_each_leave() -> None:
    async def work(scene: Scene) -> None:
        scene.use(S1, cursor=1)
        scene.all.came(ANN)
        scene.all.left(ANN, 1)
        await asyncio.sleep(0.01)
        scene.all.came(ANN)
        scene.all.left(ANN, 2)
        await asyncio.sleep(0.02)
        assert scene.told == []
        await long_enough()
        assert scene.names() == ["killSessions", "endSessions"]

    on(work)


@pytest.mark.parametrize(
    ("answers", "ends"),
    [
        ([[False, False]], True),
        ([[False, True]], False),
        ([[None, True]], False),
        ([[None], [False]], True),
        ([[None]] * 5, True),
    ],
)
def test_the_other_workers_are_asked(answers: list[list[bool | None]], ends: bool) -> None:
    async def work(scene: Scene) -> None:
        left = list(answers)
        told = []

        async def others(guest: Guest) -> Sequence[bool | None]:
            assert guest == ANN
            return left.pop(0)

        async def tell(guest: Guest) -> None:
            told.append(guest)

        scene.all.others, scene.all.tell = others, tell
        scene.use(S1)
        scene.all.came(ANN)
        scene.all.left(ANN, 1)
        await asyncio.sleep(0.25)
        assert left == []
        assert (told == [ANN]) == ends == bool(scene.told)

    on(work)


def test_nothing_is_ended_for_who_is_there() -> None:
    async def work(scene: Scene) -> None:
        scene.use(S1)
        scene.all.came(ANN)
        await scene.all.clear(ANN)
        assert scene.told == []
        assert scene.sessions.total == 1
        await scene.all.clear(ELSEWHERE)
        assert scene.told == []

    on(work)


def test_nothing_is_ended_at_the_end() -> None:
    async def work(scene: Scene) -> None:
        scene.cursors.open(1, opened(None, 7), 0.0)
        scene.use(S1)
        scene.all.came(ANN)
        scene.all.came(ELSEWHERE)
        scene.all.left(ANN, 1)
        await asyncio.sleep(0)
        scene.all.close()
        scene.all.left(ELSEWHERE, 7)
        await long_enough()
        assert scene.told == []

    on(work)


def test_a_cluster_that_is_away_ends_it_by_itself() -> None:
    async def work(scene: Scene) -> None:
        scene.error = UpstreamError("away")
        scene.use(S1)
        scene.all.came(ANN)
        scene.all.left(ANN, 1)
        await long_enough()
        assert scene.names() == ["killSessions", "endSessions"]
        assert scene.sessions.total == 0

    on(work)


def test_many_sessions_take_several_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departures, "MANY", 2)

    async def work(scene: Scene) -> None:
        for number in range(5):
            scene.use(bytes([number]) * 16)
        await scene.all.clear(ANN)
        sizes = [len(next(iter(each.values()))) for each in scene.told]
        assert sizes == [2, 2, 1, 2, 2, 1]

    on(work)
