"""The plan of an explanation that runs what it explains, in a form that no view takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from mdb_engine.rawbson import Document
from mdb_engine.scope.explaining import PLAN_ONLY
from mdb_engine.scope.model import Scope
from mdb_engine.scope.replies import Asked, explained
from mdb_engine.scope.steps import FailedError, Part, identity, listed

_IS_A_VIEW: Final = frozenset({168, 361})
"""What the server says of a view to `readOnce`, and to the identity of a collection (6.0.5)."""


def _read_once(_inner: Mapping[str, Any], _scope: Scope) -> Part:
    yield from ()
    return {"readOnce": True}


def _identity(inner: Mapping[str, Any], scope: Scope) -> Part:
    uuid = identity((yield from listed(inner["aggregate"], scope)))
    return {} if uuid is None else {"collectionUUID": uuid}


_FENCES: Final[Mapping[str, Callable[[Mapping[str, Any], Scope], Part]]] = {
    "aggregate": _identity,
    "find": _read_once,
}
"""What is added to the command so that it fails for a view; nothing: there is no collection."""


def explain(asked: Asked, _token: str) -> Part:
    """Run it and explain, unless it reads a view; then its plan is all that is told."""
    command = asked.physical.command
    inner = command["explain"]
    fence = yield from _FENCES[next(iter(inner))](inner, asked.scope)
    raw = b""
    if fence:
        raw = yield {**command, "explain": {**inner, **fence}}
    if not raw or Document(raw).get("code") in _IS_A_VIEW:
        raw = yield {**command, "verbosity": PLAN_ONLY}
    if not Document(raw).get("ok"):
        raise FailedError(raw)
    return Document(explained(raw, asked))
