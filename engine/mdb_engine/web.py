"""FastAPI, where it is used: what a database gives becomes JSON, and an app lives as its engine."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from bson import Binary, Code, DBRef, Decimal128, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import UUID_SUBTYPE

from mdb_engine.exceptions import ConfigurationError


def _binary(value: Binary) -> str:
    if value.subtype == UUID_SUBTYPE:
        return str(value.as_uuid())
    return base64.b64encode(value).decode()


ENCODERS: Final[Mapping[type, Callable[[Any], Any]]] = {
    Binary: _binary,
    Code: str,
    DBRef: lambda value: dict(value.as_doc()),
    Decimal128: str,
    MaxKey: repr,
    MinKey: repr,
    ObjectId: str,
    Regex: lambda value: value.pattern,
    Timestamp: lambda value: value.as_datetime().isoformat(),
}
"""Types that only MongoDB has -> what of them JSON can say. Dates are FastAPI's own."""


def teach_json() -> None:
    """Let routes return documents as they are. Does nothing where FastAPI is not loaded.

    FastAPI has one table for all apps of a process; what somebody else has put there stays.
    """
    encoders = sys.modules.get("fastapi.encoders")
    if encoders is not None:
        for kind, encode in ENCODERS.items():
            encoders.ENCODERS_BY_TYPE.setdefault(kind, encode)


def make_app(lifespan: Any, options: Mapping[str, Any]) -> Any:
    """A FastAPI app with this lifespan.

    Raises:
        ConfigurationError: fastapi is not installed.
    """
    try:
        from fastapi import FastAPI  # noqa: PLC0415 - only who serves HTTP needs it
    except ImportError:
        raise ConfigurationError("create_app needs fastapi: pip install fastapi") from None
    return FastAPI(lifespan=lifespan, **options)
