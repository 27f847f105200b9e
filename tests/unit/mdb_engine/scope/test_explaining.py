"""What is run to be explained; `tests/cases/explain.json` has the rest."""

from typing import Any

import pytest

from mdb_engine.scope.explaining import PLAN_ONLY, guard
from mdb_engine.scope.model import Notes, Where


@pytest.mark.parametrize("verbosity", ["executionStats", "allPlansExecution", None])
@pytest.mark.parametrize("name", ["aggregate", "find", "count", "distinct"])
def test_a_union_is_never_run(name: str, verbosity: str | None) -> None:
    fields: dict[str, Any] = {"explain": {name: "c"}}
    fields |= {"verbosity": verbosity} if verbosity else {}
    where = Where(name, "app", notes=Notes(unites=True))
    guard(fields, where)
    assert fields["verbosity"] == PLAN_ONLY
    assert where.notes.plan == ""


@pytest.mark.parametrize("name", ["delete", "findAndModify", "update"])
def test_what_reads_no_view_is_left_alone(name: str) -> None:
    fields: dict[str, Any] = {"explain": {name: "c"}}
    where = Where(name, "app")
    guard(fields, where)
    assert (fields, where.notes.plan) == ({"explain": {name: "c"}}, "")
