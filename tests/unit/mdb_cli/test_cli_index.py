"""`mdb index`: options and what is printed."""

import json

import pytest
from typer.testing import CliRunner

from mdb_cli.cli_index import _show, app


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_commands(command: str) -> None:
    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0
    assert "--manifests" in done.stdout
    assert ("--replace" in done.stdout) is (command == "apply")


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"app": "shop", "outcome": "created", "index": "tasks.i"}
    _show([row], as_json=False)
    assert capsys.readouterr().out == "shop  created      tasks.i\n"
    _show([row], as_json=True)
    assert json.loads(capsys.readouterr().out) == [row]
