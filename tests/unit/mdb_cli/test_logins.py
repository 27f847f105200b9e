"""Does a kept password still open what it opened?  The store itself: tests/e2e."""

import dataclasses

import pytest

from mdb_cli.logins import opens
from mdb_engine.credentials import SCRAM_SHA_256, Credential, derive

KEYS = derive("right", b"s" * 28, 4_096)
MINE = Credential("shop", "shop", "readWrite", {SCRAM_SHA_256: KEYS})


@pytest.mark.parametrize(
    ("credential", "slug", "password", "answer"),
    [
        (MINE, "shop", "right", True),
        (MINE, "shop", "wrong", False),
        (MINE, "crm", "right", False),
        (None, "shop", "right", False),
        (dataclasses.replace(MINE, disabled=True), "shop", "right", False),
        (dataclasses.replace(MINE, scram={}), "shop", "right", False),
    ],
)
def test_opens(credential: Credential | None, slug: str, password: str, answer: bool) -> None:
    assert opens(credential, slug, password) is answer
