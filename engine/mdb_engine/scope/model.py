"""The nouns of the kernel: what an app owns, how much it may ask, where a rule stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from bson import Timestamp

TAG_FIELD: Final = "app_id"
"""The field that carries the slug in every stored document. Spelled here only."""

MAX_MESSAGE_BYTES: Final = 48_000_000

PARSED_AS: Final[Mapping[str, str]] = {"find": "FindCommandRequest"}
"""Commands whose fields the server's errors name otherwise (6.0.5)."""

Path = tuple[str, ...]
"""Where a value stands in a command: `("pipeline", "2", "$lookup", "from")`."""


class Role(StrEnum):
    """What a credential may do: `readWrite` includes the definition of collections and indexes."""

    READ_WRITE = "readWrite"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Features:
    """What the cluster can do. `version` is that of its oldest member."""

    version: tuple[int, int] = (6, 0)
    search: bool = False
    standalone: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an app may ask. Times in milliseconds, sizes in bytes, the rest are counts."""

    max_time_ms: int = 300_000
    default_time_ms: int = 30_000
    definition_time_ms: int = 300_000
    max_results: int = 10_000
    max_batch: int = 1_000
    result_overflow: str = "truncate"
    max_depth: int = 10
    max_stages: int = 50
    max_regex_length: int = 1_000
    max_regex_complexity: int = 50
    max_document_bytes: int = 16_777_216
    max_branches: int = 1_000
    max_regexes: int = 100
    max_pipeline_nesting: int = 5
    max_graph_depth: int = 100
    max_iteration_nesting: int = 2
    max_range: int = 10_000
    max_connections: int = 500
    max_in_flight: int = 64
    max_cursors: int = 1_000
    max_change_streams: int = 16
    max_collections: int = 500
    max_indexes: int = 64
    max_transactions: int = 10
    max_sessions: int = 10_000
    disk_use: bool = False
    pre_images: bool = False
    requests_per_second: float | None = None
    burst: int | None = None
    storage_bytes: int | None = None

    @property
    def overflow_fails(self) -> bool:
        """A reader who would get more than `max_results` gets an error instead of fewer."""
        return self.result_overflow == "error"


@dataclass(frozen=True, slots=True)
class VectorField:
    """A field that holds vectors: where it is, how long they are, how two are compared."""

    path: str
    dimensions: int
    similarity: str


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """An index for `$vectorSearch` where the cluster has no search process.

    Attributes:
        id: as drivers show it. vectors: fields with vectors. filters: paths that a filter may
            name. definition: as it was written. managed: it stands in the app's manifest.
    """

    id: str
    vectors: tuple[VectorField, ...]
    filters: frozenset[str] = frozenset()
    definition: Mapping[str, Any] = field(default_factory=dict)
    managed: bool = False


@dataclass(frozen=True, slots=True)
class Search:
    """A stage that needs to know definitions of vector indexes.

    Attributes:
        collection: physical. index: its name; None: all of the collection.
        candidates: condition on the documents that are scored; None when none are.
    """

    collection: str
    index: str | None = None
    candidates: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """One app's view of the cluster: what it owns, what it may read, how much it may ask.

    Attributes:
        slug: the app.
        database: the physical database.
        home: logical names of the home namespace, the first is the one that is shown.
        readable: granted read scopes, without the own slug.
        longer: slugs of the ledger that begin with the own slug or a readable one and `_`.
        since: by slug (the own one and readable ones), when its names became its own.
        pinned: only home names are accepted.
        expose_app_id: the tag is shown to the app (the wire hides it, the SDK shows it).
        address: `host:port` that replies name instead of a member of the cluster.
        vectors: (physical collection, name) -> index, where the cluster has no search process.
        views: physical view -> what it reads, each as often as it names it; some seconds old.
        storing: what is rewritten will be stored, and outlives grants: own names and documents.
    """

    slug: str
    database: str
    home: tuple[str, ...]
    readable: tuple[str, ...] = ()
    longer: tuple[str, ...] = ()
    since: Mapping[str, Timestamp] = field(default_factory=dict)
    pinned: bool = False
    role: Role = Role.READ_WRITE
    expose_app_id: bool = False
    features: Features = Features()
    address: str = "localhost:27018"
    limits: Limits = field(default_factory=Limits)
    vectors: Mapping[tuple[str, str], VectorIndex] = field(default_factory=dict, hash=False)
    views: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False, repr=False)
    storing: bool = False

    @property
    def granted(self) -> tuple[str, ...]:
        """The read scopes whose documents count in what is rewritten now."""
        return () if self.storing else self.readable

    @property
    def slugs(self) -> tuple[str, ...]:
        """Every slug that decides about ownership of a name that this app can spell."""
        return (self.slug, *self.readable, *self.longer)

    @property
    def hidden(self) -> bool:
        """Whether the tag is kept out of everything that the app reads."""
        return not self.expose_app_id


@dataclass(frozen=True, slots=True)
class StatementError:
    """A statement that is refused while the others run: an item of `writeErrors`."""

    index: int
    code: int
    message: str


def stops_at_errors(command: Mapping[str, Any]) -> bool:
    """Whether nothing is carried out behind a failed statement.

    A transaction has ended then, be the batch ordered or not (6.0.5).
    """
    return command.get("ordered") is not False or "autocommit" in command


@dataclass(slots=True)
class Notes:
    """What the rules find out on the way through one command; made anew for each.

    Attributes:
        names: physical -> logical name of every collection that was resolved.
        caps: limits that were applied. refused, kept: see `Physical`.
        stages: pipeline stages seen, nested ones included. plan, allowance, stream, searches: see
            `Physical`.
        reads: collections that are read, those that views stand for included.
        unites: there is a `$unionWith`.
    """

    names: dict[str, str] = field(default_factory=dict)
    caps: list[str] = field(default_factory=list)
    refused: list[StatementError] = field(default_factory=list)
    kept: list[int] | None = None
    stages: int = 0
    plan: str = ""
    allowance: int | None = None
    stream: bool = False
    searches: list[Search] = field(default_factory=list)
    reads: int = 0
    unites: bool = False


@dataclass(frozen=True, slots=True)
class Where:
    """Where a rule stands: command, logical database, the document that holds the value, path."""

    command: str
    db: str
    owner: Mapping[str, Any] = field(default_factory=dict)
    path: Path = ()
    notes: Notes = field(default_factory=Notes, compare=False)

    def at(self, *steps: str | int) -> Where:
        """The same place, some steps further down."""
        return Where(self.command, self.db, self.owner, (*self.path, *map(str, steps)), self.notes)

    def inside(self, owner: Mapping[str, Any], *steps: str | int) -> Where:
        """Further down, in another document (one statement of a batch, say)."""
        return Where(self.command, self.db, owner, (*self.path, *map(str, steps)), self.notes)

    @property
    def field(self) -> str:
        """The field as the server's parser names it (6.0.5): no index but a last one."""
        steps = [s for s in self.path[:-1] if not s.isdecimal()]
        return ".".join((PARSED_AS.get(self.command, self.command), *steps, *self.path[-1:]))

    def __str__(self) -> str:
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to one value. `decoded` is the truth; `raw` is a shortcut that may decline."""

    decoded: Callable[[Any, Scope, Where], Any]
    raw: Callable[[bytes, Scope], bytes | None] | None = None


@dataclass(frozen=True, slots=True)
class Physical:
    """What `rewrite` returns.

    Attributes:
        command: for the cluster; its values are bytes-backed where nothing had to change.
        names: physical -> logical name of every collection it touches, for replies and errors.
        refused: statements that were taken out of a batch (commands of several statements).
        kept: original index of each statement that is left; None when none was taken out.
        caps: names of the limits that were applied.
        plan: the row of PLANS that must carry it out; "" when it is forwarded as it is.
        then: the row that carries it out when that plan has found what it needs; "" for none.
        allowance: documents that the client may read; one more is an error. None: no such count.
        stream: it opens a change stream.
        searches: what must be known before it can be written for good.
    """

    command: Mapping[str, Any]
    names: Mapping[str, str] = field(default_factory=dict)
    refused: tuple[StatementError, ...] = ()
    kept: tuple[int, ...] | None = None
    caps: tuple[str, ...] = ()
    plan: str = ""
    then: str = ""
    allowance: int | None = None
    stream: bool = False
    searches: tuple[Search, ...] = ()
