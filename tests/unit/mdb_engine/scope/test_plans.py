"""Transcripts of `tests/cases/plans`: what a plan sends, what it gets, what the client is told.

A row holds `it`, `command`, maybe `scope`, `exchanges` (`sends`, `gets`), and `replies` or the
code of the error as `refused`.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from bson import decode

from mdb_engine.exceptions import RefusedError
from mdb_engine.rawbson import Document, encode
from mdb_engine.scope.commands import COMMANDS, rewrite
from mdb_engine.scope.plans import PLANS, run_plan
from mdb_engine.scope.replies import Asked
from tests.support.cases import plain, scope_of

FOLDER = Path(__file__).parents[3] / "cases" / "plans"
ROWS = [
    (path.stem, row)
    for path in sorted(FOLDER.glob("*.json"))
    for row in json.loads(path.read_text("utf-8"))["rows"]
]
RANDOM = "0123456789abcdef0123456789abcdef"
SEARCHING = {"createSearchIndexes", "dropSearchIndex", "listSearchIndexes", "updateSearchIndex"}
"""Commands that a plan carries out only where there is no search process."""

CHOSEN = {"$out", "$vectorSearch", "collMod", "create", "createIndexes", "explain", *SEARCHING}
"""Plans that a rule chooses for some commands."""


def shown(document: Any) -> dict[str, Any]:
    return decode(encode(plain(document)))


def asked(row: dict[str, Any]) -> Asked:
    command = dict(Document(encode(plain(row["command"]))))
    scope = scope_of(row.get("scope", {}))
    return Asked(command, rewrite(command, scope), scope)


def drive(row: dict[str, Any]) -> bytes:
    """Run the plan of a row against its exchanges; gives the reply."""
    plan, reply = run_plan(asked(row), RANDOM), None
    try:
        for exchange in row["exchanges"]:
            sent = next(plan) if reply is None else plan.send(reply)
            assert decode(encode(sent)) == shown(exchange["sends"])
            reply = encode(plain(exchange["gets"]))
        sent = next(plan) if reply is None else plan.send(reply)
    except StopIteration as stop:
        return bytes(stop.value)
    raise AssertionError(f"one exchange too many: {decode(encode(sent))}")


@pytest.mark.parametrize(("file", "row"), ROWS, ids=[f"{f}: {r['it']}" for f, r in ROWS])
def test_transcripts(file: str, row: dict[str, Any]) -> None:
    if "refused" in row:
        with pytest.raises(RefusedError) as caught:
            drive(row)
        assert caught.value.code == row["refused"]
        return
    assert decode(drive(row)) == shown(row["replies"])


def test_every_plan_has_a_command_and_transcripts() -> None:
    named = {row.plan for row in COMMANDS.values() if row.plan}
    assert set(PLANS) == named | CHOSEN
    assert {file for file, _ in ROWS} == {plan.removeprefix("$") for plan in PLANS}
