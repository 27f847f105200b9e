"""Only what views refuse is run; transcripts have the rest (`tests/cases/plans/explain.json`)."""

from collections.abc import Mapping
from typing import Any

import pytest
from bson import decode

from mdb_engine.rawbson import Document, encode
from mdb_engine.scope.commands import rewrite
from mdb_engine.scope.plans import run_plan
from mdb_engine.scope.replies import Asked
from tests.support.kernel import SHOP

LISTED = {
    "cursor": {"id": 0, "ns": "x", "firstBatch": [{"name": "shop_v", "info": {"uuid": b"u"}}]},
    "ok": 1.0,
}


def sent(inner: dict[str, Any], answers: list[dict[str, Any]]) -> list[Mapping[str, Any]]:
    command = dict(Document(encode({"explain": inner, "$db": "app"})))
    plan = run_plan(Asked(command, rewrite(command, SHOP), SHOP), "0" * 32)
    found = [next(plan)]
    for answer in answers:
        try:
            found.append(plan.send(encode(answer)))
        except StopIteration:
            break
    return [decode(encode(each)) for each in found]


@pytest.mark.parametrize(
    ("inner", "answers", "fence"),
    [
        ({"find": "v"}, [{"ok": 0.0, "code": 168, "errmsg": ""}], "readOnce"),
        (
            {"aggregate": "v", "pipeline": [], "cursor": {}},
            [LISTED, {"ok": 0.0, "code": 361, "errmsg": ""}],
            "collectionUUID",
        ),
    ],
)
def test_nothing_is_run_without_a_fence(
    inner: dict[str, Any], answers: list[dict[str, Any]], fence: str
) -> None:
    asked = [each for each in sent(inner, [*answers, {"ok": 1.0}]) if "explain" in each]
    assert [fence in each["explain"] for each in asked] == [True, False]
    assert [each.get("verbosity") for each in asked] == [None, "queryPlanner"]
