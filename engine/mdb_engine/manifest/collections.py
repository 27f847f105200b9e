"""`collection_settings` and `data_api`: how collections are made and what REST may do there."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from mdb_engine.manifest.base import Count, Flag, Section


class _AsMongoDB(Section):
    """A section whose keys are spelled as MongoDB spells its options."""

    model_config = ConfigDict(alias_generator=to_camel)


class Validation(_AsMongoDB):
    """`validation`: what documents must look like."""

    validator: dict[str, Any] | None = None
    validation_level: Literal["off", "strict", "moderate"] | None = None
    validation_action: Literal["error", "warn"] | None = None


class Collation(_AsMongoDB):
    """`collation`: the collection's default."""

    locale: str | None = None
    case_level: Flag | None = None
    case_first: str | None = None
    strength: Annotated[int, Field(strict=True, ge=1, le=5)] | None = None
    numeric_ordering: Flag | None = None
    alternate: str | None = None
    max_variable: str | None = None
    normalization: Flag | None = None
    backwards: Flag | None = None


class TimeSeries(_AsMongoDB):
    """`timeseries`."""

    time_field: str
    meta_field: str | None = None
    granularity: Literal["seconds", "minutes", "hours"] | None = None


class CollectionSettings(_AsMongoDB):
    """`collection_settings.<collection>`. `size` in bytes, `max` in documents, times in seconds."""

    validation: Validation | None = None
    collation: Collation | None = None
    capped: Flag = False
    size: Count | None = None
    max: Count | None = None
    timeseries: TimeSeries | None = None
    expire_after_seconds: Count | None = None


class DataApi(Section):
    """`data_api.<collection>`: what the sidecar's REST routes may do. Nothing unless written."""

    read: Flag = False
    write: Flag = False
    subscribe: Flag = False
