"""The files that deploy the proxy, checked by the tools that know their forms."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mdb_proxy.config import URI_NAMES, ProxySettings
from mdb_proxy.listeners import Keys, read_listener
from tests.support import config
from tests.support.programs import BIN, ROOT

SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
KUBERNETES = ROOT / "deploy" / "kubernetes"
UNITS = sorted((ROOT / "deploy").rglob("*.service"))
YAML = sorted([*(ROOT / "deploy").rglob("*.y*ml"), ROOT / "docker-compose.yml"])


def check(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_dockerfile() -> None:
    check(BIN / "hadolint", "Dockerfile")


def test_compose() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    check(BIN / "check-jsonschema", *schema, "docker-compose.yml")


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_yaml(path: Path) -> None:
    check(BIN / "yamllint", "--strict", path)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_units(unit: Path, tmp_path: Path) -> None:
    """systemd only prints what it does not like; the program need not be installed here."""
    text = unit.read_text().replace("/opt/mdb/bin/mdb-proxy", shutil.which("true") or "/bin/true")
    copy = tmp_path / unit.name
    copy.write_text(text)
    assert check("systemd-analyze", "verify", "--man=no", copy) == ""


@pytest.mark.skipif(
    not config.CI and shutil.which("haproxy", path=SYSTEM) is None, reason="HAProxy is missing"
)
def test_haproxy() -> None:
    program = shutil.which("haproxy", path=SYSTEM)
    assert program is not None
    check(program, "-c", "-f", "deploy/haproxy/haproxy.cfg")


def test_the_listener_beside_it() -> None:
    """The line in the comment is one that the proxy takes."""
    text = (ROOT / "deploy" / "haproxy" / "haproxy.cfg").read_text()
    (line,) = re.findall(r'--listen "(.*)"', text)
    found = read_listener(line, {}, Keys())
    assert (found.balanced, found.proxy_protocol) == (True, True)


def settings_named_in(text: str) -> Iterator[str]:
    """Give the variables of ours that a file sets."""
    for word in text.replace("=", " ").replace(":", " ").replace("\\", " ").split():
        if word.startswith(("MDB_PROXY_", "MONGO_")):
            yield word


@pytest.mark.parametrize("name", ["Dockerfile", "docker-compose.yml", "deploy"])
def test_only_settings_that_exist_are_set(name: str) -> None:
    """A misspelt variable is silently nothing."""
    known = {f"MDB_PROXY_{field.upper()}" for field in ProxySettings.model_fields}
    known |= {*URI_NAMES, *(f"{uri}_FILE" for uri in URI_NAMES), "MONGO_DB_NAME", "MDB_PROXY_*"}
    path = ROOT / name
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    found = {word.strip("(),;.") for file in files for word in settings_named_in(file.read_text())}
    assert found - known == set()


def test_kustomization_lists_every_file() -> None:
    listed: dict[str, Any] = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    present = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(listed["resources"]) == present
