"""Looks at this machine and says what commonly goes wrong."""

import platform
import sys
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from mdb_cli.mongod import EmbeddedError, find_mongod, version_of

OLDEST_PYTHON: Final = (3, 11)
PACKAGES: Final = ("mdb-engine", "pymongo", "uvloop")
CONFLICTS: Final = (
    ("bson", "pymongo", "the package `bson` replaces the driver's own module of that name"),
    ("casbin", "pycasbin", "both install the module `casbin`"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    good: bool
    text: str


def examine() -> list[Finding]:
    """Give all findings."""
    return [check() for check in (_python, _packages, _conflicts, _mongod)]


def conflicts(installed: Collection[str]) -> list[str]:
    """Give one sentence per pair of packages that exclude each other.

    >>> conflicts({"casbin", "pycasbin"})
    ['casbin and pycasbin: both install the module `casbin`; pip uninstall casbin']
    """
    return [
        f"{old} and {new}: {why}; pip uninstall {old}"
        for old, new, why in CONFLICTS
        if old in installed and new in installed
    ]


def _python() -> Finding:
    text = f"{platform.python_version()} on {sys.platform} {platform.machine()}"
    return Finding("python", sys.version_info[:2] >= OLDEST_PYTHON, text)


def _packages() -> Finding:
    found = {name: _installed(name) for name in PACKAGES}
    text = ", ".join(f"{name} {number or 'not installed'}" for name, number in found.items())
    return Finding("packages", all(found.values()), text)


def _conflicts() -> Finding:
    names = {name for pair in CONFLICTS for name in pair[:2] if _installed(name)}
    found = conflicts(names)
    return Finding("conflicts", not found, "; ".join(found) or "none")


def _mongod() -> Finding:
    try:
        program = find_mongod()
        return Finding("mongod", True, f"{version_of(program)} ({program})")
    except EmbeddedError as error:
        return Finding("mongod", False, str(error))


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
