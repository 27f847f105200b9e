"""`limits`: how much an app may ask. A manifest may lower what protects others, never raise it."""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Annotated, Final, Literal

from pydantic import Field, Strict

from mdb_engine.manifest.base import Count, Flag, Section
from mdb_engine.scope.model import Limits

DEFAULTS: Final = Limits()
OPERATOR_ONLY: Final = ("max_batch", "max_results", "max_time_ms")
"""Limits that only the operator may raise: the neighbours pay for them."""

Milliseconds = Annotated[int, Strict(), Field(ge=1, le=2_147_483_647)]


class LimitsSection(Section):
    """`limits`. A key that is not written keeps the default of the kernel.

    Upper bounds are the server's own: 16 MiB per document, 100 levels, 1,000 stages, 32,764
    characters of a pattern, 64 indexes.
    """

    max_time_ms: Milliseconds | None = None
    default_time_ms: Milliseconds | None = None
    max_results: Count | None = None
    max_batch: Count | None = None
    result_overflow: Literal["truncate", "error"] = "truncate"
    max_depth: Annotated[int, Strict(), Field(ge=1, le=100)] | None = None
    max_stages: Annotated[int, Strict(), Field(ge=1, le=1_000)] | None = None
    max_regex_length: Annotated[int, Strict(), Field(ge=1, le=32_764)] | None = None
    max_regex_complexity: Count | None = None
    max_document_bytes: Annotated[int, Strict(), Field(ge=1, le=16_777_216)] | None = None
    max_connections: Count | None = None
    max_in_flight: Count | None = None
    max_cursors: Count | None = None
    max_change_streams: Count | None = None
    max_collections: Count | None = None
    max_indexes: Annotated[int, Strict(), Field(ge=1, le=64)] | None = None
    max_transactions: Count | None = None
    max_sessions: Count | None = None
    disk_use: Flag = False
    pre_images: Flag = False
    requests_per_second: Annotated[float, Strict(), Field(gt=0)] | None = None
    burst: Count | None = None
    storage_bytes: Count | None = None


def raised(section: LimitsSection) -> Iterator[tuple[str, str]]:
    """(key, reason) of every limit that asks for more than a manifest may."""
    for key in OPERATOR_ONLY:
        written, default = getattr(section, key), getattr(DEFAULTS, key)
        if written is not None and written > default:
            yield key, f"a manifest may lower {key} below {default}; only the operator may raise it"


def contradictions(section: LimitsSection) -> Iterator[tuple[str, str]]:
    """(key, reason) of limits that cannot hold together, whoever wrote them."""
    longest = section.max_time_ms or DEFAULTS.max_time_ms
    if section.default_time_ms is not None and section.default_time_ms > longest:
        yield "default_time_ms", f"default_time_ms is above max_time_ms ({longest})"
    if section.burst is not None and section.requests_per_second is None:
        yield "burst", "burst has no meaning without requests_per_second"


def limits_of(section: LimitsSection) -> Limits:
    """The kernel's limits: what is written, else the default.

    An app that lowers only `max_time_ms` means the default time of its commands too.
    """
    names = {field.name for field in fields(Limits)} & set(LimitsSection.model_fields)
    written = {name: getattr(section, name) for name in names}
    limits = replace(DEFAULTS, **{k: v for k, v in written.items() if v is not None})
    return replace(limits, default_time_ms=min(limits.default_time_ms, limits.max_time_ms))
