"""The engines of this process that are open: who was handed none finds the only one here."""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakSet

from mdb_engine.exceptions import ConfigurationError, NotInitializedError

_OPEN: Final[WeakSet[Any]] = WeakSet()


def opened(engine: Any) -> None:
    """An engine can be used from now on."""
    _OPEN.add(engine)


def closed(engine: Any) -> None:
    """It cannot any more."""
    _OPEN.discard(engine)


def current() -> Any:
    """The one engine of this process.

    Raises:
        NotInitializedError: none is open. ConfigurationError: several are, and nobody can know
            whose data is meant.
    """
    engines = list(_OPEN)
    if not engines:
        msg = "no engine is open in this process: await engine.initialize() first"
        raise NotInitializedError(msg)
    if len(engines) > 1:
        msg = "several engines are open in this process: say which in app.state.engine"
        raise ConfigurationError(msg)
    return engines[0]
