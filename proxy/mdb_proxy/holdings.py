"""What each app has stored, as it was seen last; and what it may not add to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mdb_engine.exceptions import (
    DatabaseDifferCaseError,
    OperationFailedError,
    OutOfDiskSpaceError,
)
from mdb_engine.scope.model import Scope
from mdb_engine.scope.names import unphysical


@dataclass(frozen=True, slots=True)
class Holdings:
    """A look at the physical database; some seconds old.

    Attributes:
        collections: by slug, the physical names that it owns. full: slugs over their storage.
    """

    collections: Mapping[str, frozenset[str]] = field(default_factory=dict)
    full: frozenset[str] = frozenset()


Physical = Mapping[str, Any]


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


CREATING: Final[Mapping[str, Callable[[Physical], str | None]]] = {
    "aggregate": _written,
    "cloneCollectionAsCapped": _always("toCollection"),
    "create": _always("create"),
    "createIndexes": _always("createIndexes"),
    "findAndModify": _upsert,
    "insert": _always("insert"),
    "renameCollection": _renamed,
    "update": _upserts,
}
"""The physical collection that a command may bring into being; None: none."""

GROWING: Final = frozenset({
    "cloneCollectionAsCapped", "create", "createIndexes", "insert", "update",
})  # fmt: skip


def _grows(name: str, physical: Physical) -> bool:
    if name == "findAndModify":
        return "update" in physical
    return name in GROWING or (name == "aggregate" and _written(physical) is not None)


def check_room(holdings: Holdings, scope: Scope, name: str, physical: Physical) -> None:
    """Refuse what would exceed what an app may store; reads and deletes go on.

    Raises:
        OutOfDiskSpaceError: the storage quota is used up. OperationFailedError: one collection
        too many. DatabaseDifferCaseError: a new database like an old one in another case.
    """
    if scope.slug in holdings.full and _grows(name, physical):
        msg = "storage quota of the app exceeded"
        raise OutOfDiskSpaceError(msg)
    target = CREATING[name](physical) if name in CREATING else None
    known = holdings.collections.get(scope.slug, frozenset())
    if target is None or target in known:
        return
    if len(known) >= scope.limits.max_collections:
        msg = f"the app may have at most {scope.limits.max_collections} collections"
        raise OperationFailedError(msg)
    _check_case(known, scope, target)


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
