"""Kept frames, and damaged ones: refusals or an end, and only whole BSON for the cluster."""

import random
from collections.abc import Iterator
from itertools import islice
from typing import Final

import bson
import pytest
from bson import Int64

from mdb_engine.exceptions import RefusedError
from mdb_engine.rawbson import Document, check
from mdb_proxy.decisions import Answer, Close, Decision, Exchange, Forward, Reply, Run
from mdb_proxy.wire import MAX_BEFORE_LOGIN, MAX_MESSAGE, Frames, WireError
from tests.support import config
from tests.support.corpus import SHAPES, damaged, kept
from tests.support.talks import MEMBER, Talk, World, heard, message, one_frame

TURNS: Final = 20_000 if config.PROVE else 400
LIFETIME: Final = 40
"""Frames that one connection hears before it is replaced."""

ANSWER: Final = bson.encode({"cursor": {"id": Int64(0), "ns": "a.b", "firstBatch": []}, "ok": 1.0})
USERS = pytest.mark.parametrize("user", ["", "shop"])


def fresh(user: str) -> Talk:
    """A connection; the cursor 99 is its user's."""
    talk = Talk(World(), user)
    if user:
        found = {"id": Int64(99), "ns": "appdata.shop_tasks", "firstBatch": []}
        talk.ask({"find": "tasks", "$db": "shop"}, {"cursor": found, "ok": 1.0})
    return talk


def hear(talk: Talk, data: bytes) -> bool:
    """Let the session hear some bytes; whether the connection lives on."""
    frames = Frames(MAX_MESSAGE if talk.session.app else MAX_BEFORE_LOGIN)
    try:
        for each in frames.feed(data):
            decision = talk.session.receive(each)
            if isinstance(decision, Close):
                return False
            answer = carried_out(decision, talk)
            if answer:
                body = heard(one_frame(answer)).body
                assert "ok" in body or "$err" in body
    except WireError:
        return False
    return not frames.pending


def carried_out(decision: Decision, talk: Talk) -> bytes:
    if isinstance(decision, Reply):
        return decision.message
    assert talk.session.app, "nothing is sent for somebody who is not known"
    if isinstance(decision, Forward):
        return decision.finish(decision.answer(asked(decision.exchange)))
    assert isinstance(decision, Run)
    steps = decision.steps
    try:
        exchange = next(steps)
        while True:
            exchange = steps.send(asked(exchange))
    except StopIteration as stop:
        return decision.finish(bytes(stop.value))
    except RefusedError:
        return b""


def asked(exchange: Exchange) -> Answer:
    """The cluster gets whole BSON, of this app, in its own database or the server's."""
    check(exchange.body)
    body = Document(exchange.body)
    assert body["$db"] in ("appdata", "admin")
    assert exchange.app == "shop"
    for name, documents in exchange.sections:
        assert name not in body
        for document in documents:
            check(document)
    return Answer(ANSWER, MEMBER)


def test_every_shape_is_kept() -> None:
    assert set(SHAPES) <= set(kept())


@USERS
@pytest.mark.parametrize("name", kept())
def test_kept_frames(name: str, user: str) -> None:
    hear(fresh(user), kept()[name])


@USERS
@pytest.mark.parametrize("name", [n for n in kept() if not n.startswith(("found_", "old_", "two"))])
def test_whole_frames_end_nothing(name: str, user: str) -> None:
    talk = fresh(user)
    assert hear(talk, kept()[name])
    assert hear(talk, message({"hello": 1, "$db": "admin"}))


@USERS
def test_damaged_frames(user: str) -> None:
    source = random.Random(7)  # noqa: S311 - no secret
    play(user, islice(damaged(source, list(kept().values())), TURNS))


def play(user: str, frames: Iterator[bytes]) -> None:
    talk, left = fresh(user), LIFETIME
    for data in frames:
        try:
            lives = hear(talk, data)
        except Exception as error:
            error.add_note(f"user {user!r}, keep it as tests/corpus/found_....bin: {data.hex()}")
            raise
        left -= 1
        if not lives or not left:
            talk, left = fresh(user), LIFETIME


def payloads(source: random.Random, turns: int) -> Iterator[bytes]:
    """Logins whose frames are right and whose payloads are not."""
    good = [b"n,,n=shop,r=rOprNGfwEbeRWgbNEkqO", b"c=biws,r=abc,p=AAAA", b"\0shop\0secret", b"n,,"]
    for data in islice(damaged(source, good), turns):
        payload = data[4:] if source.random() < 0.5 else data
        mechanism = source.choice(("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "X", ""))
        start = {"saslStart": 1, "mechanism": mechanism, "payload": payload, "$db": "admin"}
        more = {"saslContinue": 1, "conversationId": 1, "payload": payload, "$db": "admin"}
        yield message(start if source.random() < 0.5 else more)


def test_damaged_payloads_of_logins() -> None:
    play("", payloads(random.Random(8), TURNS))  # noqa: S311 - no secret
