"""`collection_settings`: collections are made as the manifest says; what is there is compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import structlog
from pymongo.errors import OperationFailure

from mdb_engine.database.handle import ScopedDatabase
from mdb_engine.exceptions import MongoDBEngineError
from mdb_engine.manifest.collections import CollectionSettings
from mdb_engine.manifest.model import Manifest

CHANGEABLE: Final = frozenset(
    {"expireAfterSeconds", "validationAction", "validationLevel", "validator"}
)
"""Options that a collection may get later; the others are its own for ever."""

DEFAULTS: Final[Mapping[str, Any]] = {
    "capped": False,
    "validationAction": "error",
    "validationLevel": "strict",
}
"""What the server does not write down (6.0.5)."""

CAPPED_UNIT: Final = 256
"""Sizes of capped collections are multiples of so many bytes (6.0.5)."""

log = structlog.get_logger("mdb_engine.settings")


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the settings of a manifest.

    Attributes:
        created: made as written. existing: there, as written.
        changed: there, and its rules for documents are now as written.
        different: there, and otherwise in what cannot be changed: `<collection>: <options>`.
        refused: the server or a rule says no: `<collection>: <error>`.
    """

    created: tuple[str, ...] = ()
    existing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    different: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


async def settle(app: Manifest, db: ScopedDatabase) -> Settled:
    """Make the collections that are not there yet, and compare those that are.

    Running it again changes nothing. One collection that is refused does not keep the others.

    Args:
        app: the manifest.
        db: the app's own database.
    """
    found: dict[str, list[str]] = {field.name: [] for field in fields(Settled)}
    for name, settings in app.collection_settings.items():
        try:
            outcome, detail = await _settle(db, name, wanted(settings))
        except (MongoDBEngineError, OperationFailure) as error:
            outcome, detail = "refused", f": {type(error).__name__}"
        found[outcome].append(f"{name}{detail}")
    report = Settled(**{outcome: tuple(names) for outcome, names in found.items()})
    if app.collection_settings:
        log.info("collections.settled", slug=app.slug, report=report)
    return report


def wanted(settings: CollectionSettings) -> dict[str, Any]:
    """Settings as options of `create`; what is not written is left out.

    >>> wanted(CollectionSettings.model_validate({"capped": True, "size": 4096}))
    {'capped': True, 'size': 4096}
    """
    given: dict[str, Any] = settings.model_dump(
        by_alias=True, exclude_unset=True, exclude_none=True
    )
    return {**given.pop("validation", {}), **given}


async def _settle(db: ScopedDatabase, name: str, options: dict[str, Any]) -> tuple[str, str]:
    listed = await db.list_collections(filter={"name": name}).to_list()
    if not listed:
        await db.create_collection(name, check_exists=False, **options)
        return "created", ""
    other = differing(options, {**DEFAULTS, **listed[0].get("options", {})})
    change = {option: options[option] for option in other if option in CHANGEABLE}
    if change:
        await db.command({"collMod": name, **change})
    lasting = [option for option in other if option not in CHANGEABLE]
    if lasting:
        return "different", f": {', '.join(lasting)}"
    return ("changed" if change else "existing"), ""


def differing(options: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Options that are otherwise; the server adds defaults of its own to documents of options."""
    return [name for name, value in options.items() if not _same(name, value, there.get(name))]


def _same(name: str, value: Any, there: Any) -> bool:
    if name == "size":
        return bool(there == -(-value // CAPPED_UNIT) * CAPPED_UNIT)
    if name == "validator" or not isinstance(value, Mapping):
        return bool(value == there)
    return isinstance(there, Mapping) and all(there.get(n) == v for n, v in value.items())
