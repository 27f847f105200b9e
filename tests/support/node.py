"""Runs programs for the Node driver: text on stdin, one JSON document on stdout."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support import config
from tests.support.programs import ROOT

SECONDS = 60
PRELUDE = """
const { MongoClient, ReadPreference } = require('mongodb');
const said = {};
async function main() {
"""
POSTLUDE = """
}
main().then(
  () => { console.log(JSON.stringify(said)); process.exit(0); },
  (error) => { console.error(error); process.exit(1); });
"""


def node_path(package: str = "mongodb") -> str:
    """Give Node's path; without it or this client the test is skipped, in CI it fails."""
    found = shutil.which("node")
    if found is not None and (ROOT / "node_modules" / package).is_dir():
        return found
    if config.CI:
        pytest.fail(f"Node or its {package} is missing", pytrace=False)
    pytest.skip(f"Node or its {package} is missing")


@contextmanager
def node(text: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Run the body of an async function while the block runs; it fills `said`."""
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603 - our own text
        [node_path(), "-e", PRELUDE + text + POSTLUDE],
        cwd=ROOT,
        env=config.environment(**variables),
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def told(process: "subprocess.Popen[str]", seconds: float = SECONDS) -> dict[str, Any]:
    """Give what it filled `said` with; ends its stdin."""
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def run_node(text: str, **variables: str) -> dict[str, Any]:
    """Run it to its end."""
    with node(text, **variables) as process:
        return told(process)
