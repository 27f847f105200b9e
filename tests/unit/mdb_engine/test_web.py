import subprocess
import sys
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from bson import Binary, Code, DBRef, Decimal128, MaxKey, ObjectId, Regex, Timestamp

from mdb_engine.web import ENCODERS, make_app, teach_json
from tests.support import config

IDENTITY = ObjectId("0123456789abcdef01234567")
TEXTS = [
    (IDENTITY, "0123456789abcdef01234567"),
    (Decimal128("1.10"), "1.10"),
    (Binary(b"\xff"), "/w=="),
    (Binary.from_uuid(UUID(int=1)), "00000000-0000-0000-0000-000000000001"),
    (Code("x"), "x"),
    (Regex("^a"), "^a"),
    (Timestamp(0, 1), "1970-01-01T00:00:00+00:00"),
    (MaxKey(), "MaxKey()"),
    (DBRef("c", 1), {"$ref": "c", "$id": 1}),
]


@pytest.mark.parametrize(("value", "text"), TEXTS)
def test_what_json_can_say(value: Any, text: Any) -> None:
    assert ENCODERS[type(value)](value) == text


def test_fastapi_learns_it(monkeypatch: pytest.MonkeyPatch) -> None:
    table: dict[type, Any] = {ObjectId: repr}
    monkeypatch.setitem(sys.modules, "fastapi.encoders", SimpleNamespace(ENCODERS_BY_TYPE=table))
    teach_json()
    assert table[ObjectId] is repr, "what was there stays"
    assert table[Decimal128] is str


def test_nothing_is_loaded_for_it() -> None:
    text = "import sys, mdb_engine.web as w; w.teach_json(); print('fastapi' in sys.modules)"
    done = subprocess.run(  # noqa: S603 - our own text
        [sys.executable, "-c", text],
        env=config.environment(PYTHONPATH=":".join(filter(None, sys.path))),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "False"


def test_an_app_with_a_lifespan() -> None:
    app = make_app(None, {"title": "A"})
    assert app.title == "A"
