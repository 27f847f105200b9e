"""Names of credentials; storing them needs a server (tests/e2e/test_registry.py)."""

from itertools import islice

import pytest

from mdb_engine.credentials import check_name
from mdb_engine.registry.credentials import MAX_NAME, MAX_PER_APP, default_names


@pytest.mark.parametrize(
    ("slug", "names"),
    [
        ("shop", ["shop", "shop-2", "shop-3"]),
        ("x" * 63, ["x" * 63, "x" * 62 + "-2", "x" * 62 + "-3"]),
    ],
)
def test_default_names(slug: str, names: list[str]) -> None:
    assert list(islice(default_names(slug), 3)) == names


def test_default_names_are_legal_and_differ() -> None:
    names = list(islice(default_names("x" * 63), MAX_PER_APP))
    assert len(set(names)) == MAX_PER_APP
    for name in names:
        check_name(name)
        assert len(name) <= MAX_NAME
