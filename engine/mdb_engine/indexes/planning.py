"""What applying a manifest's indexes would do: the same report, and nothing is changed. I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, Final

from pymongo.errors import OperationFailure

from mdb_engine.indexes.apply import (
    CHANGED,
    CREATED,
    EMULATED,
    EXISTING,
    REFUSED,
    UNAVAILABLE,
    WARNINGS,
    Database,
    Report,
    physical_name,
    scope_in,
)
from mdb_engine.indexes.kinds import index_models, search_models, warnings
from mdb_engine.manifest.indexes import IndexDefinition
from mdb_engine.manifest.model import Manifest
from mdb_engine.scope.search_definitions import VECTOR

NO_COLLECTION: Final = 26
Spec = Mapping[str, Any]


async def plan_indexes(database: Database, manifest: Manifest) -> Report:
    """Compare a manifest's indexes with those that are there.

    `created` are those that would be; `changed` say in what they differ.

    Raises:
        PyMongoError: the cluster does not answer.
    """
    scope = await scope_in(database, manifest)
    found: dict[str, list[str]] = {field.name: [] for field in fields(Report)}
    for collection, definitions in manifest.managed_indexes.items():
        physical = physical_name(collection, scope)
        if physical is None:
            found[REFUSED].append(f"{collection}: the name is not the app's")
            continue
        there = await _there(database, physical)
        searching = await _searching(database, physical)
        for outcome, text in _compared(definitions, there, searching):
            found[outcome].append(f"{collection}.{text}")
    return Report(**{outcome: tuple(texts) for outcome, texts in found.items()})


def _compared(
    definitions: tuple[IndexDefinition, ...],
    there: Mapping[str, Spec],
    searching: frozenset[str] | None,
) -> Iterator[tuple[str, str]]:
    for definition in definitions:
        for warning in warnings(definition):
            yield WARNINGS, f"{definition.name}: {warning}"
    for spec in index_models(definitions):
        yield _plain(spec, there)
    for spec in search_models(definitions):
        yield _search(spec, searching)


def _plain(spec: Spec, there: Mapping[str, Spec]) -> tuple[str, str]:
    name = spec["name"]
    if name not in there:
        twin = _twin(spec, there)
        return (CREATED, name) if twin is None else (CHANGED, f"{name}: {twin} has its keys")
    other = differences(spec, there[name])
    return (CHANGED, f"{name}: {', '.join(other)}") if other else (EXISTING, name)


def _search(spec: Spec, searching: frozenset[str] | None) -> tuple[str, str]:
    if searching is None:
        return (EMULATED if spec["type"] == VECTOR else UNAVAILABLE), spec["name"]
    return (EXISTING if spec["name"] in searching else CREATED), spec["name"]


def _twin(spec: Spec, there: Mapping[str, Spec]) -> str | None:
    """Another index with these very keys."""
    keys = list(spec["key"].items())
    return next((name for name, each in there.items() if list(each["key"].items()) == keys), None)


def differences(spec: Spec, there: Spec) -> list[str]:
    """In what an index that is there differs from what is asked for.

    The server writes more options than it is asked for, so only those are looked at. A text
    index is stored under other keys, its fields among its weights.

    >>> differences({"name": "a", "key": {"a": 1}}, {"name": "a", "key": {"a": -1}, "v": 2})
    ['key']
    """
    texts = {name for name, kind in spec["key"].items() if kind == "text"}
    if texts:
        same = texts == set(there.get("weights", {}))
    else:
        same = list(spec["key"].items()) == list(there["key"].items())
    options = [name for name in spec if name not in ("key", "name")]
    changed = [name for name in options if not _same(spec[name], there.get(name))]
    return [*([] if same else ["key"]), *changed]


def _same(value: Any, there: Any) -> bool:
    if isinstance(value, Mapping) and isinstance(there, Mapping):
        return all(there.get(name) == item for name, item in value.items())
    # An option that is off is not written down.
    return bool(value == there) or (value is False and there is None)


async def _there(database: Database, physical: str) -> dict[str, Spec]:
    try:
        listed = await database[physical].list_indexes()
        return {index["name"]: index async for index in listed}
    except OperationFailure as error:
        if error.code != NO_COLLECTION:
            raise
        return {}


async def _searching(database: Database, physical: str) -> frozenset[str] | None:
    """Names of search indexes; None where there is no search process."""
    try:
        found = await database[physical].aggregate([{"$listSearchIndexes": {}}])
        return frozenset([index["name"] async for index in found])
    except OperationFailure:
        return None
