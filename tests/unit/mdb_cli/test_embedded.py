"""The embedded server's folder: its port and its lock. The server itself: tests/e2e."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mdb_cli import embedded


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"port": "x"}', '{"port": 70000}', "{"])
def test_a_damaged_note_of_the_port_is_no_note(tmp_path: Path, text: str) -> None:
    (tmp_path / "embedded.json").write_text(text)
    assert 0 < embedded.choose_port(tmp_path) < 65_536


def test_the_port_of_the_last_time_while_it_is_free(tmp_path: Path) -> None:
    first = embedded.choose_port(tmp_path)
    embedded._remember_port(tmp_path, first)
    assert embedded.choose_port(tmp_path) == first
    with socket.create_server((embedded.HOST, first)):
        assert embedded.choose_port(tmp_path) != first


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    with (
        embedded._locked(tmp_path),
        pytest.raises(embedded.EmbeddedError, match=f"process {os.getpid()}"),
        embedded._locked(tmp_path),
    ):
        pass
    with embedded._locked(tmp_path):
        pass


def test_a_dead_owner_is_waited_for(tmp_path: Path) -> None:
    """Its server holds the lock a little longer."""
    script = (
        "import sys, os, subprocess, pathlib; from mdb_cli import embedded\n"
        "with embedded._locked(pathlib.Path(sys.argv[1])) as lock:\n"
        "    subprocess.Popen(['/bin/sleep', '0.3'], pass_fds=(lock,))\n"
        "    os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)  # noqa: S603
    with embedded._locked(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_the_file_of_the_lock_is_private(tmp_path: Path) -> None:
    with embedded._locked(tmp_path):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
