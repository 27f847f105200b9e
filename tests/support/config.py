"""What the environment says about a test run; the only place in the tests that reads it."""

import os
from pathlib import Path

CI = os.environ.get("CI", "").lower() not in ("", "0", "false")
"""On a build machine nothing is skipped for want of a program."""

REQUIRED = CI or "MDB_TEST_REQUIRED" in os.environ
"""A missing MongoDB is a failure; `make test` says so."""

SERVER = os.environ.get("MDB_TEST_URI", "")
"""A replica set that the tests may fill and empty databases on."""

GUIDE = os.environ.get("MDB_GUIDE", "")
"""The guide that users were given; its text is not part of the project."""

SEARCH = "MDB_TEST_SEARCH" in os.environ
"""Property tests try many new examples instead of the same few."""

PROVE = int(os.environ.get("MDB_TEST_PROVE", "0"))
"""So many commands are compared with a private database; `make prove` says how many."""

PARTS = int(os.environ.get("MDB_TEST_PARTS", "1"))
"""Into so many parts, each with seeds of its own, these commands are divided."""

FIRST = int(os.environ.get("MDB_TEST_FIRST", "1"))
"""The first seed of the first part."""

SEED = int(os.environ.get("MDB_TEST_SEED", "0"))
"""The one workload to run again."""

SOAK_MINUTES = float(os.environ.get("MDB_TEST_SOAK", "0.25"))
"""So long all kinds of work are done; `make soak` says how long."""

DOCKER = bool(os.environ.get("DOCKER_HOST")) or Path("/var/run/docker.sock").exists()


OURS = ("MDB_", "MONGO_", "COVERAGE_")
"""How the names begin that would change what a program under test does."""


def ours() -> list[str]:
    """Give the names of such variables that are set now."""
    return [name for name in os.environ if name.startswith(OURS)]


def environment(**changes: str) -> dict[str, str]:
    """Give the environment for a program that the tests start: ours without our settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return kept | {"PYTHONUNBUFFERED": "1"} | changes
