"""A rule that is missing from a table is a refusal, whichever it is.

Every row of `tests/cases` that is let through is tried again without one rule that it needs: its
command, one of its fields, one of its stages, one of its update operators.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from mdb_engine.exceptions import RefusedError
from mdb_engine.rawbson import Array, Document
from mdb_engine.scope import commands, stages, updates
from mdb_engine.scope.commands import ALIASES, COMMANDS, command_name, rewrite
from mdb_engine.scope.fields import GENERIC
from mdb_engine.scope.stages import STAGES
from mdb_engine.scope.updates import UPDATE_OPERATORS
from tests.support.cases import Case, cases

REWRITTEN = [case for case in cases() if case.becomes is not None]


def without(table: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key != name}


def inner(command: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the command that is meant: what is explained, or itself."""
    found = command.get("explain")
    return found if isinstance(found, Document) else command


def pipelines(value: Any) -> Iterator[Array]:
    """Give the pipelines that are run, nested ones too; what is only named so is none."""
    if not isinstance(value, Array):
        return
    yield value
    for stage in value:
        name = stage.first if isinstance(stage, Document) else None
        operand = stage[name] if name else None
        if name in ("$lookup", "$unionWith") and isinstance(operand, Document):
            yield from pipelines(operand.get("pipeline"))
        elif name in ("$rankFusion", "$scoreFusion"):
            for branch in operand["input"]["pipelines"].values():
                yield from pipelines(branch)
        elif name == "$facet":
            for branch in operand.values():
                yield from pipelines(branch)


def stages_of(command: Mapping[str, Any]) -> set[str]:
    if command_name(command) != "aggregate":
        return set()
    return {stage.first for found in pipelines(command.get("pipeline")) for stage in found}


def statements(command: Mapping[str, Any]) -> Iterable[Any]:
    if command_name(command) == "findAndModify":
        return [command.get("update")]
    if command_name(command) == "update":
        return [statement.get("u") for statement in command["updates"]]
    return []


def operators_of(command: Mapping[str, Any]) -> set[str]:
    found = (u for u in statements(command) if isinstance(u, Document))
    named = {name for u in found if (u.first or "").startswith("$") for name in u}
    return named & UPDATE_OPERATORS.keys()


def refused(case: Case) -> bool:
    try:
        return bool(rewrite(case.document, case.scope).refused)
    except RefusedError:
        return True


def test_without_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = set()
    for case in REWRITTEN:
        for name in {command_name(case.command), command_name(inner(case.document))}:
            monkeypatch.setattr(commands, "COMMANDS", without(COMMANDS, name))
            if name == command_name(case.command):
                assert refused(case), f"{case.id} without {name}"
                tried.add(name)
    assert tried == COMMANDS.keys()


def test_without_one_of_its_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = set()
    for case in REWRITTEN:
        command = inner(case.document)
        name = command_name(command)
        row = COMMANDS[name]
        for field in {ALIASES.get(field, field) for field in command} & row.fields.keys():
            changed = replace(
                row,
                fields=without(row.fields, field),
                always=tuple(always for always in row.always if always != field),
            )
            monkeypatch.setattr(commands, "COMMANDS", {**COMMANDS, name: changed})
            if field not in GENERIC:
                assert refused(case), f"{case.id} without {name}.{field}"
                tried.add((name, field))
    assert len(tried) > 100


def test_without_one_of_its_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = set()
    for case in REWRITTEN:
        for name in stages_of(inner(case.document)):
            monkeypatch.setattr(stages, "STAGES", without(STAGES, name))
            assert refused(case), f"{case.id} without {name}"
            tried.add(name)
    assert tried == STAGES.keys()


def test_without_one_of_its_update_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = set()
    for case in REWRITTEN:
        for name in operators_of(inner(case.document)):
            monkeypatch.setattr(updates, "UPDATE_OPERATORS", without(UPDATE_OPERATORS, name))
            assert refused(case), f"{case.id} without {name}"
            tried.add(name)
    assert tried == UPDATE_OPERATORS.keys()
