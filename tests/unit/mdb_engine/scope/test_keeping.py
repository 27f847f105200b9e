"""Whatever the cluster answers, the store ends with what is in force; transcripts have the rest.

Transcripts: `tests/cases/plans`.
"""

from typing import Any

import pytest
from bson import decode

from mdb_engine.rawbson import Document, encode
from mdb_engine.scope.commands import rewrite
from mdb_engine.scope.names import ENGINE_PREFIX
from mdb_engine.scope.originals import STORE
from mdb_engine.scope.plans import run_plan
from mdb_engine.scope.replies import Asked
from tests.support.kernel import SHOP

COMMANDS: list[dict[str, Any]] = [
    {"create": "v", "viewOn": "tasks", "pipeline": [{"$count": "n"}], "$db": "app"},
    {"create": "c", "validator": {"a": 1}, "$db": "app"},
    {"collMod": "v", "viewOn": "tasks", "pipeline": [], "$db": "app"},
    {"collMod": "c", "validator": {"a": 1}, "$db": "app"},
    {"drop": "v", "$db": "app"},
    {"renameCollection": "app.c", "to": "app.d", "$db": "admin"},
    {"cloneCollectionAsCapped": "c", "toCollection": "d", "size": 4096, "$db": "app"},
]

KEPT = {"_id": "shop_c 00", "of": "00", "collection": "shop_c", "validator": b""}


class Cluster:
    """A cluster that says no to the command itself, or yes to everything.

    `tidy`: it deletes and updates what is kept; inserting always works.
    """

    def __init__(self, *, willing: bool, tidy: bool = True) -> None:
        self.willing, self.tidy, self.seen = willing, tidy, list[dict[str, Any]]()

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        self.seen.append(command)
        name = next(iter(command))
        if name in ("find", "listCollections"):
            items = [KEPT] if name == "find" else []
            return {"cursor": {"id": 0, "firstBatch": items}, "ok": 1.0}
        if command[name] == STORE:
            return {"ok": 1.0 if self.tidy or name == "insert" else 0.0}
        if self.willing:
            return {"ok": 1.0}
        return {"ok": 0.0, "code": 20, "errmsg": "no: appdata.shop_c"}

    def run(self, command: dict[str, Any]) -> dict[str, Any]:
        given = Document(encode(command))
        plan = run_plan(Asked(given, rewrite(given, SHOP), SHOP), "0123")
        try:
            sent = next(plan)
            while True:
                sent = plan.send(encode(self.answer(decode(encode(sent)))))
        except StopIteration as stop:
            return decode(stop.value)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: next(iter(command)))
@pytest.mark.parametrize("willing", [True, False])
def test_the_answer_is_the_commands_own(command: dict[str, Any], willing: bool) -> None:
    cluster = Cluster(willing=willing)
    reply = cluster.run(command)
    assert reply["ok"] == willing
    assert reply.get("errmsg", "no: app.c") == "no: app.c"
    assert [next(iter(sent)) for sent in cluster.seen].count(next(iter(command))) == 1


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: next(iter(command)))
def test_what_could_not_be_tidied_up_is_not_the_clients_error(command: dict[str, Any]) -> None:
    assert Cluster(willing=True, tidy=False).run(command)["ok"] == 1.0


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: next(iter(command)))
@pytest.mark.parametrize("willing", [True, False])
def test_only_the_store_and_own_names_are_touched(command: dict[str, Any], willing: bool) -> None:
    cluster = Cluster(willing=willing)
    cluster.run(command)
    for sent in cluster.seen:
        target = str(next(iter(sent.values())))
        assert target.startswith(("shop_", "appdata.shop_", "1", STORE)), sent
        assert not target.startswith(ENGINE_PREFIX) or target == STORE
        assert "lsid" not in sent
        assert sent["maxTimeMS"] > 0


def kept_after(seen: list[dict[str, Any]]) -> set[str]:
    """What the store holds in the end, of what was inserted."""
    kept: set[str] = set()
    for sent in seen:
        if "insert" in sent:
            kept |= {item["_id"] for item in sent["documents"]}
        for delete in sent.get("deletes", ()):
            condition = delete["q"]["_id"]
            kept = {found for found in kept if not matches(found, condition)}
    return kept


def matches(found: str, condition: Any) -> bool:
    if isinstance(condition, str):
        return found == condition
    return (
        condition["$gte"] <= found < condition["$lt"]
        and found != condition.get("$ne")
        and found not in condition.get("$nin", ())
    )


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: next(iter(command)))
def test_what_is_in_force_is_kept(command: dict[str, Any]) -> None:
    willing, unwilling = Cluster(willing=True), Cluster(willing=False)
    willing.run(command)
    unwilling.run(command)
    assert len(kept_after(willing.seen)) == (0 if "drop" in command else 1)
    assert kept_after(unwilling.seen) == set()
