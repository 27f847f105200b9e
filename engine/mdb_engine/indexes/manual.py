"""Indexes of one collection, from definitions as a manifest spells them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from pydantic import ValidationError
from pymongo.errors import OperationFailure
from pymongo.operations import IndexModel

from mdb_engine.database import ScopedCollection, ScopedDatabase
from mdb_engine.exceptions import ManifestValidationError, RefusedError
from mdb_engine.indexes.apply import OUTCOMES, REFUSED, UNAVAILABLE, WARNINGS, Report
from mdb_engine.indexes.kinds import index_models, search_models, warnings
from mdb_engine.manifest.indexes import IndexDefinition

ALREADY_THERE: Final = 68
"""IndexAlreadyExists: a search index of this name."""


async def run_index_creation_for_collection(
    collection: ScopedCollection | None = None,
    indexes: Sequence[Mapping[str, Any]] | None = None,
    app_slug: str = "",
    *,
    db: ScopedDatabase | None = None,
    slug: str = "",
    collection_name: str = "",
    index_definitions: Sequence[Mapping[str, Any]] | None = None,
) -> Report:
    """Create the indexes of a collection that are not there yet; says what became of each.

    Two ways to call it: `(collection=db.tasks, indexes=[...], app_slug="my_app")`, or
    `(db=db, slug="my_app", collection_name="tasks", index_definitions=[...])`.

    Raises:
        ManifestValidationError: a definition breaks a rule.
        TypeError: neither a collection nor a database and a name.
    """
    del app_slug, slug  # the handle knows whose it is
    if collection is None and db is not None and collection_name:
        collection = db[collection_name]
    if collection is None:
        msg = "a collection is needed, or a database and a collection's name"
        raise TypeError(msg)
    given = indexes if indexes is not None else index_definitions or ()
    definitions = [_definition(each, place) for place, each in enumerate(given)]
    found: dict[str, list[str]] = {field.name: [] for field in fields(Report)}
    for definition in definitions:
        found[WARNINGS] += (f"{definition.name}: {text}" for text in warnings(definition))
    await _create(collection, definitions, found)
    return Report(**{outcome: tuple(texts) for outcome, texts in found.items()})


def _definition(given: Mapping[str, Any], place: int) -> IndexDefinition:
    try:
        return IndexDefinition.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ManifestValidationError(first["msg"], f"indexes.{place}") from None


async def _create(
    collection: ScopedCollection, definitions: Sequence[IndexDefinition], found: dict[str, Any]
) -> None:
    before = await collection.index_information()
    for spec in index_models(definitions):
        name, outcome = spec["name"], "existing" if spec["name"] in before else "created"
        options = {key: value for key, value in spec.items() if key != "key"}
        try:
            await collection.create_indexes([IndexModel(list(spec["key"].items()), **options)])
        except OperationFailure as error:
            outcome = OUTCOMES.get(error.code or 0, REFUSED)
        found[outcome].append(name)
    for spec in search_models(definitions):
        try:
            await collection.index_manager.create_search_index(
                spec["name"], spec["definition"], spec["type"]
            )
        except (RefusedError, OperationFailure) as error:
            there = getattr(error, "code", 0) == ALREADY_THERE
            found["existing" if there else UNAVAILABLE].append(spec["name"])
        else:
            found["created"].append(spec["name"])
