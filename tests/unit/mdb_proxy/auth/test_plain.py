"""PLAIN: when a password that comes as it is opens anything, and how much work is done."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdb_engine.exceptions import AuthenticationFailedError
from mdb_proxy.auth.conversation import Later, Step
from mdb_proxy.auth.plain import MAX_PASSWORD, PlainConversation
from mdb_proxy.decisions import PASSWORDS
from tests.support.talks import PASSWORD, credential, gate, keys

BOT = credential("bot", "shop", plain=True)
KNOWN = {
    "bot": BOT,
    "closed": credential("closed", "shop"),
    "off": replace(BOT, name="off", disabled=True),
    "card": replace(BOT, name="card", scram={}, x509="CN=card"),
    "old": replace(BOT, name="old", scram={"SCRAM-SHA-1": keys()}),
}


def plain(payload: bytes, **more: Any) -> Step:
    conversation = PlainConversation(gate(KNOWN, **{"secure": True, **more}))
    found = conversation.step(payload)
    assert isinstance(found, Later)
    assert found.chore.kind == PASSWORDS
    step = found.then(found.chore.work())
    assert isinstance(step, Step)
    return step


@pytest.mark.parametrize("acting", ["", "bot"])
def test_the_right_password_opens(acting: str) -> None:
    step = plain(f"{acting}\0bot\0{PASSWORD}".encode())
    assert (step.payload, step.done, step.echoed, step.holder) == (b"", True, False, BOT)


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("bot", "wrong"),
        ("bot", PASSWORD + " "),
        ("nobody", PASSWORD),
        ("closed", PASSWORD),
        ("off", PASSWORD),
        ("card", PASSWORD),
        ("old", PASSWORD),
        ("bot", ""),
        ("bot", "bell\x07"),
    ],
)
def test_everything_else_fails_after_the_work(name: str, password: str) -> None:
    with pytest.raises(AuthenticationFailedError, match=r"^Authentication failed\.$"):
        plain(f"\0{name}\0{password}".encode())


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"bot",
        b"\0bot",
        f"bot\0{PASSWORD}".encode(),
        f"\0bot\0{PASSWORD}\0".encode(),
        f"\0bot\0\0{PASSWORD}".encode(),
        f"crm\0bot\0{PASSWORD}".encode(),
        f"bot\0\0{PASSWORD}".encode(),
        f"\0bot \0{PASSWORD}".encode(),
        f"\0{'b' * 65}\0{PASSWORD}".encode(),
        b"\0bot\0\xff",
        b"\0bot\0" + b"x" * (MAX_PASSWORD + 1),
    ],
)
def test_what_is_malformed_costs_nothing(payload: bytes) -> None:
    conversation = PlainConversation(gate(KNOWN, secure=True))
    with pytest.raises(AuthenticationFailedError):
        conversation.step(payload)
    assert conversation.name == ""


def test_a_wire_that_others_read() -> None:
    with pytest.raises(AuthenticationFailedError):
        plain(f"\0bot\0{PASSWORD}".encode(), secure=False)


def test_the_same_work_for_every_name() -> None:
    """As many rounds, whether the name is known or not, allowed or not."""
    usual = replace(keys(), iterations=15_000)
    known = {"bot": replace(BOT, scram={"SCRAM-SHA-256": usual})}
    rounds = set()
    for name in ("bot", "nobody"):
        found = PlainConversation(gate(known, secure=True)).step(f"\0{name}\0pw".encode())
        rounds.add(found.chore.work.args[1].iterations)  # type: ignore[attr-defined]
    assert rounds == {15_000}


def test_no_password_is_shown() -> None:
    found = PlainConversation(gate(KNOWN, secure=True)).step(b"\0bot\0s3cret")
    assert "s3cret" not in repr(found)


@given(st.binary(max_size=80))
def test_junk_is_a_failed_login_and_nothing_else(junk: bytes) -> None:
    with pytest.raises(AuthenticationFailedError):
        plain(junk)
