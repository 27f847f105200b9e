"""Every row of `tests/cases` that a method of the SDK can say: what reaches the driver's server."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from mdb_engine.database.handle import NOT_BY_COMMAND, scoped_database
from mdb_engine.exceptions import RefusedError
from mdb_engine.observability.operations import Operations
from tests.support.cases import Case, Refused, cases, exact, readable
from tests.support.phrases import Said, by_command, by_method, plain_names
from tests.support.recorders import Recorder, recording

METHODS = [(case, said) for case in cases() if (said := by_method(case)) is not None]
COMMANDS = [(case, said) for case in cases() if (said := by_command(case)) is not None]

DEFAULTS: Mapping[str, Any] = {
    "bypassDocumentValidation": False,
    "new": False,
    "ordered": True,
    "upsert": False,
}
"""What the driver says, and the row does not: the server's own defaults."""

TIMED = {"delete", "insert", "update"}
"""Commands whose time limit the driver counts down from the start of the call."""


async def _sent(chosen: list[tuple[Case, Said]]) -> list[list[dict[str, Any]] | Exception]:
    """For each row what reached the server, or the refusal."""
    found: list[list[dict[str, Any]] | Exception] = []
    async with recording() as (recorder, client):
        for case, said in chosen:
            found.append(await _one(case, said, recorder, client))
    return found


async def _one(case: Case, said: Said, recorder: Recorder, client: Any) -> Any:
    recorder.seen.clear()
    scope = case.scope
    handle = scoped_database(client[scope.database], lambda: scope, Operations())
    try:
        await said(handle)
    except RefusedError as error:
        assert case.plan or recorder.seen == [], "refused after something was sent"
        return error
    except Exception as error:  # noqa: BLE001 - the row's own test tells of it
        return error
    return list(recorder.seen)


@pytest.fixture(scope="module")
def by_methods() -> dict[str, Any]:
    outcomes = asyncio.run(_sent(METHODS))
    return {case.id: outcome for (case, _), outcome in zip(METHODS, outcomes, strict=True)}


def ids(chosen: list[tuple[Case, Said]]) -> list[str]:
    return [case.id for case, _ in chosen]


def test_there_are_rows() -> None:
    assert len(METHODS) > 400
    assert len(COMMANDS) > 600


def comparable(command: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A command without what the driver may add, and with one spelling of defaults."""
    fields = plain_names(command)
    for default, value in DEFAULTS.items():
        if default in fields:
            fields[default] = bool(fields[default])
        if fields.get(default) == value:
            fields.pop(default)
    if name in TIMED:
        fields.pop("maxTimeMS", None)
    fields.pop("batchSize", None)
    fields.pop("cursor", None)
    for statements in ("updates", "deletes"):
        if statements in fields:
            fields[statements] = [statement(each) for each in fields[statements]]
    return fields


def statement(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in given.items()
        if not (name in ("multi", "upsert") and value is False)
    }


@pytest.mark.parametrize("case", [case for case, _ in METHODS], ids=ids(METHODS))
def test_a_method_sends_what_the_row_says(case: Case, by_methods: Mapping[str, Any]) -> None:
    outcome = by_methods[case.id]
    if case.refused is not None or case.errors:
        assert isinstance(outcome, RefusedError), outcome
        code = case.refused.code if case.refused else case.errors[0][1]
        assert outcome.code == code
        if case.refused and outcome.at != "name":
            assert Refused(outcome.code, outcome.at) == case.refused
        return
    if isinstance(outcome, Exception):
        raise outcome
    if case.plan:
        assert outcome, "a plan sends its first step"
        return
    name = next(iter(case.command))
    sent, becomes = comparable(outcome[0], name), comparable(case.becomes or {}, name)
    assert readable(sent) == readable(becomes)
    assert exact(sent) == exact(becomes)
    assert len(outcome) == 1


def test_batches_are_bounded(by_methods: Mapping[str, Any]) -> None:
    """A driver asks each getMore for as many as it asked the first batch for."""
    for case, _ in METHODS:
        outcome = by_methods[case.id]
        if isinstance(outcome, list) and next(iter(case.command)) == "find":
            asked_for = min(outcome[0].get("limit", 1_000_000), outcome[0]["batchSize"])
            assert 0 < asked_for <= case.scope.limits.max_batch, case.id


def test_db_command_says_every_row() -> None:
    """What has no method of its own: the same command, the same refusal."""
    chosen = [(c, s) for c, s in COMMANDS if next(iter(c.command), "") != "renameCollection"]
    outcomes = asyncio.run(_sent(chosen))
    wrong = {
        case.id: outcome
        for (case, _), outcome in zip(chosen, outcomes, strict=True)
        if not _as_told(case, outcome)
    }
    assert wrong == {}


def _as_told(case: Case, outcome: Any) -> bool:
    if next(iter(case.command), "") in NOT_BY_COMMAND:
        return isinstance(outcome, RefusedError)
    if case.refused is not None or case.errors:
        code = case.refused.code if case.refused else case.errors[0][1]
        return isinstance(outcome, TypeError) or getattr(outcome, "code", None) == code
    if case.plan:
        return True
    becomes = exact(plain_names(case.becomes or {}))
    return isinstance(outcome, list) and exact(plain_names(outcome[0])) == becomes
