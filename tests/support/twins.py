"""The same step twice: through the proxy, and on a private database of the same name."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, field
from hashlib import sha256
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

from bson import Binary, Int64, Timestamp

from tests.support.comparing import VIEWS, comparable, normal, plain
from tests.support.feeds import Feeds
from tests.support.lines import Line
from tests.support.workloads.commands import CursorOf, SessionOf, Step
from tests.support.workloads.streams import TimeOf, TokenOf

NO_CURSOR: Final = Int64(77)


def stem() -> str:
    """Give what the databases of one pair begin with."""
    return f"lab{uuid4().hex[:8]}"


@dataclass(slots=True)
class Side:
    """One of the two: a connection, and the cursors that it was given."""

    line: Line
    stem: str
    cursors: dict[int, Int64] = field(default_factory=dict)
    turn: int = 0
    feeds: Feeds = field(init=False)
    salt: str = field(default_factory=lambda: uuid4().hex)

    def __post_init__(self) -> None:
        self.feeds = Feeds(self.line)

    def send(self, step: Step) -> None:
        """Send a step in this side's words."""
        self.line.send(self._own(step.db), self._own(step.command))

    def receive(self, step: Step) -> bytes:
        """Give the reply, its cursor noted."""
        reply = self.line.receive()
        if b"cursor\0" in reply:
            cursor = plain(reply).get("cursor")
            if isinstance(cursor, dict) and cursor.get("id") and "getMore" not in step.command:
                self.cursors[step.number] = cursor["id"]
                if step.view == "stream":
                    self.feeds.opened(step.number, cursor)
        return reply

    def events(self, step: Step, until: Timestamp) -> bytes:
        """Read a stream up to a time."""
        asked = step.command["events"]
        command = {**step.command, "cursor": self.cursors.get(asked.step, NO_CURSOR)}
        return self.feeds.read(self._own(step.db), command, step.number, until)

    def _own(self, value: Any) -> Any:
        if isinstance(value, str):
            return (
                value.replace("@home", f"{self.stem}")
                .replace("@other", f"{self.stem}x")
                .replace("@stem", self.stem)
            )
        if isinstance(value, SessionOf | CursorOf | TokenOf | TimeOf):
            return self._meant(value)
        if isinstance(value, dict):
            return {name: self._own(item) for name, item in value.items()}
        return [self._own(item) for item in value] if isinstance(value, list) else value

    def _meant(self, value: SessionOf | CursorOf | TokenOf | TimeOf) -> Any:
        """What this side was given where the other one was given something else."""
        match value:
            case SessionOf():
                return self.session(value.number)
            case CursorOf():
                return self.cursors.get(value.step, NO_CURSOR)
            case TokenOf():
                return self.feeds.tokens.get((value.step, value.place))
            case TimeOf():
                return self.feeds.times.get((value.step, value.place))

    def session(self, number: int) -> Binary:
        """Give the id of a session that no other run uses."""
        return Binary(sha256(f"{self.salt}.{self.turn}.{number}".encode()).digest()[:16], 4)

    def reset(self, transactions: Iterable[Mapping[str, Any]]) -> None:
        """End transactions, close cursors and drop the databases."""
        for transaction in transactions:
            self.line.ask("admin", self._own({"abortTransaction": 1, **transaction}))
        self.turn += 1
        self.feeds.clear()
        if self.cursors:
            found = list(self.cursors.values())
            self.line.ask(self.stem, {"killCursors": "t", "cursors": found})
            self.cursors.clear()
        for db in (self.stem, f"{self.stem}x"):
            self._empty(db)

    def _empty(self, db: str) -> None:
        """Drop what is there, each by its name: the server takes 100 ms for a whole database."""
        listed = plain(self.line.ask(db, {"listCollections": 1, "nameOnly": True}))
        found = [item["name"] for item in listed["cursor"]["firstBatch"]]
        # The definitions of views go last.
        for name in sorted(found, key=lambda name: name == "system.views"):
            if not name.startswith("system.buckets."):
                reply = plain(self.line.ask(db, {"drop": name}))
                assert reply["ok"], reply


@dataclass(frozen=True, slots=True)
class Difference:
    """A step whose replies were not equal."""

    step: Step
    private: dict[str, Any]
    ours: dict[str, Any]

    @property
    def views(self) -> list[dict[str, Any]]:
        """What was compared: private, ours."""
        view = VIEWS[self.step.view]
        return [view(normal(deepcopy(reply))) for reply in (self.private, self.ours)]

    @property
    def parts(self) -> bool:
        """Whether what follows may differ too: only one of them did something.

        An error of the whole batch may come when the server has carried out a part of it.
        """
        batch = self.step.command.get("updates", self.step.command.get("deletes", ()))
        some = isinstance(batch, list) and len(batch) > 1
        return some or bool(self.private.get("ok")) != bool(self.ours.get("ok"))


class Twins:
    """Both sides; each step is sent to both before an answer is read."""

    def __init__(self, private: str, ours: str, name: str) -> None:
        self._stack = ExitStack()
        lines = [self._stack.enter_context(Line(uri)) for uri in (private, ours)]
        self._sides = [Side(line, name) for line in lines]
        self._transactions: dict[int, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(self, step: Step) -> tuple[dict[str, Any], Difference | None]:
        """Give the private reply, and the difference when there is one."""
        self._remember(step)
        private, ours = self._events(step) if "events" in step.command else self._replies(step)
        found = None
        if comparable(private, step.view) != comparable(ours, step.view):
            found = Difference(step, plain(private), plain(ours))
        return plain(private), found

    def _replies(self, step: Step) -> list[bytes]:
        for side in self._sides:
            side.send(step)
        return [side.receive(step) for side in self._sides]

    def _events(self, step: Step) -> list[bytes]:
        """What happened until a write that no stream watches."""
        private = self._sides[0]
        ticked = plain(private.line.ask("e2e_unwatched", {"insert": "tick", "documents": [{}]}))
        return [side.events(step, ticked["operationTime"]) for side in self._sides]

    def _remember(self, step: Step) -> None:
        if "autocommit" in step.command:
            kept = {n: step.command[n] for n in ("lsid", "txnNumber", "autocommit")}
            self._transactions[kept["lsid"]["id"].number] = kept

    def reset(self) -> None:
        """Begin anew with nothing there."""
        for side in self._sides:
            side.reset(self._transactions.values())
        self._transactions.clear()
