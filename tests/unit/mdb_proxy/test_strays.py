"""Cursors that no table here holds: whose members are asked, how, and what comes of it."""

from dataclasses import replace
from typing import Any

import bson
import pytest

from mdb_engine.exceptions import CursorNotFoundError
from mdb_proxy.cursors import SESSION_SECONDS
from mdb_proxy.decisions import Answer, Run
from mdb_proxy.envelope import refusal
from mdb_proxy.quotas import SEARCHES_PER_SECOND
from mdb_proxy.session import SURE_SECONDS
from tests.support.asked import (
    FIND,
    MORE,
    TRANSACTION,
    Fields,
    client_session,
    cluster_session,
    followed,
    opened,
)
from tests.support.talks import MEMBER, Talk, World, carry_out, credential, heard, one_frame, told

MEMBERS = ("one:1", "two:2")
OURS = {**MORE, "lsid": client_session()}
FOREIGN = {
    "ok": 0.0,
    "code": 50738,
    "errmsg": "Cannot run getMore on cursor 99, which was created in session secret",
}


def talk(user: str = "shop", world: World | None = None, **limits: Any) -> Talk:
    found = world or World(credential("shop-2", "shop"), **limits)
    return Talk(found, user, members=lambda: MEMBERS)


def sent_by(decision: Any, *answers: Fields) -> list[Fields]:
    """Give what is sent to the cluster, also when the cursor is not found in the end."""
    sent, left = [], iter(answers)
    try:
        step = next(decision.steps)
        while True:
            sent.append(told(step))
            step = decision.steps.send(Answer(bson.encode(next(left)), MEMBER))
    except (StopIteration, CursorNotFoundError):
        return sent


def code(found: Talk, command: Fields, *answers: Fields) -> Any:
    """Give code and labels of the reply; who carries decisions out answers what they raise."""
    try:
        reply = found.ask(command, *answers)
    except CursorNotFoundError as error:
        reply = bson.decode(refusal(error))
    return reply.get("code"), reply.get("errorLabels")


def test_each_member_is_asked_once_and_by_our_names() -> None:
    steps = sent_by(talk().decide({**OURS, "batchSize": 5}), FOREIGN, followed())
    assert [step["collection"] for step in steps] == ["shop_tasks", "shop_tasks"]
    assert [step["$db"] for step in steps] == ["appdata", "appdata"]
    assert [step["lsid"] for step in steps] == [cluster_session(), cluster_session()]
    assert [step["batchSize"] for step in steps] == [5, 5]


def test_where_it_is_found_it_is_known_from_then_on() -> None:
    found = talk()
    reply = found.ask(OURS, FOREIGN, followed())
    assert (reply["cursor"]["ns"], reply["cursor"]["nextBatch"]) == ("shop.tasks", [{"a": 2}])
    assert found.world.cursors.count("shop") == 1
    forward = found.forward(OURS)
    assert forward.exchange.pin == MEMBER
    assert heard(one_frame(carry_out(forward, [followed(0)]))).body["cursor"]["id"] == 0
    assert found.world.cursors.count("shop") == 0


def test_what_the_members_say_is_not_told() -> None:
    with pytest.raises(CursorNotFoundError) as caught:
        talk().ask(OURS, FOREIGN, FOREIGN)
    assert bson.decode(refusal(caught.value)) == {
        "ok": 0.0,
        "errmsg": "cursor id 99 not found",
        "code": 43,
        "codeName": "CursorNotFound",
    }


@pytest.mark.parametrize(
    ("fields", "labels"),
    [
        ({"lsid": None}, None),
        ({"collection": "$cmd.aggregate"}, ["ResumableChangeStreamError"]),
        ({"collection": "$cmd.aggregate", "lsid": None}, ["ResumableChangeStreamError"]),
        ({"collection": "$cmd.listCollections"}, None),
        ({"collection": "$cmd.bulkWrite"}, None),
        ({"collection": "$cmd.listIndexes.tasks"}, None),
        ({"collection": "system.views"}, None),
        ({"collection": "@@out.x"}, None),
        ({"collection": ""}, None),
    ],
)
def test_nobody_is_asked_for(fields: Fields, labels: Any) -> None:
    command = {n: v for n, v in {**OURS, **fields}.items() if v is not None}
    assert code(talk(), command) == (43, labels)


def test_a_collection_that_is_no_name_is_refused_as_ever() -> None:
    assert code(talk(), {**OURS, "collection": 1})[0] == 43


def test_a_session_is_mapped_by_app_and_user() -> None:
    world = World(credential("shop-2", "shop"))
    seen = {
        str(sent_by(talk(user, world).decide({**OURS, "$db": db}), FOREIGN, FOREIGN)[0]["lsid"])
        for user, db in (("shop", "shop"), ("shop-2", "shop"), ("crm", "crm"))
    }
    assert len(seen) == 3


def test_the_names_of_others_are_our_own() -> None:
    steps = sent_by(talk("crm").decide({**OURS, "$db": "crm", "collection": "shop_tasks"}),
                     FOREIGN, FOREIGN)  # fmt: skip
    assert {step["collection"] for step in steps} == {"crm_shop_tasks"}


def test_so_many_a_second() -> None:
    found = talk()
    for _ in range(SEARCHES_PER_SECOND):
        assert code(found, OURS, FOREIGN, FOREIGN)[0] == 43
    assert code(found, OURS)[0] == 43
    other = talk("crm", found.world)
    assert code(other, {**OURS, "$db": "crm"}, FOREIGN, FOREIGN)[0] == 43
    found.world.wait(1)
    assert code(found, OURS, FOREIGN, FOREIGN)[0] == 43


def test_what_was_withdrawn_is_not_looked_for() -> None:
    found = talk()
    found.world.cursors.doubt("shop", found.world.tick())
    assert code(found, OURS)[0] == 43
    found.world.wait(SESSION_SECONDS + 1)
    assert code(found, OURS, FOREIGN, FOREIGN)[0] == 43


def test_who_did_not_hear_of_the_ledger_asks_nobody() -> None:
    found = talk()
    old = found.world.tick() - SURE_SECONDS - 1
    found.world.directory = replace(found.world.directory, confirmed=old)
    assert code(found, OURS)[0] == 43


def test_who_waits_for_news_says_so() -> None:
    decision = talk().decide({**OURS, "maxTimeMS": 500})
    assert isinstance(decision, Run)
    made = next(decision.steps)
    assert made.awaited  # type: ignore[union-attr]
    assert sent_by(talk().decide({**OURS, "maxTimeMS": 500}), followed())[0]["maxTimeMS"] == 500


def test_in_a_transaction_the_primary_alone_is_asked_and_a_refusal_ends_it() -> None:
    found = talk()
    begin = {**FIND, **TRANSACTION, "startTransaction": True}
    assert found.ask(begin, opened(7))["ok"]
    steps = sent_by(found.decide({**MORE, **TRANSACTION}), FOREIGN, {"ok": 1.0})
    assert [next(iter(step)) for step in steps] == ["getMore", "abortTransaction"]
    assert code(found, {**MORE, **TRANSACTION}, FOREIGN, {"ok": 1.0})[0] == 43


def test_an_allowance_begins_anew() -> None:
    found = talk(max_results=2, result_overflow="error")
    assert found.ask(OURS, followed())["ok"]
    (cursor,) = found.world.cursors.of("shop").values()
    assert cursor.left == 1
