"""Who asks while the process ends is refused in words that drivers act upon."""

from typing import Any

import bson
import pytest

from mdb_proxy.farewell import farewell
from mdb_proxy.wire import MORE_TO_COME, OP_QUERY, Frame, wrap
from tests.support.talks import heard, message, one_frame


@pytest.mark.parametrize(
    ("command", "labels"),
    [
        ({"find": "c"}, None),
        ({"insert": "c", "txnNumber": 1}, ["RetryableWriteError"]),
        ({"insert": "c", "txnNumber": 1, "autocommit": False}, ["TransientTransactionError"]),
        ({"commitTransaction": 1, "autocommit": False}, ["RetryableWriteError"]),
    ],
)
def test_what_is_said(command: dict[str, Any], labels: list[str] | None) -> None:
    sent = message({**command, "$db": "shop"})
    for data in (sent, wrap(sent, "zlib")):
        said = heard(one_frame(farewell(one_frame(data))))
        assert said.response_to == 7
        assert (said.body["ok"], said.body["code"]) == (0.0, 91)
        assert said.body["codeName"] == "ShutdownInProgress"
        assert said.body.get("errorLabels") == labels


@pytest.mark.parametrize(
    "frame",
    [
        one_frame(message({"insert": "c"}, flags=MORE_TO_COME)),
        one_frame(message(bson.encode({"a": 1})[:-1] + b"\1")),
        Frame(1, 0, OP_QUERY, b""),
        Frame(1, 0, 2013, b""),
    ],
)
def test_nothing_is_said(frame: Frame) -> None:
    assert farewell(frame) == b""
