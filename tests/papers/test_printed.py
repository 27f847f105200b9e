"""Papers that are printed from the tables are up to date."""

import pytest

from tests.support.papers import DOCS, PAPERS


@pytest.mark.parametrize("name", PAPERS)
def test_printed(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    assert text == PAPERS[name](), "run: python -m tests.support.papers"
