"""Create what a manifest asks for, touch nothing that is there, and say what was found. I/O."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure

from mdb_engine.exceptions import RefusedError
from mdb_engine.indexes.kinds import index_models, search_models, warnings
from mdb_engine.manifest.model import Manifest
from mdb_engine.manifest.scopes import scope_of
from mdb_engine.registry.ledger import slugs
from mdb_engine.scope.model import Features, Role, Scope, Where
from mdb_engine.scope.names import resolve
from mdb_engine.scope.search_definitions import VECTOR

Database = AsyncDatabase[dict[str, Any]]

CREATED, EXISTING, CHANGED, EMULATED, UNAVAILABLE, REFUSED, WARNINGS = (
    "created",
    "existing",
    "changed",
    "emulated",
    "unavailable",
    "refused",
    "warnings",
)
OUTCOMES: Final[Mapping[int, str]] = {
    59: UNAVAILABLE,  # CommandNotFound: search commands before 7.0
    68: EXISTING,  # IndexAlreadyExists: search indexes
    85: CHANGED,  # IndexOptionsConflict
    86: CHANGED,  # IndexKeySpecsConflict
    115: UNAVAILABLE,  # CommandNotSupported
    31082: UNAVAILABLE,  # SearchNotEnabled, since 7.0
}
"""What an error of the server means for an index; any other code: it is refused."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the indexes of a manifest. Each text begins `<collection>.<index>`.

    Attributes:
        created: new.
        existing: there already, as written.
        changed: there under this name or with these keys, but otherwise; not touched.
        emulated: this server has no search process, and needs none: `$vectorSearch` finds the
            index in the manifest and reads the documents themselves.
        unavailable: this server has no search process, and the index needs one.
        refused: the server says no; the text ends with its name for the reason.
        warnings: created or existing, and looks like a mistake.
    """

    created: tuple[str, ...] = ()
    existing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    emulated: tuple[str, ...] = ()
    unavailable: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


async def apply_indexes(database: Database, manifest: Manifest, *, replace: bool = False) -> Report:
    """Create the managed indexes of an app that are not there yet, one after the other.

    Collections that do not exist are made by the server with their first index. Running it
    again changes nothing.

    Args:
        database: the physical database.
        manifest: the app; its slug must be in the ledger.
        replace: drop an index that is there under the same name, but otherwise, and make it anew.

    Raises:
        PyMongoError: the cluster does not answer. What the server says about one index is in
            the report instead, so that the others are made.
    """
    scope = await scope_in(database, manifest)
    found: dict[str, list[str]] = {field.name: [] for field in fields(Report)}
    for collection, definitions in manifest.managed_indexes.items():
        for definition in definitions:
            label = f"{collection}.{definition.name}"
            found[WARNINGS] += (f"{label}: {warning}" for warning in warnings(definition))
        physical = physical_name(collection, scope)
        if physical is None:
            found[REFUSED].append(f"{collection}: the name is not the app's")
            continue
        for command, name in _commands(physical, manifest, collection):
            outcome, detail = await _run(database, command)
            if outcome == CHANGED and replace and await _dropped(database, physical, name):
                outcome, detail = await _run(database, command)
            found[outcome].append(f"{collection}.{name}{detail}")
    return Report(**{outcome: tuple(texts) for outcome, texts in found.items()})


async def scope_in(database: Database, manifest: Manifest) -> Scope:
    """The app's scope in a database."""
    return scope_of(
        manifest,
        database=database.name,
        slugs=await slugs(database),
        role=Role.READ_WRITE,
        address="",
        features=Features(),
    )


async def _dropped(database: Database, physical: str, name: str) -> bool:
    """Drop an index by its name; False when none has it (another one has its keys)."""
    try:
        await database.command({"dropIndexes": physical, "index": name})
    except OperationFailure:
        return False
    return True


def physical_name(collection: str, scope: Scope) -> str | None:
    """The physical name; None when a longer slug owns it or it would be too long."""
    home = scope.home[0]
    try:
        return resolve(collection, scope, Where("createIndexes", home), write=True).physical
    except RefusedError:
        return None


def _commands(
    physical: str, manifest: Manifest, collection: str
) -> Iterator[tuple[dict[str, Any], str]]:
    """One command per index: the server refuses a whole command for one conflict in it."""
    definitions = manifest.managed_indexes[collection]
    for spec in index_models(definitions):
        yield {"createIndexes": physical, "indexes": [spec]}, spec["name"]
    for spec in search_models(definitions):
        yield {"createSearchIndexes": physical, "indexes": [spec]}, spec["name"]


async def _run(database: Database, command: dict[str, Any]) -> tuple[str, str]:
    """(outcome, detail) of one command."""
    try:
        reply = await database.command(command)
    except OperationFailure as error:
        outcome = OUTCOMES.get(error.code or 0, REFUSED)
        if outcome == UNAVAILABLE and command["indexes"][0]["type"] == VECTOR:
            return EMULATED, ""
        # The name of the code only: the server's text may quote documents (E11000).
        return outcome, f": {_code_name(error)}" if outcome == REFUSED else ""
    before, after = reply.get("numIndexesBefore"), reply.get("numIndexesAfter")
    return (EXISTING if before is not None and before == after else CREATED), ""


def _code_name(error: OperationFailure) -> str:
    return str((error.details or {}).get("codeName", f"error {error.code}"))
