"""Explaining by running: where the server would crash, it is asked for the plan alone.

An explanation that runs a pipeline looks at the sub-pipelines of `$unionWith` once more when they
have ended, and finds stages that are gone: the server crashes (6.0.5, a `$set` in front of a
`$group`, among others). Such a pipeline may also stand in a view, and what is a view may change
at any moment; so what is run is sent in a form that the server refuses for views.
"""

from __future__ import annotations

from typing import Any, Final

from mdb_engine.scope.model import Where

PLAN_ONLY: Final = "queryPlanner"
_RUNNING: Final = frozenset({None, "allPlansExecution", "executionStats"})
"""Verbosities that run the command; the first is what is meant when none is given."""

_FENCED: Final = frozenset({"aggregate", "find"})
"""Readers that can be sent in such a form (`explain_plans`)."""

_UNFENCED: Final = frozenset({"count", "distinct"})
"""Readers to which nothing can be added."""


def guard(fields: dict[str, Any], where: Where) -> None:
    """Let an explanation, rewritten otherwise, run only what cannot crash the server."""
    verbosity = fields.get("verbosity")
    if not (verbosity is None or isinstance(verbosity, str)) or verbosity not in _RUNNING:
        return
    if where.notes.unites or where.command in _UNFENCED:
        fields["verbosity"] = PLAN_ONLY
    elif where.command in _FENCED and isinstance(fields["explain"][where.command], str):
        where.notes.plan = "explain"
