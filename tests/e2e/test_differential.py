"""Random valid commands, through the proxy among other apps and on a private database: the same.

`tests/support/workloads` makes the commands, `tests/support/comparing` says what is left out of a
comparison, `tests/support/allowed` which differences docs/differences.md justifies. `make prove`
runs many more.
"""

import random
from collections.abc import Callable, Iterator
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import config
from tests.support.allowed import ALLOWED
from tests.support.laboratory import laboratory
from tests.support.programs import ROOT
from tests.support.proxies import Proxy
from tests.support.trials import DifferentError, Tally, Trials, many
from tests.support.twins import Twins, stem

LENGTH: Final = 250
"""Steps of one workload."""

HISTORY: Final = "minSnapshotHistoryWindowInSeconds"
COMMANDS: Final = config.PROVE // config.PARTS or 900
SEEDS_OF_A_PART: Final = 1_000_000


@pytest.fixture(scope="module")
def name() -> str:
    """Give what the databases of both sides begin with."""
    return stem()


@pytest.fixture(scope="module")
def proxy(mongo_uri: str, name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Run a proxy for an app whose home is that database, and for others."""
    with laboratory(mongo_uri, name, tmp_path_factory.mktemp("lab")) as running:
        if config.PROVE:
            # Files of what was dropped are kept for five minutes: more than may be open.
            running.admin.admin.command({"setParameter": 1, HISTORY: 5})
        yield running


@pytest.fixture(scope="module")
def trials(mongo_uri: str, proxy: Proxy, name: str) -> Iterator[Trials]:
    """Give both sides."""
    with Twins(mongo_uri, proxy.uris["lab"], name) as twins:
        yield Trials(twins)


@pytest.mark.parametrize("part", range(config.PARTS))
def test_random_workloads(
    trials: Trials, part: int, capsys: pytest.CaptureFixture[str], measured: Callable[[str], None]
) -> None:
    def report(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}", end="", flush=True)  # noqa: T201 - progress of minutes

    if config.SEED:
        trials.run(config.SEED, LENGTH)
        return
    trials.tally = Tally()
    first = config.FIRST + part * SEEDS_OF_A_PART
    try:
        many(trials, first, COMMANDS, LENGTH, report if config.PROVE else lambda _: None)
    finally:
        measured(str(trials.tally))


@given(st.randoms(use_true_random=False))
@settings(
    max_examples=40 if config.PROVE else 8, suppress_health_check=list(HealthCheck), database=None
)
def test_workloads_that_shrink(trials: Trials, source: random.Random) -> None:
    steps, found = trials.play(source, 25)
    if found is not None:
        raise DifferentError(0, steps, found)


def test_every_difference_that_is_allowed_is_told_to_users() -> None:
    told = (ROOT / "docs" / "differences.md").read_text("utf-8")
    assert [row for row in ALLOWED if f"| {row} |" not in told] == []
