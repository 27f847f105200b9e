"""`mdb apps`: options and what is printed."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from typer import Exit
from typer.testing import CliRunner

from mdb_cli.cli_apps import _confirm, _end, _now, _printed, _show, app
from mdb_cli.credentials import Made

SHOWN = "once"
ROWS = [{"name": "shop", "app": "shop"}, {"name": "shop-2", "app": "shop"}]


@pytest.mark.parametrize(
    "command", ["create", "disable", "enable", "expire", "list", "remove", "rotate"]
)
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


def test_what_is_printed_of_a_credential_without_a_password() -> None:
    made = Made("bot", "", "mongodb://h/shop", known=True)
    assert _printed(made) == {"name": "bot", "uri": "mongodb://h/shop"}
    assert _printed(replace(made, password=SHOWN))["password"] == SHOWN


def test_when_a_time_is_over() -> None:
    assert _end(None) is None
    assert _end("7d") - _now() > timedelta(days=6)
