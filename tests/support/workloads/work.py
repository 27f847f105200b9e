"""A workload: steps one after the other, by a model of what is open."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from bson import Int64

from tests.support.workloads import streams
from tests.support.workloads.commands import (
    COMMANDS,
    IN_TRANSACTION,
    READERS,
    WRITERS,
    CursorOf,
    SessionOf,
    Step,
    seeding,
)
from tests.support.workloads.dice import Dice

DATABASES: Final = ((6, "@home"), (1, "@other"))
WELCOME: Final = frozenset({
    "aggregate", "delete", "distinct", "find", "findAndModify", "findandmodify", "insert", "update",
})  # fmt: skip
"""Commands that may run inside a transaction."""

ENDS: Final = frozenset({"convertToCapped", "drop", "dropDatabase", "renameCollection"})
"""Commands after which a collection may be gone."""

STREAMS: Final = 3
"""So many streams are open at most."""

UNCOUNTED: Final = (
    "'$jsonSchema': {'bogus': 1}", "'$language': 'bogus'", "'$regex': '('", "'$slice': 'x'",
    "'$type': 'bogus'",
)  # fmt: skip
"""Mistakes among the good choices of tables."""

Reply = dict[str, Any]


class Work:
    """Makes the next step from what has become of the last ones."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._made = 0
        self._cursors: list[tuple[int, str, str]] = []
        self._transaction: dict[str, Any] | None = None
        self._transactions = 0
        self._streams: list[tuple[int, str, str]] = []
        self._seen: list[tuple[int, int]] = []
        self.blurred = False
        self._there: set[tuple[str, str]] = set()
        made = seeding(dice)
        self._waiting = [*(("@home", command) for command in made), ("@other", made[0])]

    def next(self) -> Step:
        """Give the next step."""
        self._made += 1
        if self._waiting:
            db, command = self._waiting.pop(0)
            return Step(self._made, db, command)
        self._dice.mistakes = 0
        step = self._ways()(self._dice)
        text = str(step.command)
        uncounted = sum(mistake in text for mistake in UNCOUNTED)
        return replace(step, mistakes=self._dice.mistakes + uncounted)

    def _ways(self) -> Callable[[Dice], Step]:
        if self._cursors and self._dice.chance(0.5):
            return self._on_a_cursor
        if self._transaction is not None:
            return self._during_a_transaction
        return self._outside()

    def _outside(self) -> Callable[[Dice], Step]:
        if self._streams and self._dice.chance(0.2):
            return self._read_events
        if len(self._streams) < STREAMS and self._dice.chance(0.03 + 0.1 * bool(self._seen)):
            return self._watch
        if self._dice.chance(0.02):
            return self._begin
        return self._usual

    def _watch(self, dice: Dice) -> Step:
        db, command, name = streams.opening(dice, self._seen)
        self._streams.append((self._made, db, name))
        return Step(self._made, db, command, "stream")

    def _read_events(self, dice: Dice) -> Step:
        number, db, name = dice.pick(self._streams)
        return Step(self._made, db, {"events": CursorOf(number), "collection": name}, "events")

    def _usual(self, dice: Dice) -> Step:
        db, kind = dice.weighted(COMMANDS)
        command, view = kind(dice)
        if next(iter(command)) in WRITERS:
            # What a cursor that is open shows of later changes is the server's secret.
            self._cursors.clear()
        return Step(self._made, db or dice.weighted(DATABASES), command, view)

    def _on_a_cursor(self, dice: Dice) -> Step:
        dice.mistakes += self._transaction is not None  # it may have been opened outside
        at = dice.number(0, len(self._cursors) - 1)
        number, db, name = self._cursors[at]
        if dice.chance(0.1):
            del self._cursors[at]
            return Step(self._made, db, {"killCursors": name, "cursors": [CursorOf(number)]})
        more = dice.maybe(0.6, batchSize=lambda d: d.number(1, 4))
        if dice.chance(0.03):
            more = {
                dice.pick(("batchSize", "maxTimeMS", "bogus", "comment")): dice.pick((-1, "x", 5))
            }
        command = {"getMore": CursorOf(number), "collection": name, **more}
        return Step(self._made, db, self._within(command), "more")

    def _begin(self, dice: Dice) -> Step:
        self._transactions += 1
        self._transaction = {
            "lsid": {"id": SessionOf(self._transactions % 2 + 1)},
            "txnNumber": Int64(self._transactions),
            "autocommit": False,
            "startTransaction": True,
        }
        return self._during_a_transaction(dice)

    def _within(self, command: dict[str, Any]) -> dict[str, Any]:
        if self._transaction is None:
            return command
        found = {**command, **self._transaction}
        self._transaction.pop("startTransaction", None)
        return found

    def _during_a_transaction(self, dice: Dice) -> Step:
        assert self._transaction is not None
        started = "startTransaction" not in self._transaction
        if started and dice.chance(0.2):
            name = dice.pick(("commitTransaction", "commitTransaction", "abortTransaction"))
            found = Step(self._made, "admin", self._within({name: 1}))
            self._end()
            return found
        if started and dice.chance(0.3):
            command, view = dice.weighted(READERS)(dice)
            return Step(self._made, "@home", command, view)
        command, view = dice.weighted(IN_TRANSACTION)(dice)
        if next(iter(command)) in WRITERS:
            self._cursors.clear()
        dice.mistakes += not WELCOME & command.keys()
        dice.mistakes += any(stage in str(command) for stage in ("'$out'", "'$merge'"))
        concern = command.get("readConcern")
        available = isinstance(concern, dict) and concern.get("level") == "available"
        dice.mistakes += available or (started and "readConcern" in command)
        return Step(self._made, "@home", self._within(command), view)

    def _end(self) -> None:
        self._transaction = None
        self._cursors.clear()

    def _follow(self, step: Step, *, failed: bool, refused: bool) -> None:
        """Follow which collections there are for sure.

        An upsert that fails may create one on one of the sides only.
        """
        target = (step.db, str(step.command[next(iter(step.command))]))
        if failed and "upsert" in str(step.command) and target not in self._there:
            self.blurred = True
        updates = step.command.get("updates")
        if refused and isinstance(updates, list) and len(updates) > 1:
            # The server finds out at the second statement that its pipeline is none (6.0.5).
            self.blurred = True
        if next(iter(step.command)) in ENDS:
            self._there.clear()
            self._forget_streams(step)
        elif not failed and "insert" in step.command:
            self._there.add(target)

    def _watched(self, step: Step, reply: Reply) -> None:
        """Remember which streams are open, and how many events a step has read."""
        number = step.number if step.view == "stream" else step.command["events"].step
        if not reply.get("ok") or not reply.get("open", True):
            self._streams = [each for each in self._streams if each[0] != number]
        if reply.get("events"):
            self._seen.append((step.number, len(reply["events"])))

    def _forget_streams(self, step: Step) -> None:
        """A rename into another database is a copy on a private server."""
        names = [str(step.command.get(n)).partition(".")[0] for n in ("renameCollection", "to")]
        if names[0] != names[1]:
            self._streams.clear()
            self._seen.clear()

    def note(self, step: Step, reply: Reply) -> None:
        """Remember what a step left open on the private side."""
        refused = not reply.get("ok")
        failed = refused or "writeErrors" in reply
        self._follow(step, failed=failed, refused=refused)
        if failed and self._transaction is not None and "txnNumber" in step.command:
            # A statement that was not even understood leaves it open (6.0.5), and what comes
            # behind would wait for it.
            self._waiting.append(("admin", self._within({"abortTransaction": 1})))
            self._end()
        if not reply.get("ok") and "getMore" in step.command:
            asked = step.command["getMore"].step
            self._cursors = [c for c in self._cursors if c[0] != asked]
        if step.view in ("stream", "events"):
            self._watched(step, reply)
            return
        cursor = reply.get("cursor")
        if not isinstance(cursor, dict):
            return
        if "getMore" in step.command:
            asked = step.command["getMore"].step
            if not cursor.get("id"):
                self._cursors = [c for c in self._cursors if c[0] != asked]
        elif cursor.get("id"):
            first = step.command[next(iter(step.command))]
            name = first if isinstance(first, str) else cursor["ns"].partition(".")[2]
            self._cursors.append((step.number, step.db, name))
