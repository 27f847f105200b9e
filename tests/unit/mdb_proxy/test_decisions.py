"""Decisions are values: they compare, never change, and pass bytes on as they are."""

import dataclasses

import pytest

from mdb_proxy.decisions import Answer, Close, Exchange, Forward, Reply, Run


def unanswered(_found: Answer) -> bytes:
    return b""


@pytest.mark.parametrize(
    "value",
    [
        Exchange(b"x"),
        Answer(b"x", "m1:1"),
        Reply(b""),
        Forward(Exchange(b""), unanswered),
        Close(""),
    ],
)
def test_they_do_not_change(value: object) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(value)[0].name, b"y")  # type: ignore[arg-type]


def test_an_exchange_goes_to_the_primary_unless_told() -> None:
    made = Exchange(b"x")
    assert (made.pin, made.read_preference, made.awaited, made.app) == (None, None, False, "")


def test_the_last_word_changes_nothing_unless_told() -> None:
    data = bytes(range(9))
    run = Run(_ for _ in ())  # type: ignore[arg-type]
    for decision in (Forward(Exchange(b""), unanswered), run):
        assert decision.finish(data) is data
        assert decision.quiet is False
