"""What each app has stored: as it was seen last, and what came and went since. What it may add."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mdb_engine.exceptions import (
    DatabaseDifferCaseError,
    OperationFailedError,
    OutOfDiskSpaceError,
    OverloadedError,
)
from mdb_engine.scope.model import Scope
from mdb_engine.scope.names import unphysical

Physical = Mapping[str, Any]

TRY_AGAIN: Final = "too many requests, try again"
"""What an app is told that must wait: drivers back off and retry (462)."""

SURE_SECONDS: Final = 4.0
"""How old what is known of the ledger may be where something new is made; a slug waits five."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """A look at the physical database, some seconds old, and what this process did since.

    Attributes:
        collections: by slug, the physical names that it owns. full: slugs over their storage.
        since: by slug, what was made (True) or dropped (False) after the look.
    """

    collections: Mapping[str, frozenset[str]] = field(default_factory=dict)
    full: frozenset[str] = frozenset()
    since: dict[str, dict[str, bool]] = field(default_factory=dict, compare=False)

    def has(self, slug: str, name: str) -> bool:
        """Whether an app has a collection, as far as this process knows."""
        found = self.since.get(slug, {}).get(name)
        return name in self.collections.get(slug, frozenset()) if found is None else found

    def of(self, slug: str) -> frozenset[str]:
        """All names of an app."""
        since = self.since.get(slug, {})
        gone = {name for name, there in since.items() if not there}
        return (self.collections.get(slug, frozenset()) - gone) | (since.keys() - gone)

    def note(self, slug: str, name: str, *, there: bool) -> None:
        """Remember that a collection was made or dropped."""
        self.since.setdefault(slug, {})[name] = there

    def done(self, slug: str, command: Physical) -> None:
        """Notice what a command that succeeded took away."""
        name = next(iter(command))
        if name in _ENDING:
            self.note(slug, _ENDING[name](command), there=False)


def _always(name: str) -> Callable[[Physical], str | None]:
    return lambda physical: str(physical[name])


def _upserts(physical: Physical) -> str | None:
    some = any(statement.get("upsert") for statement in physical["updates"])
    return str(physical["update"]) if some else None


def _upsert(physical: Physical) -> str | None:
    return str(physical["findAndModify"]) if physical.get("upsert") else None


def _written(physical: Physical) -> str | None:
    """The target of a last stage that writes."""
    last = physical["pipeline"][-1] if physical["pipeline"] else {}
    target = last.get("$out") or last.get("$merge", {}).get("into")
    return str(target["coll"]) if target else None


def _renamed(physical: Physical) -> str | None:
    return str(physical["to"]).partition(".")[2]


def _bulk(physical: Physical) -> frozenset[str]:
    """The targets of statements that insert, or may."""
    places = {
        int(op.get("insert", op.get("update")))
        for op in physical["ops"]
        if "insert" in op or op.get("upsert")
    }
    return frozenset(str(physical["nsInfo"][i]["ns"]).partition(".")[2] for i in places)


CREATING: Final[Mapping[str, Callable[[Physical], str | frozenset[str] | None]]] = {
    "aggregate": _written,
    "bulkWrite": _bulk,
    "cloneCollectionAsCapped": _always("toCollection"),
    "create": _always("create"),
    "createIndexes": _always("createIndexes"),
    "findAndModify": _upsert,
    "insert": _always("insert"),
    "renameCollection": _renamed,
    "update": _upserts,
}
"""The physical collection that a command may bring into being, or several; None: none."""

_ENDING: Final[Mapping[str, Callable[[Physical], str]]] = {
    "drop": lambda physical: str(physical["drop"]),
    "renameCollection": lambda physical: str(physical["renameCollection"]).partition(".")[2],
}
"""The physical collection that is no more when a command has succeeded."""

GROWING: Final = frozenset({
    "cloneCollectionAsCapped", "create", "createIndexes", "insert", "update",
})  # fmt: skip


def _grows(name: str, physical: Physical) -> bool:
    if name == "findAndModify":
        return "update" in physical
    if name == "bulkWrite":
        return any("delete" not in op for op in physical["ops"])
    return name in GROWING or (name == "aggregate" and _written(physical) is not None)


def check_room(
    holdings: Holdings, scope: Scope, name: str, physical: Physical, *, sure: bool = True
) -> None:
    """Refuse what would exceed what an app may store; reads and deletes go on.

    Without being `sure` of who owns which names nothing new is made.

    Raises:
        OverloadedError: it would make something new, and the ledger was not read for a while.
        OutOfDiskSpaceError: the storage quota is used up. OperationFailedError: one collection
        too many. DatabaseDifferCaseError: a new database like an old one in another case.
    """
    if scope.slug in holdings.full and _grows(name, physical):
        msg = "storage quota of the app exceeded"
        raise OutOfDiskSpaceError(msg)
    targets = {t for t in _targets(name, physical) if not holdings.has(scope.slug, t)}
    if not targets:
        return
    if not sure:
        raise OverloadedError(TRY_AGAIN)
    known = holdings.of(scope.slug)
    if len(known) + len(targets) > scope.limits.max_collections:
        msg = f"the app may have at most {scope.limits.max_collections} collections"
        raise OperationFailedError(msg)
    for target in sorted(targets):
        _check_case(known, scope, target)
        holdings.note(scope.slug, target, there=True)


def _targets(name: str, physical: Physical) -> frozenset[str]:
    found = CREATING[name](physical) if name in CREATING else None
    if found is None or isinstance(found, frozenset):
        return found or frozenset()
    return frozenset({found})


def _check_case(known: frozenset[str], scope: Scope, target: str) -> None:
    wanted = (unphysical(target, scope) or ("",))[0]
    for name in known:
        have = (unphysical(name, scope) or ("",))[0]
        if have != wanted and have.lower() == wanted.lower():
            msg = (
                f"db already exists with different case already have: [{have}]"
                f" trying to create [{wanted}]"
            )
            raise DatabaseDifferCaseError(msg, "$db")
