"""The command line `mdb`: options, sentences and exit codes."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mdb_cli.cli import app
from tests.support import config


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
        (["dev", "--listen", "nowhere"], 2, "not an address"),
        (["dev", "--manifests", "absent"], 2, "absent does not exist"),
        (["dev", "--manifests", "."], 3, "holds no <slug>.json"),
        (["manifest", "validate", "absent.json"], 3, "absent.json"),
        (["apps", "credentials", "list"], 2, "no cluster is named"),
        (
            ["apps", "credentials", "create", "shop", "--mongo-uri", "x"],
            2,
            "begins with mongodb://",
        ),
    ],
)
def test_failures(elsewhere: Path, arguments: list[str], code: int, sentence: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == code, done.output
    assert sentence in done.stderr
    assert done.stdout == ""


def test_version() -> None:
    done = CliRunner().invoke(app, ["version"])
    assert (done.exit_code, done.stdout.count(".")) == (0, 2)


def test_doctor_looks_at_python() -> None:
    assert "python" in CliRunner().invoke(app, ["doctor"]).stdout
