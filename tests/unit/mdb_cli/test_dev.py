"""What `mdb dev` prints, and how it says that it cannot start. The whole of it: tests/e2e."""

import json
from pathlib import Path

import pytest

from mdb_cli.dev import Started, run_dev
from mdb_cli.screen import Screen
from mdb_engine.exceptions import ConfigurationError, ManifestValidationError
from mdb_proxy.config import Settings

STARTED = Started(
    "127.0.0.1:27018",
    "mongodb://127.0.0.1:1/?replicaSet=rs0",
    "mdb",
    {"crm": "mongodb://crm:p@127.0.0.1:27018/crm", "shop": "mongodb://shop:q@127.0.0.1:27018/s"},
)


def test_scripts_read_one_line() -> None:
    line = STARTED.as_json()
    assert "\n" not in line
    assert json.loads(line) == {
        "proxy": "127.0.0.1:27018",
        "mongo_uri": "mongodb://127.0.0.1:1/?replicaSet=rs0",
        "db_name": "mdb",
        "apps": {
            "crm": {"uri": "mongodb://crm:p@127.0.0.1:27018/crm"},
            "shop": {"uri": "mongodb://shop:q@127.0.0.1:27018/s"},
        },
    }


def test_people_read_uris_and_what_to_type() -> None:
    text = STARTED.as_text(".venv/bin/python")
    for uri in STARTED.uris.values():
        assert uri in text
    assert 'mongosh "mongodb://crm' in text
    assert ".venv/bin/python -c" in text


@pytest.mark.parametrize(
    ("files", "error", "sentence"),
    [
        (None, ConfigurationError, "does not exist"),
        ({}, ManifestValidationError, "holds no <slug>.json"),
        ({"shop.json": "{"}, ManifestValidationError, "shop.json"),
    ],
)
def test_bad_manifests_stop_it_before_anything_starts(
    tmp_path: Path, files: dict[str, str] | None, error: type[Exception], sentence: str
) -> None:
    folder = tmp_path / "manifests"
    if files is not None:
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    settings = Settings(manifests=folder, data=tmp_path / "mdb")
    with pytest.raises(error, match=sentence):
        run_dev(settings, print, Screen())
    assert not (tmp_path / "mdb").exists()
