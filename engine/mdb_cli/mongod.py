"""Finds a mongod on this machine and says in one sentence why it cannot run."""

import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from mdb_engine.exceptions import MongoDBEngineError

# Shared library -> Debian package; what the bundled server and slim images disagree about.
LIBRARIES: Final[Mapping[str, str]] = {
    "libcrypto.so.1.1": "libssl1.1",
    "libcrypto.so.3": "libssl3",
    "libcurl.so.4": "libcurl4",
    "libgcc_s.so.1": "libgcc-s1",
    "libgssapi_krb5.so.2": "libgssapi-krb5-2",
    "liblber-2.5.so.0": "libldap-2.5-0",
    "libldap-2.5.so.0": "libldap-2.5-0",
    "liblzma.so.5": "liblzma5",
    "libsasl2.so.2": "libsasl2-2",
    "libssl.so.1.1": "libssl1.1",
    "libssl.so.3": "libssl3",
}
MISSING: Final = re.compile(r"error while loading shared libraries: ([^:\s]+)")
TOO_OLD: Final = re.compile(r"version `(GLIBC_[\d.]+)' not found")
VERSION: Final = re.compile(r"db version v(\S+)")
PATIENCE: Final = 60  # seconds; the first start reads 140 MB from the disk


class EmbeddedError(MongoDBEngineError):
    """The embedded server cannot be found or does not run here."""


def find_mongod() -> Path:
    """Give the bundled mongod, else the one on PATH.

    The parent package is asked for its folders and never imported: other distributions put a large
    program under the same name.

    Raises:
        EmbeddedError: there is none; the sentence says what to do on this platform.
    """
    on_path = shutil.which("mongod")
    found = next(_bundled(), Path(on_path) if on_path else None)
    if found is None:
        raise EmbeddedError(_advice(sys.platform, platform.machine()))
    return found


def _bundled() -> Iterator[Path]:
    """Give the programs that the extra `embedded` has installed."""
    spec = importlib.util.find_spec("fiftyone")
    for folder in (spec and spec.submodule_search_locations) or ():
        program = Path(folder) / "db" / "bin" / "mongod"
        if program.is_file():
            yield program


def _advice(system: str, machine: str) -> str:
    """Give the sentence for a machine without a mongod."""
    if (system, machine) == ("linux", "x86_64"):
        return "There is no mongod: pip install 'mdb-engine[embedded]', or set MONGO_URI."
    return (
        f"The embedded MongoDB exists for Linux x86_64 only, this is {system} {machine}: "
        "set MONGO_URI to a MongoDB of your own."
    )


def version_of(program: Path) -> str:
    """Run `mongod --version` and give the number.

    Raises:
        EmbeddedError: it does not start; the sentence names the missing library and its package.
    """
    try:
        done = subprocess.run(  # noqa: S603 - the program that find_mongod() gave
            [program, "--version"], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EmbeddedError(f"{program} does not start: {error}") from None
    found = VERSION.search(done.stdout)
    if done.returncode or not found:
        raise EmbeddedError(explain(program, done.returncode, done.stderr))
    return found.group(1)


def explain(program: Path, code: int, said: str) -> str:
    """Give one sentence for a mongod that did not start, from its exit code and stderr."""
    if missing := MISSING.search(said):
        library = missing.group(1)
        package = LIBRARIES.get(library)
        remedy = f"on Debian: apt-get install {package}" if package else "install its package"
        return f"The embedded MongoDB needs the library {library}; {remedy}, or set MONGO_URI."
    if old := TOO_OLD.search(said):
        return f"The embedded MongoDB needs a newer C library ({old.group(1)}); set MONGO_URI."
    if code == -4:  # SIGILL  # noqa: PLR2004
        return "The embedded MongoDB needs a processor with AVX; set MONGO_URI."
    lines = said.strip().splitlines()
    return f"{program} does not run (code {code}): {lines[-1] if lines else 'it said nothing'}"
