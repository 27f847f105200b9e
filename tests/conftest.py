"""Fixtures of the whole run: one MongoDB for all tests that need one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import config
from tests.support.servers import NoServerError, any_server

pytest.register_assert_rewrite("tests.support.rounds")

# A busy machine is slow, not wrong. `make test` tries the same examples each time, so that it fails
# for what was changed; `make search` tries many new ones.
settings.register_profile("house", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=5_000)
settings.load_profile("search" if config.SEARCH else "house")

E2E = Path(__file__).parent / "e2e"
OUTCOMES = ("passed", "failed", "error", "skipped")


@pytest.fixture(scope="session")
def mongo_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the URI of a real replica set; without one it fails under `make test`, else skips."""
    try:
        with any_server(tmp_path_factory.mktemp("mongod")) as uri:
            yield uri
    except NoServerError as error:
        if config.REQUIRED:
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server."""
    for item in items:
        if item.path.is_relative_to(E2E):
            item.add_marker("server")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many end-to-end tests really ran; the line of all counts follows."""
    found = {
        outcome: sum(
            str(report.nodeid).startswith("tests/e2e/")
            for report in terminalreporter.getreports(outcome)
        )
        for outcome in OUTCOMES
    }
    if any(found.values()):
        counts = ", ".join(f"{count} {outcome}" for outcome, count in found.items() if count)
        terminalreporter.write_line(f"end-to-end, with a real mongod: {counts}")
