"""`managed_indexes`: what an app's index definitions look like, and what each type must have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, Strict, model_validator
from pydantic_core import PydanticCustomError

from mdb_engine.manifest.base import Count, Flag, Section, broken_rule

IndexName = Annotated[str, Field(min_length=1, pattern=r"^[a-zA-Z0-9_]+$")]
Direction = Literal[1, -1, "text", "2dsphere", "2d", "geoHaystack", "hashed"]
GEOSPATIAL: Final = frozenset({"2dsphere", "2d", "geoHaystack"})
Int32 = Annotated[int, Strict(), Field(ge=1, le=2_147_483_647)]


def _pairs(value: Any) -> Any:
    """Keys as a list of pairs, as in PyMongo, become an object in the same order."""
    keys = _from_pairs(value) if isinstance(value, list | tuple) else value
    # Python takes true for 1; the server would build another index than was meant.
    if isinstance(keys, Mapping) and any(isinstance(kind, bool) for kind in keys.values()):
        raise broken_rule("a direction is 1, -1 or the name of an index kind")
    return keys


def _from_pairs(pairs: list[Any] | tuple[Any, ...]) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:  # noqa: PLR2004 - a pair
            raise broken_rule("keys are an object, or a list of [field, direction] pairs")
        if not isinstance(pair[0], str) or pair[0] in keys:
            raise broken_rule("each field of an index is a text and stands once")
        keys[pair[0]] = pair[1]
    return keys


Keys = Annotated[
    dict[str, Direction],
    Field(min_length=1),
    BeforeValidator(
        _pairs, json_schema_input_type=dict[str, Direction] | list[tuple[str, Direction]]
    ),
]


class IndexOptions(Section):
    """Options of an index, MongoDB's names. `background` is accepted and unused."""

    unique: Flag | None = None
    sparse: Flag | None = None
    hidden: Flag | None = None
    background: Flag | None = None
    name: str | None = None
    partialFilterExpression: dict[str, Any] | None = None  # noqa: N815 - MongoDB's own name
    expireAfterSeconds: Int32 | None = None  # noqa: N815 - MongoDB's own name
    weights: dict[str, Count] | None = None
    default_language: str | None = None
    language_override: str | None = None
    collation: dict[str, Any] | None = None
    wildcardProjection: dict[str, Any] | None = None  # noqa: N815 - MongoDB's own name
    bits: Annotated[int, Strict(), Field(ge=1, le=32)] | None = None
    min: Annotated[float, Strict()] | None = None
    max: Annotated[float, Strict()] | None = None


class HybridPart(Section):
    """One of the two search indexes of a hybrid one."""

    name: IndexName | None = None
    definition: dict[str, Any]


class Hybrid(Section):
    """`hybrid`: a vector index and a text one that are asked together."""

    vector_index: HybridPart
    text_index: HybridPart


class IndexDefinition(IndexOptions):
    """One index of a collection. Options stand under `options` or beside `type`."""

    name: IndexName
    type: Literal[
        "regular",
        "compound",
        "geospatial",
        "hashed",
        "hybrid",
        "partial",
        "search",
        "text",
        "ttl",
        "vector",
        "vectorSearch",
        "wildcard",
    ]
    keys: Keys | None = None
    options: IndexOptions = IndexOptions()
    definition: dict[str, Any] | None = None
    hybrid: Hybrid | None = None
    prefix: Flag = False

    def option(self, name: str) -> Any:
        """An option, wherever it is written; None when it is not."""
        beside = getattr(self, name)
        return getattr(self.options, name) if beside is None else beside

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for name in IndexOptions.model_fields:
            self._spelled_once(name)
        for check in REQUIREMENTS[self.type].checks:
            check(self)
        if self.prefix and not self._may_have_prefix():
            raise broken_rule("this index cannot begin with the app's tag", "prefix")
        return self

    def _spelled_once(self, name: str) -> None:
        beside, below = getattr(self, name), getattr(self.options, name)
        if None not in (beside, below) and beside != below:
            raise broken_rule(f"{name} and options.{name} differ", name)

    def _may_have_prefix(self) -> bool:
        """The server allows it in front of plain fields, 2dsphere and text beside plain fields."""
        if not REQUIREMENTS[self.type].prefix or self.option("sparse"):
            return False
        kinds = set((self.keys or {}).values())
        return not kinds & {"2d", "geoHaystack", "hashed"} and kinds != {"text"}


Check = Callable[[IndexDefinition], None]


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a definition of one type must have, and whether the app's tag may stand in front."""

    checks: tuple[Check, ...] = field(default=())
    prefix: bool = False


def _needs_keys(index: IndexDefinition) -> None:
    if index.keys is None:
        raise _missing(index, "keys")


def _needs_definition(index: IndexDefinition) -> None:
    if index.definition is None:
        raise _missing(index, "definition")


def _needs_hybrid(index: IndexDefinition) -> None:
    if index.hybrid is None:
        raise _missing(index, "hybrid")


def _needs_filter(index: IndexDefinition) -> None:
    if index.option("partialFilterExpression") is None:
        raise _missing(index, "partialFilterExpression")


def _needs_one_field_and_time(index: IndexDefinition) -> None:
    if len(index.keys or {}) != 1:
        raise broken_rule("a ttl index has exactly one field", "keys")
    if index.option("expireAfterSeconds") is None:
        raise _missing(index, "expireAfterSeconds")


def _needs_kind(kinds: frozenset[str]) -> Check:
    def check(index: IndexDefinition) -> None:
        if not kinds & {str(kind) for kind in (index.keys or {}).values()}:
            wanted = " or ".join(sorted(kinds))
            raise broken_rule(f"a {index.type} index has a field with the value {wanted}", "keys")

    return check


def _needs_wildcard(index: IndexDefinition) -> None:
    if not any(key == "$**" or key.endswith(".$**") for key in index.keys or {}):
        raise broken_rule("a wildcard index has a field $** or <path>.$**", "keys")


def _missing(index: IndexDefinition, part: str) -> PydanticCustomError:
    return broken_rule(f"an index of type {index.type} needs {part}", part)


REQUIREMENTS: Final[Mapping[str, Requirement]] = {
    "compound": Requirement((_needs_keys,), prefix=True),
    "geospatial": Requirement((_needs_keys, _needs_kind(GEOSPATIAL)), prefix=True),
    "hashed": Requirement((_needs_keys, _needs_kind(frozenset({"hashed"})))),
    "hybrid": Requirement((_needs_hybrid,)),
    "partial": Requirement((_needs_keys, _needs_filter), prefix=True),
    "regular": Requirement((_needs_keys,), prefix=True),
    "search": Requirement((_needs_definition,)),
    "text": Requirement((_needs_keys, _needs_kind(frozenset({"text"}))), prefix=True),
    "ttl": Requirement((_needs_keys, _needs_one_field_and_time)),
    "vector": Requirement((_needs_definition,)),
    "vectorSearch": Requirement((_needs_definition,)),
    "wildcard": Requirement((_needs_keys, _needs_wildcard)),
}
