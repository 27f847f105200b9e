"""What the rooms hand to each other: decisions of the conversation, exchanges with the cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from mdb_engine.scope import holdings

TRY_AGAIN: Final = holdings.TRY_AGAIN
"""What an app is told that must wait: drivers back off and retry (462)."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One command for the cluster.

    Attributes:
        body: BSON of the body, with `$db`. sections: document sequences, by name.
        app: the slug, for fairness between apps. pin: `host:port` of the member that must answer.
        read_preference: as drivers spell it (`{"mode": ...}`); None for the primary.
        awaited: may wait for new documents. time_ms: how long the cluster may work on it.
        caps: names of the limits that were applied to it.
    """

    body: bytes
    sections: tuple[tuple[str, tuple[bytes, ...]], ...] = ()
    app: str = ""
    pin: str | None = None
    read_preference: Mapping[str, Any] | None = None
    awaited: bool = False
    time_ms: int | None = None
    caps: tuple[str, ...] = ()


class Origin(NamedTuple):
    """Where a command came from: the client's address without a port, the connection's number."""

    address: str = ""
    connection: int = 0


ANYWHERE: Final = Origin()


@dataclass(frozen=True, slots=True)
class Ask:
    """A command for the other workers: each does its part of it, with what it remembers.

    Attributes:
        app, user: who asks. command: BSON, logical. one: the first that has a part is enough.
        address: the client's, without a port.
    """

    app: str
    user: str
    command: bytes
    one: bool = False
    address: str = ""


KEYS: Final = "keys"
PASSWORDS: Final = "passwords"
"""Kinds of chores: of each only so many are done at a time."""


@dataclass(frozen=True, slots=True)
class Chore:
    """Slow work that the cluster has no part in: `work` is done beside the loop, gives bytes."""

    work: Callable[[], bytes] = field(repr=False)
    kind: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: BSON of the reply, and `host:port` of the member that sent it.

    `said`: instead of both, the replies of those workers that had a part in an `Ask`. What a
    `Chore` gave stands in `body`. Seconds: `waited` for a connection, `took` in all.
    """

    body: bytes
    member: str
    said: tuple[bytes, ...] = ()
    waited: float = 0.0
    took: float = 0.0


@dataclass(frozen=True, slots=True)
class Reply:
    """We answer ourselves: the bytes of a whole message. Empty: the client wants no answer."""

    message: bytes


@dataclass(frozen=True, slots=True)
class Forward:
    """The cluster answers; `answer` turns what it said into the bytes for the client.

    `finish` has the last word on them (compression). `turn`: decisions with the same one wait for
    each other. `quiet`: the client wants no answer, not
    even to be told of a failure.
    """

    exchange: Exchange
    answer: Callable[[Answer], bytes]
    finish: Callable[[bytes], bytes] = bytes
    quiet: bool = False
    turn: str = ""


Steps = Generator[Exchange | Ask | Chore, Answer, bytes]


@dataclass(frozen=True, slots=True)
class Run:
    """Several exchanges: drive the generator, send the bytes that it returns."""

    steps: Steps
    finish: Callable[[bytes], bytes] = bytes
    quiet: bool = False
    turn: str = ""


@dataclass(frozen=True, slots=True)
class Close:
    """The client broke the protocol: no answer, close. The reason is for the log."""

    reason: str


@dataclass(frozen=True, slots=True)
class Backend:
    """A member of the cluster, as this process has it.

    Attributes:
        up: it can be read from. busy: commands on their way to it. connections: open ones.
    """

    up: bool
    busy: int = 0
    connections: int = 0


Decision = Reply | Forward | Run | Close
