"""The command line `mdb-proxy`: options, sentences and exit codes."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mdb_proxy.cli import app
from tests.support import config

URI = "mongodb://127.0.0.1:1"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder, with an environment that says nothing."""
    monkeypatch.chdir(tmp_path)
    for name in config.ours():
        monkeypatch.delenv(name)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["serve"], 2, "no cluster is named"),
        (["serve", "--mongo-uri", URI, "--workers", "two"], 2, "workers: "),
        (["serve", "--mongo-uri", URI, "--listen", "x"], 2, "not an address"),
        (["serve", "--mongo-uri", URI, "--manifests", "absent"], 2, "absent does not exist"),
        (["health", "--listen", "x"], 2, "not an address"),
    ],
)
def test_failures(elsewhere: Path, arguments: list[str], code: int, sentence: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == code, done.output
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_version() -> None:
    done = CliRunner().invoke(app, ["version"])
    assert (done.exit_code, done.stdout.count(".")) == (0, 2)


def test_every_setting_is_an_option() -> None:
    shown = CliRunner().invoke(app, ["serve", "--help"], terminal_width=200).stdout
    for option in ("--mongo-uri", "--db-name", "--manifests", "--listen", "--admin", "--workers"):
        assert option in shown
    assert "--apply-indexes" in shown
