import asyncio
from collections import defaultdict
from typing import Any

from mdb_engine.indexes.auto import SIGHTS
from mdb_engine.indexes.traffic import LOOKS_PER_SECOND, Traffic
from mdb_engine.rawbson import Document, encode
from mdb_engine.scope.model import Scope
from tests.support.kernel import SHOP
from tests.support.recorders import recording

QUERY = Document(encode({"find": "tasks", "filter": {"a": 1}, "sort": {"t": -1}}))
LISTED = {
    "cursor": {"id": 0, "ns": "x", "firstBatch": [{"key": {"_id": 1}, "name": "_id_"}]}, "ok": 1.0,
}  # fmt: skip


def passed(
    mode: str, command: Document = QUERY, times: int = SIGHTS, scope: Scope | None = SHOP
) -> tuple[list[str], list[Any], Any]:
    """What is sent, and what is told, after so many commands."""

    async def body() -> Any:
        told: list[Any] = []
        locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        async with recording() as (recorder, client):
            recorder.replies = {"listIndexes": LISTED}
            traffic = Traffic(
                client["appdata"], lambda _: scope, lambda _: mode,
                lambda app, outcome: told.append((app, outcome)), locks.__getitem__,
            )  # fmt: skip
            async with locks["shop"]:
                for _ in range(times):
                    traffic.saw("shop", command)
                await asyncio.sleep(0.05)
                assert recorder.seen == [], "one build of an app at a time"
            await traffic._jobs.idle()
            await traffic.close()
            return [next(iter(each)) for each in recorder.seen], told, traffic

    found: Any = asyncio.run(body())
    return found


def test_indexes_are_made_where_the_manifest_says_so() -> None:
    sent, told, _ = passed("create")
    assert sent == ["listIndexes", "createIndexes"]
    assert told == [("shop", "created")]


def test_else_they_are_suggested_or_nothing() -> None:
    assert passed("suggest")[:2] == (["listIndexes"], [("shop", "suggested")])
    assert passed("off")[:2] == ([], [])
    assert passed("create", scope=None)[:2] == ([], [])
    assert passed("create", Document(encode({"insert": "tasks"})))[:2] == ([], [])


def test_looking_has_a_budget() -> None:
    *_, traffic = passed("suggest", Document(encode({"find": "tasks"})), 3 * LOOKS_PER_SECOND)
    assert not traffic._may_look() or traffic._second != 0
    traffic._clock, looks = (lambda: 7.5), [traffic._may_look() for _ in range(0)]
    looks = [traffic._may_look() for _ in range(LOOKS_PER_SECOND + 5)]
    assert looks.count(True) == LOOKS_PER_SECOND
    traffic._clock = lambda: 8.0
    assert traffic._may_look()
