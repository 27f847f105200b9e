"""What the server's answers mean; applying indexes needs a server (tests/e2e/test_indexes.py)."""

from dataclasses import fields

from mdb_engine.indexes.apply import OUTCOMES, Report


def test_every_outcome_is_in_the_report() -> None:
    assert set(OUTCOMES.values()) <= {field.name for field in fields(Report)}


def test_an_empty_report() -> None:
    assert Report() == Report((), (), (), (), (), (), ())
