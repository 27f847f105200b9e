"""MONGODB-OIDC: a token at once, or after a word about the issuer; keys that are not known yet."""

from dataclasses import replace
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdb_engine.exceptions import AuthenticationFailedError, OverloadedError
from mdb_proxy.auth import Doors, Later, Step
from mdb_proxy.auth.oidc import OidcConversation
from mdb_proxy.decisions import KEYS
from tests.support.talks import NOW, gate
from tests.support.tokens import ISSUER, RULE, Ring, keys, token

AT = NOW.timestamp()
HUMAN = replace(RULE, audience="people", client="our-app", scopes=("openid", "mdb"))


def begin(ring: Ring | None = None, *rules: Any) -> OidcConversation:
    ring = ring or Ring(keys("rsa"))
    return OidcConversation(gate(doors=Doors(rules or (RULE,), keys=ring)))


def show(**claims: Any) -> bytes:
    return bson.encode({"jwt": token(AT, **claims)})


def test_a_token_at_once() -> None:
    conversation = begin()
    step = conversation.step(show())
    assert isinstance(step, Step)
    assert (step.payload, step.done, step.echoed) == (b"", True, False)
    assert conversation.name == f"{ISSUER}#ann"


def test_a_name_is_not_known_before_it_is_believed() -> None:
    conversation = begin()
    with pytest.raises(AuthenticationFailedError):
        conversation.step(show(exp=1, sub="somebody else"))
    assert conversation.name == ""


@pytest.mark.parametrize("payload", [{}, {"n": "ann"}])
def test_where_to_get_a_token(payload: dict[str, Any]) -> None:
    conversation = begin(None, RULE, HUMAN)
    step = conversation.step(bson.encode(payload))
    assert isinstance(step, Step)
    assert (step.done, step.holder) == (False, None)
    told = {"issuer": ISSUER, "clientId": "our-app", "requestScopes": ["openid", "mdb"]}
    assert bson.decode(step.payload) == told
    step = conversation.step(show(aud="people"))
    assert isinstance(step, Step)
    assert step.holder is not None


def test_no_issuer_is_for_people() -> None:
    with pytest.raises(AuthenticationFailedError):
        begin().step(bson.encode({}))


def test_whoever_was_told_shows_a_token_next() -> None:
    conversation = begin(None, HUMAN)
    conversation.step(bson.encode({}))
    with pytest.raises(AuthenticationFailedError):
        conversation.step(bson.encode({}))


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b"n,,n=shop,r=x", bson.encode({"jwt": 5}), bson.encode({"jwt": b"x"}),
     bson.encode({"jwt": ["x"]}), bson.encode({"jwt": ""})],
)  # fmt: skip
def test_what_is_no_token(payload: bytes) -> None:
    with pytest.raises(AuthenticationFailedError):
        begin(None, HUMAN).step(payload)


@pytest.mark.parametrize(
    ("ring", "error"),
    [
        (Ring(keys("rsa"), keys("new")), None),
        (Ring(keys("rsa")), AuthenticationFailedError),
        (Ring(None, keys("new")), None),
        (Ring(None), OverloadedError),
    ],
)
def test_a_key_that_is_not_known_is_looked_for_once(ring: Ring, error: Any) -> None:
    found = begin(ring).step(show(kid="new"))
    assert isinstance(found, Later)
    assert (found.chore.kind, found.chore.work()) == (KEYS, b"")
    assert ring.renewed == 1
    if error is None:
        step = found.then(b"")
        assert isinstance(step, Step)
        assert step.holder is not None
    else:
        with pytest.raises(error):
            found.then(b"")


@pytest.mark.parametrize(
    ("ring", "error"),
    [(Ring(keys("rsa"), may=False), AuthenticationFailedError),
     (Ring(None, may=False), OverloadedError)],
)  # fmt: skip
def test_an_issuer_is_not_asked_for_ever(ring: Ring, error: Any) -> None:
    with pytest.raises(error):
        begin(ring).step(show(kid="new"))
    assert ring.renewed == 0


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_junk_is_a_failed_login_and_nothing_else(junk: bytes, more: bytes) -> None:
    conversation = begin(None, HUMAN)
    try:
        for payload in (junk, more):
            assert conversation.step(payload).holder is None  # type: ignore[union-attr]
    except AuthenticationFailedError:
        pass
