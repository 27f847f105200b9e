"""The README tells the truth: its blocks run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mdb_engine.manifest import load_folder
from tests.support import config
from tests.support.programs import BIN, ROOT
from tests.support.proxies import Proxy

README = (ROOT / "README.md").read_text(encoding="utf-8")
SECONDS = 60


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def uris(proxy: Proxy) -> dict[str, str]:
    return config.environment(SHOP_URI=proxy.uris["shop"], CRM_URI=proxy.uris["crm"])


@pytest.mark.parametrize("block", blocks("python"))
def test_python(proxy: Proxy, block: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own text
        [sys.executable, "-c", block],
        env=uris(proxy),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("]\n0\n")
    assert "hello" in done.stdout


@pytest.mark.parametrize("block", blocks("javascript"))
def test_mongosh(proxy: Proxy, mongosh: Path, block: str, tmp_path: Path) -> None:
    script = tmp_path / "block.js"
    script.write_text(f"{block}\nprint(show_names.includes('tasks'));\n")
    done = subprocess.run(  # noqa: S603 - our own text
        [mongosh, proxy.uris["shop"], "--quiet", "--file", script],
        env=uris(proxy),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "true"


@pytest.mark.parametrize("block", blocks("json"))
def test_manifest(tmp_path: Path, block: str) -> None:
    (tmp_path / "notes.json").write_text(block)
    assert list(load_folder(tmp_path)) == ["notes"]


@pytest.mark.parametrize("line", "".join(blocks("bash")).splitlines())
def test_what_is_typed_exists(line: str) -> None:
    words = line.split()
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif words[0].startswith(".venv/bin/"):
        command = [w for w in words[1:] if not w.startswith("-")][: 3 if "apps" in words else 1]
        done = subprocess.run(  # noqa: S603 - our own text
            [BIN / Path(words[0]).name, *command, "--help"], capture_output=True, check=False
        )
        assert done.returncode == 0
    else:
        assert words[0] == "export"


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert [target for target in targets if not (ROOT / target).exists()] == []
