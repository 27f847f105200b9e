"""Slug + collection <-> physical name. The only module that knows the prefix."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bson.int64 import Int64

from mdb_engine.exceptions import (
    DatabaseDifferCaseError,
    InvalidNamespaceError,
    QueryValidationError,
    UnauthorizedError,
)
from mdb_engine.rawbson import Raw, render
from mdb_engine.scope.model import Scope, Where

MAX_NAMESPACE_BYTES: Final = 255
MAX_DATABASE_BYTES: Final = 63
ADMIN: Final = "admin"
ENGINE_PREFIX: Final = "_mdb_engine_"
APPS: Final = "apps_config"
RESERVED_SLUGS: Final = frozenset(
    {"admin", "apps", "config", "local", "mdb", "mdb_engine", "system"}
)
RESERVED_DATABASES: Final = frozenset({"admin", "config", "local", "$external"})

_DOUBLED = re.compile(r"(.)(?=\1)(dzs|cs|dz|gi|li|ni|sz|ti|zs)")
"""How Hungarian writes some letters of two or three characters twice: `ccs` is `cscs`."""

TEMPORARY: Final = "@@out."
"""What temporary collections bear behind `<slug>_`; `@@out` is no legal logical database."""

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_COLLECTION = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_RESERVED_COLLECTION = re.compile(
    r"(?:system|admin\.|config\.|local\.|enxcol_\.|_mdb_engine|apps_config\Z)", re.IGNORECASE
)
_BAD_IN_DATABASE = re.compile(r"[/\\. \"$*<>:|?\0]")
_PLAIN_BYTES: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_ENCODED = re.compile(rb"%([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class Target:
    """A collection that a command may touch."""

    physical: str
    logical: str
    db: str
    slug: str


def check_slug(slug: str) -> None:
    """Refuse what cannot be a slug.

    Raises:
        InvalidNamespaceError: malformed or reserved.
    """
    if _SLUG.fullmatch(slug) is None:
        msg = f"'{slug}' is not a slug: lower-case letters, digits, '_' and '-', at most 63"
        raise InvalidNamespaceError(msg, "slug")
    prefix = f"{slug}_"
    if slug in RESERVED_SLUGS or APPS.startswith(prefix) or ENGINE_PREFIX.startswith(prefix):
        msg = f"the slug '{slug}' is reserved"
        raise InvalidNamespaceError(msg, "slug")


def fold(slug: str) -> str:
    """What is left of a slug when some locale's collation equates what it can.

    Two slugs with one fold could read each other's documents under a client's collation
    (measured on 6.0.5 over some 90 locales), so the ledger holds each fold once.

    >>> fold("shop-01") == fold("shop_1")
    True
    """
    bare = slug.replace("_", "").replace("-", "").replace("y", "i").replace("w", "v")
    longer = _DOUBLED.sub(r"\2\2", bare)
    while longer != bare:
        bare, longer = longer, _DOUBLED.sub(r"\2\2", longer)
    return re.sub(r"(?<!\d)0+(?=\d)", "", bare)


def owner(physical: str, slugs: Container[str]) -> str | None:
    """The slug that a physical collection belongs to: the longest one that fits.

    The work depends on the name, not on the number of slugs, when these are a set.
    """
    end = physical.rfind("_", 0, len(physical) - 1)
    while end > 0:
        if physical[:end] in slugs:
            return physical[:end]
        end = physical.rfind("_", 0, end)
    return None


def encode_database(name: str) -> str:
    """A logical database name as it stands in physical names: ASCII, `%hh` for the rest."""
    return "".join(chr(b) if b in _PLAIN_BYTES else f"%{b:02x}" for b in name.encode())


def decode_database(encoded: str) -> str | None:
    """The logical name again; None for a spelling that `encode_database` does not produce."""
    try:
        plain = _ENCODED.sub(lambda m: bytes([int(m[1], 16)]), encoded.encode()).decode()
    except UnicodeError:
        return None
    return plain if encode_database(plain) == encoded else None


def check_database(name: Any, scope: Scope | None = None, command: str = "") -> str:
    """Refuse what cannot be a logical database with data in it; gives the name back.

    Raises:
        InvalidNamespaceError: not a legal name. UnauthorizedError: reserved, or not the home of
        a pinned app. DatabaseDifferCaseError: a home name in another case.
    """
    if not isinstance(name, str):
        msg = f"Invalid database name: '{render(name)}'"
        raise InvalidNamespaceError(msg, "$db")
    if name.lower() in RESERVED_DATABASES:
        raise UnauthorizedError(not_authorized(name, command), "$db")
    if not _legal_database(name):
        msg = f"Invalid database name: '{printable(name)}'"
        raise InvalidNamespaceError(msg, "$db")
    if scope is not None and name not in scope.home:
        _check_foreign_database(name, scope, command)
    return name


def _legal_database(name: str) -> bool:
    if any("\ud800" <= char <= "\udfff" for char in name):
        return False  # bytes that are not UTF-8
    return 0 < len(name.encode()) <= MAX_DATABASE_BYTES and not _BAD_IN_DATABASE.search(name)


def _check_foreign_database(name: str, scope: Scope, command: str) -> None:
    if scope.pinned:
        raise UnauthorizedError(not_authorized(name, command), "$db")
    for home in scope.home:
        if home.lower() == name.lower():
            msg = (
                f"db already exists with different case already have: [{home}]"
                f" trying to create [{name}]"
            )
            raise DatabaseDifferCaseError(msg, "$db")


def not_authorized(db: str, command: str) -> str:
    """The server's own words for what a user may not do."""
    return f"not authorized on {db} to execute command {{ {command} }}"


def valid_collection(name: str) -> bool:
    """Whether a name may be a logical collection: grammar, and not a reserved one."""
    return (
        _COLLECTION.fullmatch(name) is not None
        and ".." not in name
        and not name.endswith(".")
        and _RESERVED_COLLECTION.match(name) is None
    )


def prefix(scope: Scope, db: str) -> str:
    """What physical names in a logical database begin with."""
    return f"{scope.slug}_" if db in scope.home else f"{scope.slug}_@{encode_database(db)}."


def resolve(name: Any, scope: Scope, where: Where, *, write: bool) -> Target:
    """The collection that a logical name means.

    Raises:
        QueryValidationError: not a string (a UUID would read any collection).
        InvalidNamespaceError: malformed, reserved, or another app's by the longest-slug rule.
        UnauthorizedError: a write to a read scope.
    """
    if not isinstance(name, str):
        by_hand = where.command in _BY_HAND and len(where.path) == 1 and not isinstance(name, Raw)
        kind = InvalidNamespaceError if by_hand else QueryValidationError
        raise kind(_wrong_type(name), str(where))
    granted = _granted(name, scope)
    if granted is not None:
        if write:
            raise UnauthorizedError(
                not_authorized(where.db, f"{where.command}: {name}"), str(where)
            )
        return Target(name, name, where.db, granted)
    physical = prefix(scope, where.db) + name
    full = f"{scope.database}.{physical}".encode("utf-8", "surrogateescape")
    if (
        not valid_collection(name)
        or len(full) > MAX_NAMESPACE_BYTES
        or owner(physical, scope.slugs) != scope.slug
    ):
        raise InvalidNamespaceError(_illegal(printable(name), where), str(where))
    return Target(physical, name, where.db, scope.slug)


_BY_HAND: Final = frozenset({"collStats", "convertToCapped", "count", "distinct", "validate"})
"""Commands whose name the server reads by hand: another code for one of a wrong type (6.0.5)."""

_CREATING: Final = frozenset(
    {"create", "createIndexes", "delete", "findAndModify", "insert", "update"}
)


def _illegal(name: str, where: Where) -> str:
    """The server's words for a name that is none (6.0.5, a forgotten quote included)."""
    if not name:
        return f"Invalid namespace specified '{where.db}.'"
    if name.startswith("."):
        return f"Collection names cannot start with '.': {name}"
    if "$" in name and where.command in _CREATING:
        return f"Invalid collection name: {name}"
    return f"Invalid collection name specified '{where.db}.{name}" + "'" * ("$" not in name)


def _granted(name: str, scope: Scope) -> str | None:
    for slug in sorted(scope.readable, key=len, reverse=True):
        rest = name[len(slug) + 1 :]
        if (
            name.startswith(f"{slug}_")
            and owner(name, scope.slugs) == slug
            and valid_collection(rest)
        ):
            return slug
    return None


def _wrong_type(name: Any) -> str:
    binary = isinstance(name, Raw) and name.kind == 5  # noqa: PLR2004 - BSON type of binary data
    return f"collection name has invalid type {'binData' if binary else type_name(name)}"


def type_name(value: Any) -> str:
    """MongoDB's name of a value's type, for error texts."""
    if isinstance(value, Raw):
        return value.type_name
    for kind, name in ((bool, "bool"), (str, "string"), (float, "double"), (Int64, "long"),
                       (int, "int"), (type(None), "null"), (Mapping, "object")):  # fmt: skip
        if isinstance(value, kind):
            return name
    return "array"


def temporary(scope: Scope, token: str) -> str:
    """A physical name that no client can spell or see, for a plan that needs one for a while."""
    return f"{scope.slug}_{TEMPORARY}{token}"


def printable(text: str) -> str:
    """A client's name, fit for an error text."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def unphysical(physical: str, scope: Scope) -> tuple[str, str] | None:
    """(logical database, collection) of a physical name; None when the app cannot spell it."""
    if _granted(physical, scope) is not None:
        return scope.home[0], physical
    if owner(physical, scope.slugs) != scope.slug:
        return None
    rest = physical[len(scope.slug) + 1 :]
    db = scope.home[0]
    if rest.startswith("@"):
        encoded, _, rest = rest[1:].partition(".")
        db = decode_database(encoded) or ""
        if db in scope.home or db.lower() in RESERVED_DATABASES or not _legal_database(db):
            return None
    return (db, rest) if valid_collection(rest) else None


def longer_slugs(slug: str, readable: Collection[str], ledger: Iterable[str]) -> tuple[str, ...]:
    """The ledger's slugs that could own a name that this app can spell."""
    stems = tuple(f"{s}_" for s in (slug, *readable))
    return tuple(sorted(s for s in ledger if s.startswith(stems) and s not in readable))
