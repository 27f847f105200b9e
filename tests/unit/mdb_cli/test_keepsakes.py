"""The file of development passwords."""

from pathlib import Path

import pytest

from mdb_cli.keepsakes import Keepsake, read_keepsakes, write_keepsakes

KEPT = {"shop": Keepsake("shop", "s3cret"), "crm": Keepsake("crm", "other")}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    write_keepsakes(path, KEPT)
    assert read_keepsakes(path) == KEPT
    write_keepsakes(path, {"shop": KEPT["shop"]})
    assert read_keepsakes(path) == {"shop": KEPT["shop"]}
    assert [entry.name for entry in tmp_path.iterdir()] == ["credentials.json"]


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    path.touch(0o644)
    write_keepsakes(path, KEPT)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "[]", '{"shop": {}}', '{"shop": 1}', '{"shop": {"name": 1'])
def test_a_damaged_file_holds_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "credentials.json"
    path.write_text(text)
    assert read_keepsakes(path) == {}


def test_an_absent_file_holds_nothing(tmp_path: Path) -> None:
    assert read_keepsakes(tmp_path / "absent") == {}


def test_the_password_is_not_shown() -> None:
    assert "s3cret" not in repr(KEPT["shop"])
