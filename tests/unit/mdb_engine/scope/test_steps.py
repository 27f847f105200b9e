"""One exchange, and a cursor to its end."""

from typing import Any

import pytest

from mdb_engine.rawbson import encode
from mdb_engine.scope.steps import FailedError, Part, drained, step
from tests.support.kernel import shown


def drive(part: Part, *replies: dict[str, Any]) -> tuple[list[Any], Any]:
    """Give what a part sends, and what it returns."""
    first = shown(next(part))
    sent = [first, *(shown(part.send(encode(reply))) for reply in replies[:-1])]
    with pytest.raises(StopIteration) as stop:
        part.send(encode(replies[-1]))
    return sent, stop.value.value


def test_a_step() -> None:
    sent, reply = drive(step({"ping": 1}), {"ok": 1.0, "n": 5})
    assert (sent, reply["n"]) == ([{"ping": 1}], 5)


def test_a_step_that_fails() -> None:
    part = step({"ping": 1})
    next(part)
    reply = encode({"ok": 0.0, "code": 6})
    with pytest.raises(FailedError) as failed:
        part.send(reply)
    assert failed.value.reply == reply


def test_a_cursor_is_read_to_its_end() -> None:
    first = {"cursor": {"id": 7, "firstBatch": [1]}, "ok": 1.0}
    second = {"cursor": {"id": 7, "nextBatch": [2, 3]}, "ok": 1.0}
    last = {"cursor": {"id": 0, "nextBatch": [4]}, "ok": 1.0}
    sent, items = drive(drained({"find": "a", "$db": "d"}, "a"), first, second, last)
    assert items == [1, 2, 3, 4]
    more = {"getMore": 7, "collection": "a", "$db": "d"}
    assert sent == [{"find": "a", "$db": "d"}, more, more]
