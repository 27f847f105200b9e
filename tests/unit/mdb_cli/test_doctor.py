"""What is looked at on a machine."""

import pytest

from mdb_cli.doctor import conflicts, examine


@pytest.mark.parametrize(
    ("installed", "found"),
    [
        (set(), 0),
        ({"pymongo", "pycasbin"}, 0),
        ({"pycasbin", "casbin"}, 1),
        ({"pycasbin", "casbin", "bson", "pymongo"}, 2),
    ],
)
def test_conflicts(installed: set[str], found: int) -> None:
    sentences = conflicts(installed)
    assert len(sentences) == found
    assert all("pip uninstall" in sentence for sentence in sentences)


def test_examine_looks_at_everything() -> None:
    assert [finding.subject for finding in examine()] == [
        "python",
        "packages",
        "conflicts",
        "mongod",
    ]
