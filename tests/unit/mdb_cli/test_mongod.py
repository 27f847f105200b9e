"""Finding a mongod, and the sentence for one that does not run."""

import importlib.machinery
import importlib.util
from pathlib import Path

import pytest

from mdb_cli import mongod

LOADER = "mongod: error while loading shared libraries: {}: cannot open shared object file"


@pytest.mark.parametrize(
    ("code", "said", "sentence"),
    [
        (
            127,
            LOADER.format("libcurl.so.4"),
            "library libcurl.so.4; on Debian: apt-get install lib",
        ),
        (127, LOADER.format("libssl.so.3"), "apt-get install libssl3"),
        (127, LOADER.format("libodd.so.9"), "library libodd.so.9; install its package"),
        (1, "libc.so.6: version `GLIBC_2.34' not found", "newer C library (GLIBC_2.34)"),
        (-4, "", "a processor with AVX"),
        (3, "one\nlast words\n", "mongod does not run (code 3): last words"),
        (3, "", "it said nothing"),
    ],
)
def test_explain(code: int, said: str, sentence: str) -> None:
    text = mongod.explain(Path("/opt/mongod"), code, said)
    assert sentence in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("system", "machine", "sentence"),
    [
        ("linux", "x86_64", "There is no mongod: pip install 'mdb-engine[embedded]', or set MONGO"),
        ("linux", "aarch64", "for Linux x86_64 only, this is linux aarch64: set MONGO_URI"),
        ("darwin", "arm64", "for Linux x86_64 only, this is darwin arm64: set MONGO_URI"),
    ],
)
def test_advice(monkeypatch: pytest.MonkeyPatch, system: str, machine: str, sentence: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(mongod.sys, "platform", system)
    monkeypatch.setattr(mongod.platform, "machine", lambda: machine)
    with pytest.raises(mongod.EmbeddedError, match=sentence.replace("[", r"\[")):
        mongod.find_mongod()


def test_the_bundled_one_comes_before_the_one_on_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on_path = tmp_path / "bin" / "mongod"
    on_path.parent.mkdir()
    on_path.touch(0o755)
    monkeypatch.setenv("PATH", str(on_path.parent))
    spec = importlib.machinery.ModuleSpec("fiftyone", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path / "absent"), str(tmp_path / "fiftyone")]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: spec)
    assert mongod.find_mongod() == on_path
    bundled = tmp_path / "fiftyone" / "db" / "bin" / "mongod"
    bundled.parent.mkdir(parents=True)
    bundled.touch()
    assert mongod.find_mongod() == bundled


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ("echo db version v8.0.1", "8.0.1"),
        (f"echo '{LOADER.format('libcurl.so.4')}' >&2; exit 127", "needs the library libcurl.so.4"),
        ("echo nonsense", "does not run"),
    ],
)
def test_version_of(tmp_path: Path, script: str, outcome: str) -> None:
    program = tmp_path / "mongod"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    try:
        said = mongod.version_of(program)
    except mongod.EmbeddedError as error:
        said = str(error)
    assert outcome in said


def test_a_program_for_another_machine(tmp_path: Path) -> None:
    with pytest.raises(mongod.EmbeddedError, match="does not start"):
        mongod.version_of(tmp_path / "absent")
