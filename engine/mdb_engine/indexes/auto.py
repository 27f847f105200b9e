"""AutoIndexManager: frequent queries get their index, in the background, a few per collection."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import bson
import structlog

from mdb_engine.background import Supervisor
from mdb_engine.database import ScopedCollection, ScopedDatabase
from mdb_engine.exceptions import MongoDBEngineError
from mdb_engine.observability.operations import Observer
from mdb_engine.rawbson import Document
from mdb_engine.scope.shapes import Keys, shape_of

SIGHTS: Final = 3
MOST: Final = 10
PREFIX: Final = "auto_"
UNUSED: Final = timedelta(hours=1)
"""How long an index may be without a use before it makes room for another."""

MOST_WAITING: Final = 16
"""Builds of one app that wait for each other; further shapes must be seen again."""

_REMEMBERED: Final = 1_000
"""Shapes, and signs of commands, that are remembered at once; then counting begins anew."""

log = structlog.get_logger("mdb_engine.indexes")


CREATED, DROPPED, FAILED, SUGGESTED = "created", "dropped", "failed", "suggested"
"""What becomes of an automatic index."""

Told = Callable[[str], None]


def _nobody(_outcome: str) -> None:
    """Nobody counts."""


class AutoIndexManager:
    """Watches the queries of one app; at the third of a shape its index is built, one at a time.

    Args:
        db: the app's own database. jobs: where indexes are built.
        told: is told what became of each.
        suggest: only say in the log what would be built.
        building: held while one is built; others of the app may hold it too.
    """

    def __init__(
        self,
        db: ScopedDatabase,
        jobs: Supervisor,
        told: Told = _nobody,
        *,
        suggest: bool = False,
        building: asyncio.Lock | None = None,
    ) -> None:
        self._db, self._jobs, self._told = db, jobs, told
        self.suggest = suggest
        self._seen: Counter[tuple[str, Keys]] = Counter()
        self._settled: set[Any] = set()
        self._building = building or asyncio.Lock()
        self._waiting = 0
        self.created: list[str] = []

    def saw(self, command: Mapping[str, Any]) -> bool:
        """Notice a logical command; False when more of its shape would be of no use."""
        shape = shape_of(command)
        collection = command.get("find", command.get("aggregate"))
        if shape is None or not shape.index or not isinstance(collection, str):
            return False
        key = (collection, shape.index)
        if len(self._seen) >= _REMEMBERED and key not in self._seen:
            self._seen.clear()
            self._settled.clear()
        self._seen[key] += 1
        if self._seen[key] == SIGHTS and self._waiting >= MOST_WAITING:
            self._seen[key] -= 1
        elif self._seen[key] == SIGHTS:
            self._waiting += 1
            self._jobs.start("index.auto", lambda: self._build(collection, shape.index))
        return self._seen[key] < SIGHTS

    def met(self, place: Any, condition: Mapping[str, Any], command: Mapping[str, Any]) -> None:
        """Notice a command in Python's values, by the names of its filter; known ones cost little.

        Args:
            place: what the command is, save its filter.
            condition: a plain filter.
            command: the whole.
        """
        sign: Any = tuple(condition)
        if dict in map(type, condition.values()):
            sign = tuple((n, tuple(v) if type(v) is dict else ()) for n, v in condition.items())
        if (place, sign) in self._settled:
            return
        if not self.saw(Document(bson.encode(command))):
            if len(self._settled) >= _REMEMBERED:
                self._settled.clear()
            self._settled.add((place, sign))

    async def _build(self, collection: str, keys: Keys) -> None:
        try:
            await self._built(collection, keys)
        finally:
            self._waiting -= 1

    async def _built(self, collection: str, keys: Keys) -> None:
        async with self._building:
            place = self._db[collection]
            try:
                if await self._has_room(collection, keys):
                    await self._made(place, keys)
            except MongoDBEngineError as error:
                log.warning("index.not_created", on=collection, reason=type(error).__name__)
                self._told(FAILED)

    async def _made(self, place: ScopedCollection, keys: Keys) -> None:
        name = auto_name(keys)
        outcome = SUGGESTED if self.suggest else CREATED
        if not self.suggest:
            await place.create_index(list(keys), name=name)
            self.created.append(f"{place.name}.{name}")
        log.info(
            "index.automatic", outcome=outcome, app=self._db.app_slug, on=place.name, index=name
        )
        self._told(outcome)

    async def _has_room(self, collection: str, keys: Keys) -> bool:
        """Whether the index is missing and may be made; one that nobody uses makes room."""
        indexes = await self._db[collection].index_manager.list_indexes()
        if not indexes or any(serves(index["key"], keys) for index in indexes):
            return False
        own = [index["name"] for index in indexes if index["name"].startswith(PREFIX)]
        return self.suggest or len(own) < MOST or await self._drop_unused(collection, own)

    async def _drop_unused(self, collection: str, own: list[str]) -> bool:
        place, before = self._db[collection], datetime.now(UTC) - UNUSED
        async for found in place.aggregate([{"$indexStats": {}}]):
            used = found["accesses"]
            since = used["since"].replace(tzinfo=UTC)
            if found["name"] in own and not used["ops"] and since < before:
                await place.drop_index(found["name"])
                log.info("index.dropped", app=self._db.app_slug, on=collection, index=found["name"])
                self._told(DROPPED)
                return True
        return False


def auto_name(keys: Keys) -> str:
    """`auto_status_1_created_at_-1`, cut where the server would refuse it."""
    return (PREFIX + "_".join(f"{name}_{direction}" for name, direction in keys))[:120]


def serves(have: Mapping[str, Any], keys: Keys) -> bool:
    """Whether an index begins with these keys."""
    return tuple(have.items())[: len(keys)] == keys


class Watching:
    """An observer that also shows an index manager what is asked."""

    def __init__(self, observer: Observer, manager: AutoIndexManager) -> None:
        self._observer, self._manager = observer, manager
        self.refused, self.done, self.capped = observer.refused, observer.done, observer.capped
        self.tally, self.met, self.indexed = observer.tally, manager.met, observer.indexed

    def saw(self, command: Mapping[str, Any]) -> None:
        """Tell both."""
        self._observer.saw(command)
        self._manager.saw(command)
