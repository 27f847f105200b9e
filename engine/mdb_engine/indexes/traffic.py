"""Automatic indexes for apps whose queries somebody else serves: the proxy shows what passes.

Commands are not held up by it: looking costs some microseconds and has a budget, all else happens
in jobs, one build per app at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final

from pymongo.asynchronous.database import AsyncDatabase

from mdb_engine.background import Supervisor
from mdb_engine.database.handle import scoped_database
from mdb_engine.indexes.auto import AutoIndexManager
from mdb_engine.observability.operations import Operations
from mdb_engine.scope.model import Scope

OFF, SUGGEST, CREATE = "off", "suggest", "create"
LOOKS_PER_SECOND: Final = 200
"""Commands that are looked at; frequent ones come again."""

WATCHED: Final = frozenset({"aggregate", "find"})


class Traffic:
    """Watches the queries of all apps.

    Args:
        database: the physical one.
        scope: of an app as it is now; None when it has gone.
        mode: OFF, SUGGEST or CREATE, by the app's manifest.
        told: is told of an app and what became of an index.
        building: held while an index of the app is built.
    """

    def __init__(
        self,
        database: AsyncDatabase[Any],
        scope: Callable[[str], Scope | None],
        mode: Callable[[str], str],
        told: Callable[[str, str], None],
        building: Callable[[str], asyncio.Lock],
    ) -> None:
        self._database, self._scope, self._mode = database, scope, mode
        self._told, self._building = told, building
        self._jobs, self._clock = Supervisor(), monotonic
        self._managers: dict[str, AutoIndexManager] = {}
        self._second, self._looks = 0, 0

    def saw(self, slug: str, command: Mapping[str, Any]) -> None:
        """Notice a logical command of an app."""
        if next(iter(command)) not in WATCHED or not self._may_look():
            return
        mode = self._mode(slug)
        if mode == OFF:
            return
        manager = self._managers.get(slug) or self._manager(slug)
        if manager is not None:
            manager.suggest = mode != CREATE
            manager.saw(command)

    def _may_look(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._looks = second, 0
        self._looks += 1
        return self._looks <= LOOKS_PER_SECOND

    def _manager(self, slug: str) -> AutoIndexManager | None:
        scope = self._scope(slug)
        if scope is None:
            return None
        last = scope
        db = scoped_database(self._database, lambda: self._scope(slug) or last, Operations())
        made = self._managers[slug] = AutoIndexManager(
            db,
            self._jobs,
            lambda outcome: self._told(slug, outcome),
            building=self._building(slug),
        )
        return made

    async def close(self) -> None:
        """End what is being built."""
        await self._jobs.close(0)
