"""What all plans are made of."""

from typing import Any

import pytest
from bson import Int64

from mdb_engine.rawbson import Document, encode
from mdb_engine.scope.steps import FailedError, Part, drained, failed, step


def driven(part: Part, *replies: dict[str, Any]) -> tuple[Any, list[Any]]:
    """Give the result of a part, and what it sent."""
    sent = [next(part)]
    for reply in replies:
        try:
            sent.append(part.send(encode(reply)))
        except StopIteration as stop:
            return stop.value, sent
    raise AssertionError(sent)


def batch(number: int, *items: Any, name: str = "nextBatch") -> dict[str, Any]:
    return {"cursor": {"id": Int64(number), "ns": "x", name: list(items)}, "ok": 1.0}


def test_a_step_that_fails_ends_the_plan() -> None:
    reply, _ = driven(step({"ping": 1}), {"ok": 1.0, "a": 1})
    assert reply["a"] == 1
    with pytest.raises(FailedError) as error:
        driven(step({"ping": 1}), {"ok": 0.0, "code": 5})
    assert Document(error.value.reply)["code"] == 5


def test_a_cursor_is_read_to_its_end() -> None:
    first = batch(9, 1, 2, name="firstBatch")
    found, sent = driven(drained({"find": "a", "$db": "p"}, "a"), first, batch(9, 3), batch(0))
    assert found == [1, 2, 3]
    assert sent[1:] == [{"getMore": 9, "collection": "a", "$db": "p"}] * 2


def test_an_error_of_our_own_looks_like_the_servers() -> None:
    reply = dict(Document(failed("no", 26, "NamespaceNotFound").reply))
    assert reply == {"ok": 0.0, "errmsg": "no", "code": 26, "codeName": "NamespaceNotFound"}
