"""INDEX_TYPES: how each index type of a manifest becomes what the server is asked for. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mdb_engine.indexes.searching import hybrid, text_search, vector_search
from mdb_engine.manifest.indexes import IndexDefinition, IndexOptions
from mdb_engine.scope.model import TAG_FIELD

Spec = dict[str, Any]
"""One item of `indexes` of a createIndexes or createSearchIndexes command."""

MAX_TTL_SECONDS: Final = 31_536_000
"""One year; a longer life is more often a mistake in the unit than a wish."""

NOT_FORWARDED: Final = frozenset({"background", "name"})
"""Options that mean nothing: servers build all indexes alike, the name stands beside `type`."""


@dataclass(frozen=True, slots=True)
class IndexType:
    """One row of `INDEX_TYPES`.

    Attributes:
        build: specifications of one definition; several for a hybrid one.
        search: they are for createSearchIndexes, which needs a search process.
    """

    build: Callable[[IndexDefinition], tuple[Spec, ...]]
    search: bool = False


def _plain(index: IndexDefinition) -> tuple[Spec, ...]:
    keys = dict(index.keys or {})
    key = {TAG_FIELD: 1, **keys} if index.prefix else keys
    return ({"key": key, "name": index.name, **_options(index)},)


def _options(index: IndexDefinition) -> Spec:
    names = sorted(set(IndexOptions.model_fields) - NOT_FORWARDED)
    written = {name: index.option(name) for name in names}
    return {name: value for name, value in written.items() if value is not None}


INDEX_TYPES: Final[Mapping[str, IndexType]] = {
    "compound": IndexType(_plain),
    "geospatial": IndexType(_plain),
    "hashed": IndexType(_plain),
    "hybrid": IndexType(hybrid, search=True),
    "partial": IndexType(_plain),
    "regular": IndexType(_plain),
    "search": IndexType(text_search, search=True),
    "text": IndexType(_plain),
    "ttl": IndexType(_plain),
    "vector": IndexType(vector_search, search=True),
    "vectorSearch": IndexType(vector_search, search=True),
    "wildcard": IndexType(_plain),
}


def index_models(definitions: Iterable[IndexDefinition]) -> list[Spec]:
    """Specifications for createIndexes: `{"key": {...}, "name": str, <options>}`.

    Definitions of search indexes are left out; `search_models` gives those.
    """
    return _built(definitions, search=False)


def search_models(definitions: Iterable[IndexDefinition]) -> list[Spec]:
    """Specifications for createSearchIndexes: `{"name": str, "type": str, "definition": {...}}`."""
    return _built(definitions, search=True)


def _built(definitions: Iterable[IndexDefinition], *, search: bool) -> list[Spec]:
    return [
        spec
        for definition in definitions
        if INDEX_TYPES[definition.type].search is search
        for spec in INDEX_TYPES[definition.type].build(definition)
    ]


def warnings(definition: IndexDefinition) -> list[str]:
    """What is allowed and still looks like a mistake."""
    seconds = definition.option("expireAfterSeconds")
    if seconds is not None and seconds > MAX_TTL_SECONDS:
        return [f"documents live {seconds} seconds, more than a year"]
    return []
