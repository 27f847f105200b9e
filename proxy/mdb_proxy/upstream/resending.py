"""Whether a command may be sent again: what it is, and what its failure tells of what was done.

Twice is worse than not at all: what may have been executed is repeated only when that changes
nothing (a read), or when the cluster knows it again (a session's id and a transaction number).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from mdb_engine import rawbson
from mdb_engine.exceptions import UpstreamError
from mdb_proxy.decisions import Answer, Exchange

REFUSED: Final = frozenset({10107, 13435, 13436})
"""NotWritablePrimary, NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary: said before anything is
done."""
CHANGING: Final = REFUSED | {91, 189, 11600, 11602}
"""ShutdownInProgress, PrimarySteppedDown, InterruptedAtShutdown, InterruptedDueToReplStateChange:
the member's state changed, perhaps in the middle of the work."""

TELLING: Final = frozenset({b"code", b"writeConcernError", b"writeErrors"})
"""Fields that only a reply with an error has."""

_READS: Final = frozenset({
    "aggregate", "collStats", "count", "dataSize", "dbStats", "distinct", "explain", "find",
    "listCollections", "listDatabases", "listIndexes", "validate",
})  # fmt: skip
_AT_HOME: Final = frozenset({"getMore", "killCursors"})
_WRITERS: Final = frozenset({"$merge", "$out"})
_MANY: Final[Mapping[str, tuple[str, object]]] = {
    "deletes": ("limit", 0),
    "updates": ("multi", True),
}
"""Section -> the field and its value that make a statement touch many documents."""


class Version(NamedTuple):
    """A member's `topologyVersion`: which process, and how often its state has changed."""

    process: bytes
    counter: int


@dataclass(frozen=True, slots=True)
class Setback:
    """An attempt that failed in a way that may pass.

    Attributes:
        outcome: what the client is told when it stays at that.
        sent: a member may have seen the command.
        undone: it was certainly not executed, not even in part.
    """

    outcome: Answer | UpstreamError
    sent: bool = True
    undone: bool = False

    @property
    def harmful(self) -> bool:
        """It may have been executed."""
        return self.sent and not self.undone

    @property
    def lost(self) -> bool:
        """No answer came; perhaps because the command is what ends members."""
        return self.sent and isinstance(self.outcome, UpstreamError)


@dataclass(frozen=True, slots=True)
class Nature:
    """What a command is.

    Attributes:
        bound: it means something on one member only: part of a transaction, or about a cursor.
        repeatable: to execute it twice is the same as once.
    """

    bound: bool
    repeatable: bool

    def may_follow(self, setback: Setback, pinned: bool) -> bool:
        """Whether the command may be sent after that; `pinned`: to the one member it names."""
        if not setback.sent:
            return not (self.bound and pinned)
        return not self.bound and (setback.undone or self.repeatable)


def nature(body: bytes) -> Nature:
    """What the command of a body is."""
    command = rawbson.Document(body)
    name = command.first or ""
    bound = name in _AT_HOME or "autocommit" in command
    return Nature(bound, "txnNumber" in command or (name in _READS and not _writes(command)))


def _writes(command: rawbson.Document) -> bool:
    pipeline = command.get("pipeline")
    stages = pipeline if isinstance(pipeline, rawbson.Array) else ()
    return any(isinstance(each, rawbson.Document) and each.first in _WRITERS for each in stages)


def state_change(reply: bytes) -> Version | None:
    """The `topologyVersion` that a member sends with an error of its state; None without one."""
    found = rawbson.find(reply, "topologyVersion")
    if not isinstance(found, rawbson.Document):
        return None
    process, counter = found.get("processId"), found.get("counter")
    if not isinstance(process, rawbson.Raw) or not isinstance(counter, int):
        return None
    return Version(process.data, counter)


def setback(answer: Answer, exchange: Exchange) -> Setback | None:
    """What a reply with an error says; None when its error is the client's to know."""
    reply = rawbson.Document(answer.body)
    if not reply.get("ok"):
        code = reply.get("code")
        return Setback(answer, undone=code in REFUSED) if code in CHANGING else None
    errors = _codes(reply.get("writeErrors"))
    concern = reply.get("writeConcernError")
    late = isinstance(concern, rawbson.Document) and concern.get("code") in CHANGING
    if not late and CHANGING.isdisjoint(errors):
        return None
    # A statement is atomic unless it touches many documents, and counted when it was executed.
    nothing = bool(errors) and CHANGING.issuperset(errors) and not reply.get("n")
    return Setback(answer, undone=nothing and not _touches_many(exchange))


def _codes(errors: object) -> Collection[object]:
    items = errors if isinstance(errors, rawbson.Array) else ()
    return [each.get("code") for each in items if isinstance(each, rawbson.Document)]


def _touches_many(exchange: Exchange) -> bool:
    for name, documents in exchange.sections:
        if name in _MANY:
            field, value = _MANY[name]
            return any(rawbson.find(each, field) == value for each in documents)
    return False
