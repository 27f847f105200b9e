"""`mdb apps`: options and what is printed."""

import json

import pytest
from typer import Exit
from typer.testing import CliRunner

from mdb_cli.cli_apps import _confirm, _show, app

ROWS = [{"name": "shop", "app": "shop"}, {"name": "shop-2", "app": "shop"}]


@pytest.mark.parametrize("command", ["create", "disable", "list", "remove"])
def test_commands(command: str) -> None:
    done = CliRunner().invoke(app, ["credentials", command, "--help"])
    assert done.exit_code == 0
    assert "--mongo-uri" in done.stdout


@pytest.mark.parametrize(
    ("as_json", "single", "printed"),
    [
        (True, True, ROWS[0]),
        (True, False, ROWS),
        (False, True, "name      shop\napp       shop\n"),
        (False, False, "name    app\nshop    shop\nshop-2  shop\n"),
    ],
)
def test_show(
    capsys: pytest.CaptureFixture[str], as_json: bool, single: bool, printed: object
) -> None:
    _show(ROWS, as_json=as_json, single=single)
    out = capsys.readouterr().out
    assert (json.loads(out) if as_json else out) == printed


def test_what_is_not_there_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    _confirm(True, "shop")
    with pytest.raises(Exit):
        _confirm(False, "shop")
    assert capsys.readouterr().err == "there is no credential shop\n"
