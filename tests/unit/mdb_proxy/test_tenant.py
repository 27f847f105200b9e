"""A logged-in client's commands: what the cluster is sent, where, and what is remembered of it."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import bson
import pytest
from bson import Binary, Int64, Timestamp

from mdb_engine.exceptions import OperationFailedError, RefusedError
from mdb_engine.scope.model import Features
from mdb_proxy.cursors import SESSION_SECONDS
from mdb_proxy.decisions import Answer, Exchange, Run
from tests.support.asked import (
    COUNT,
    FIND,
    MORE,
    OK,
    TRANSACTION,
    Fields,
    client_session,
    cluster_session,
    followed,
    opened,
    shop,
    talks,
)
from tests.support.talks import (
    MEMBER,
    Talk,
    World,
    carry_out,
    heard,
    one_frame,
    steps_of,
    told,
)

# Where commands go.


@pytest.mark.parametrize(
    ("command", "sent"),
    [
        (FIND, None),
        ({**FIND, "$readPreference": {"mode": "primary"}}, {"mode": "primary"}),
        (
            {**FIND, "$readPreference": {"mode": "nearest", "tags": [{"dc": "a"}, {}]}},
            {"mode": "nearest", "tags": [{"dc": "a"}, {}]},
        ),
        ({**FIND, "$readPreference": "secondary"}, None),
        ({**FIND, "$readPreference": None}, None),
        ({**COUNT, "$readPreference": {"mode": "secondary"}}, {"mode": "secondary"}),
        (
            {
                "insert": "tasks",
                "documents": [{}],
                "$db": "shop",
                "$readPreference": {"mode": "secondary"},
            },
            None,
        ),
        ({**FIND, **TRANSACTION, "$readPreference": {"mode": "primary"}}, None),
    ],
)
def test_read_preferences(command: Fields, sent: Fields | None) -> None:
    exchange = shop().forward(command).exchange
    assert exchange.read_preference == sent
    assert exchange.app == "shop"
    assert "$readPreference" not in told(exchange)


def test_an_explanation_is_made_where_the_client_would_read() -> None:
    inner = {"aggregate": "tasks", "pipeline": [], "cursor": {}}
    preference = {"mode": "secondary"}
    command = {"explain": inner, "$readPreference": preference, "$db": "shop"}
    decision = shop().decide(command)
    assert isinstance(decision, Run)
    first = next(decision.steps)
    assert isinstance(first, Exchange)
    assert (told(first)["listCollections"], first.read_preference) == (1, preference)
    listed = {"cursor": {"id": Int64(0), "ns": "x", "firstBatch": []}, "ok": 1.0}
    second = decision.steps.send(Answer(bson.encode(listed), "m2:27017"))
    assert isinstance(second, Exchange)
    assert (second.pin, second.read_preference) == ("m2:27017", None)


def test_replies_speak_the_apps_words() -> None:
    reply = shop().ask(FIND, opened(0))
    assert reply["cursor"]["ns"] == "shop.tasks"
    wrong = {"ok": 0.0, "errmsg": "no such thing: appdata.shop_tasks", "code": 2}
    assert shop().ask(FIND, wrong)["errmsg"] == "no such thing: shop.tasks"


# Sessions.


@pytest.mark.parametrize(
    ("command", "forwarded"),
    [
        (FIND, True),
        ({"aggregate": "tasks", "pipeline": [], "cursor": {}, "$db": "shop"}, True),
        ({"listIndexes": "tasks", "$db": "shop"}, True),
        (COUNT, False),
        ({"distinct": "tasks", "key": "a", "$db": "shop"}, False),
        ({"insert": "tasks", "documents": [{}], "$db": "shop"}, False),
        ({"insert": "tasks", "documents": [{}], "txnNumber": Int64(5), "$db": "shop"}, True),
        ({**COUNT, "txnNumber": Int64(1), "autocommit": False}, True),
        ({**COUNT, "autocommit": False}, True),
        ({**COUNT, "readConcern": {"afterClusterTime": Timestamp(1, 1)}}, True),
        ({**COUNT, "readConcern": {"level": "majority"}}, False),
        ({"commitTransaction": 1, "txnNumber": Int64(1), "$db": "admin"}, True),
    ],
)
def test_sessions_are_forwarded_when_they_matter(command: Fields, forwarded: bool) -> None:
    world, (talk, other) = talks("shop", "shop-2")
    sent = told(talk.forward({**command, "lsid": client_session()}).exchange)
    assert ("lsid" in sent) == forwarded
    if forwarded:
        assert sent["lsid"] == cluster_session()
        second = told(other.forward({**command, "lsid": client_session()}).exchange)
        assert second["lsid"] == cluster_session(user="shop-2")
    assert len(world.sessions.of("shop", "shop")) == forwarded
    assert "lsid" not in told(talk.forward(command).exchange)


def test_an_app_may_have_so_many_sessions() -> None:
    world, (talk, crm) = talks("shop", "crm", max_sessions=2)
    for number in (1, 2, 1):
        talk.forward({**FIND, "lsid": client_session(number)})
    reply = talk.ask({**FIND, "lsid": client_session(3)})
    assert (reply["code"], reply["errorLabels"]) == (
        462,
        ["SystemOverloadedError", "RetryableError"],
    )
    talk.forward({**COUNT, "lsid": client_session(3)})
    talk.forward({**FIND, "lsid": client_session(2)})
    crm.forward({**FIND, "lsid": client_session(3), "$db": "crm"})
    talk.ask({"endSessions": [client_session(1)], "$db": "admin"}, OK)
    talk.forward({**FIND, "lsid": client_session(3)})
    world.wait(SESSION_SECONDS + 1)
    talk.forward({**FIND, "lsid": client_session(4)})


# Transactions.


def test_a_transaction_stays_where_it_began() -> None:
    talk = shop()
    start = {**FIND, **TRANSACTION, "startTransaction": True}
    decision = talk.forward(start)
    assert decision.exchange.pin is None
    carry_out(decision, [opened(0)], "m2:27017")
    insert = {"insert": "tasks", "documents": [{}], **TRANSACTION, "$db": "shop"}
    assert talk.forward(insert).exchange.pin == "m2:27017"
    assert talk.forward({**insert, "txnNumber": Int64(2)}).exchange.pin is None
    assert talk.forward({**insert, "lsid": client_session(2)}).exchange.pin is None
    assert talk.forward({**insert, "txnNumber": "x"}).exchange.pin is None
    commit = {"commitTransaction": 1, **TRANSACTION, "$db": "admin"}
    decision = talk.forward(commit)
    assert decision.exchange.pin == "m2:27017"
    assert told(decision.exchange) == {
        "commitTransaction": 1,
        "txnNumber": 1,
        "autocommit": False,
        "lsid": cluster_session(),
        "$db": "admin",
    }
    assert talk.forward(commit).exchange.pin is None, "the second try looks for the new primary"
    carry_out(decision, [OK], "m3:27017")
    assert talk.forward(commit).exchange.pin == "m3:27017"


@pytest.mark.parametrize("name", ["commitTransaction", "abortTransaction"])
def test_what_failed_pins_nothing(name: str) -> None:
    talk = shop()
    failed = {"ok": 0.0, "code": 10107, "errmsg": "not primary"}
    talk.ask({**FIND, **TRANSACTION, "startTransaction": True}, failed)
    assert talk.forward({name: 1, **TRANSACTION, "$db": "admin"}).exchange.pin is None


def test_another_user_cannot_spell_the_session() -> None:
    _, (talk, other, crm) = talks("shop", "shop-2", "crm")
    talk.ask({**FIND, **TRANSACTION, "startTransaction": True}, opened(0))
    for each, db in ((other, "shop"), (crm, "crm")):
        exchange = each.forward({**FIND, **TRANSACTION, "$db": db}).exchange
        assert exchange.pin is None
        assert told(exchange)["lsid"] != cluster_session()


@pytest.mark.parametrize(
    "command",
    [
        {"listCollections": 1, "$db": "shop"},
        {"listDatabases": 1, "$db": "admin"},
        {"dropDatabase": 1, "$db": "shop"},
        {"aggregate": "tasks", "pipeline": [{"$out": "x"}], "cursor": {}, "$db": "shop"},
        {"ping": 1, "$db": "shop"},
        {"endSessions": [], "$db": "shop"},
    ],
)
def test_what_cannot_be_in_a_transaction(command: Fields) -> None:
    assert shop().ask({**command, **TRANSACTION})["code"] == 263


# A batch of which statements are refused.

TAKEN = {"q": {}, "u": {"$set": {"app_id": "x"}}}
FINE = {"q": {"a": 1}, "u": {"$set": {"b": 1}}}
BATCH = {"update": "tasks", "$db": "shop"}


@pytest.mark.parametrize(
    ("updates", "ordered", "sent", "cluster", "errors"),
    [
        ([TAKEN], True, 0, [], [(0, 66)]),
        ([TAKEN, FINE], True, 0, [], [(0, 66)]),
        ([TAKEN, FINE], False, 1, [{"n": 1, "nModified": 1, "ok": 1.0}], [(0, 66)]),
        ([FINE, TAKEN, FINE], True, 1, [{"n": 1, "nModified": 1, "ok": 1.0}], [(1, 66)]),
    ],
)
def test_a_batch(
    updates: list[Fields],
    ordered: bool,
    sent: int,
    cluster: list[Fields],
    errors: list[tuple[int, int]],
) -> None:
    talk = shop()
    decision = talk.decide({**BATCH, "ordered": ordered}, updates=updates)
    if sent:
        assert len(told(decision.exchange)["updates"]) == sent  # type: ignore[union-attr]
    reply = heard(one_frame(carry_out(decision, cluster))).body
    assert (reply["ok"], reply["n"]) == (1.0, sent)
    assert [(e["index"], e["code"]) for e in reply["writeErrors"]] == errors


def abort(steps: list[Fields]) -> list[str]:
    return [next(iter(step)) for step in steps]


@pytest.mark.parametrize(
    ("updates", "start", "names"),
    [
        ([TAKEN], True, []),
        ([TAKEN], False, ["abortTransaction"]),
        ([FINE, TAKEN], True, ["update", "abortTransaction"]),
        ([FINE, TAKEN], False, ["update", "abortTransaction"]),
    ],
)
def test_in_a_transaction_a_refused_statement_ends_it(
    updates: list[Fields], start: bool, names: list[str]
) -> None:
    talk = shop()
    command = {**BATCH, **TRANSACTION, **({"startTransaction": True} if start else {})}
    answers = [{"n": 1, "nModified": 1, "ok": 1.0}, OK][-len(names) :] if names else []
    sent = steps_of(talk.decide(command, updates=updates), *answers)
    assert abort(sent) == names
    if names:
        assert sent[-1] == {
            "abortTransaction": 1,
            "lsid": cluster_session(),
            "txnNumber": 1,
            "autocommit": False,
            "$db": "admin",
        }
    reply = talk.ask(command, *answers, updates=updates)
    assert reply["writeErrors"][0]["code"] == 66


def test_the_abort_goes_to_the_transactions_member() -> None:
    talk = shop()
    start = {**FIND, **TRANSACTION, "startTransaction": True}
    carry_out(talk.forward(start), [opened(0)], "m2:27017")
    decision = talk.decide({**BATCH, **TRANSACTION}, updates=[TAKEN])
    assert isinstance(decision, Run)
    assert next(decision.steps).pin == "m2:27017"
    decision.steps.close()


@pytest.mark.parametrize(
    "statement",
    [
        {"find": "tasks", "filter": 5},
        {"find": "eu_tasks$"},
        {"update": "tasks", "updates": [{"q": {"$where": "1"}, "u": {}}]},
        {"getMore": Int64(5), "collection": "tasks"},
        {"nope": 1},
    ],
)
def test_a_transaction_ends_with_a_command_that_is_refused(statement: Fields) -> None:
    world, (talk,) = talks("shop")
    start = {**FIND, **TRANSACTION, "startTransaction": True}
    carry_out(talk.forward(start), [opened(0)], "m2:27017")
    decision = talk.decide({**statement, **TRANSACTION, "$db": "shop"})
    assert isinstance(decision, Run)
    exchange = next(decision.steps)
    assert exchange.pin == "m2:27017"
    assert told(exchange) == {
        "abortTransaction": 1,
        "lsid": cluster_session(),
        "txnNumber": 1,
        "autocommit": False,
        "$db": "admin",
    }
    with pytest.raises(RefusedError):
        decision.steps.send(Answer(bson.encode(OK), "m2:27017"))
    world.sessions.admit("shop", 1, world.tick())


API = {"apiVersion": "1", "apiStrict": True, "apiDeprecationErrors": False}


@pytest.mark.parametrize(("said", "open_still"), [(OK, False), ({"ok": 0.0, "code": 347}, True)])
def test_an_abort_names_the_api_version(said: Fields, open_still: bool) -> None:
    """The cluster refuses one of another version: then the transaction still takes its place."""
    world, (talk,) = talks("shop")
    start = {**FIND, **TRANSACTION, **API, "startTransaction": True}
    carry_out(talk.forward(start), [opened(0)])
    decision = talk.decide({"find": "tasks", "filter": 5, **TRANSACTION, **API, "$db": "shop"})
    assert isinstance(decision, Run)
    assert told(next(decision.steps)).items() >= API.items()
    with pytest.raises(RefusedError):
        decision.steps.send(Answer(bson.encode(said), "m1:27017"))
    assert len(world.sessions.transactions("shop")) == open_still


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({"find": "tasks", "filter": 5, "startTransaction": True}, 14),
        ({"find": "tasks", "filter": 5, "autocommit": True}, 14),
        ({"find": "tasks", "filter": 5, "txnNumber": Int64(9)}, 14),
        ({"find": "tasks", "filter": 5, "txnNumber": "1"}, 14),
        ({"find": "tasks", "filter": 5, "lsid": {"id": 5}}, 14),
        ({"commitTransaction": 1, "x": 5, "$db": "admin"}, 40415),
        ({"listCollections": 1}, 263),
    ],
)
def test_what_does_not_end_a_transaction(command: Fields, code: int) -> None:
    talk = shop()
    talk.ask({**FIND, **TRANSACTION, "startTransaction": True}, opened(0))
    first, value = next(iter(command.items()))
    given = {first: value, **TRANSACTION, "$db": "shop", **command}
    assert talk.ask(given)["code"] == code


@pytest.mark.parametrize(
    ("opened_in", "read_in", "code"),
    [(None, 1, 50736), (1, None, 50737), (1, 2, 50738)],
)
def test_a_cursor_is_read_in_the_session_that_opened_it(
    opened_in: int | None, read_in: int | None, code: int
) -> None:
    talk = shop()
    sessions = [{"lsid": client_session(n)} if n else {} for n in (opened_in, read_in)]
    talk.ask({**FIND, **sessions[0]}, opened())
    assert talk.ask({**MORE, **sessions[1]})["code"] == code


# Plans.


def test_a_plan_is_one_members_work() -> None:
    decision = shop().decide({"listDatabases": 1, "nameOnly": True, "$db": "admin"})
    assert isinstance(decision, Run)
    first = next(decision.steps)
    assert (told(first)["listCollections"], first.pin, first.app) == (1, None, "shop")
    decision.steps.close()
    decision = shop().decide({"dropDatabase": 1, "lsid": client_session(), "$db": "shop"})
    names = [{"name": "shop_tasks", "type": "collection"}]
    listed = {"cursor": {"id": Int64(0), "ns": "x", "firstBatch": names}, "ok": 1.0}
    steps = steps_of(decision, listed, OK, OK)
    assert [next(iter(step)) for step in steps] == ["listCollections", "drop", "delete"]
    assert not any("lsid" in step for step in steps)


def test_later_steps_are_pinned() -> None:
    decision = shop().decide({"dropDatabase": 1, "$db": "shop"})
    assert isinstance(decision, Run)
    names = [{"name": "shop_tasks", "type": "collection"}]
    listed = {"cursor": {"id": Int64(0), "ns": "x", "firstBatch": names}, "ok": 1.0}
    next(decision.steps)
    answer = Answer(bson.encode(listed), "m2:27017")
    assert decision.steps.send(answer).pin == "m2:27017"
    decision.steps.close()


FIELD = {"type": "vector", "path": "v", "numDimensions": 1, "similarity": "dotProduct"}
NEAR = {"index": "i", "path": "v", "queryVector": [1.0], "limit": 9, "exact": True}
SEARCH = {"aggregate": "tasks", "pipeline": [{"$vectorSearch": NEAR}], "cursor": {}, "$db": "shop"}


def found_first() -> list[Fields]:
    """What a search is told before it searches: the collection, its index, the candidates."""
    uuid = Binary.from_uuid(UUID(int=1))
    stored = {
        "_id": {"uuid": uuid, "name": "i"},
        "id": "1",
        "type": "vectorSearch",
        "definition": {"fields": [FIELD]},
    }
    there = {"name": "shop_tasks", "type": "collection", "info": {"uuid": uuid}}
    batches = [{"id": Int64(0), "ns": "x", "firstBatch": [each]} for each in (there, stored)]
    return [*({"cursor": each, "ok": 1.0} for each in batches), {"n": 3, "ok": 1.0}]


def test_a_cursor_that_a_plan_leaves_open_is_the_clients() -> None:
    world, (talk, other) = talks("shop", "crm")
    asked = {**SEARCH, "lsid": client_session()}
    steps = steps_of(talk.decide(asked), *found_first(), opened())
    names = ["listCollections", "find", "count", "aggregate"]
    assert [next(iter(step)) for step in steps] == names
    assert [step.get("lsid") for step in steps] == [None, None, None, cluster_session()]
    reply = talk.ask(asked, *found_first(), opened())
    assert reply["cursor"]["ns"] == "shop.tasks"
    assert world.cursors.count("shop") == 1
    more = {**MORE, "lsid": client_session()}
    assert other.ask({**more, "$db": "crm"})["code"] == 43
    assert talk.ask(MORE)["code"] == 50737
    forward = talk.forward(more)
    assert told(forward.exchange)["collection"] == "shop_tasks"
    assert forward.exchange.pin == MEMBER
    carry_out(forward, [followed(0)])
    assert world.cursors.count("shop") == 0


def test_a_list_of_indexes_is_read_on_where_it_comes_from() -> None:
    world, (talk,) = talks("shop")
    listing = {**SEARCH, "pipeline": [{"$listSearchIndexes": {}}]}
    ns = "appdata.$cmd.aggregate"
    reply = talk.ask(listing, *found_first()[:2], opened(ns=ns))
    assert reply["cursor"]["ns"] == "shop.tasks"
    forward = talk.forward(MORE)
    assert told(forward.exchange)["collection"] == "$cmd.aggregate"
    assert carry_out(forward, [followed(0, ns)])
    assert world.cursors.count("shop") == 0


def test_documents_of_a_plan_are_counted() -> None:
    world = World(**STRICT)
    talk = Talk(world, "shop")
    assert len(talk.ask(SEARCH, *found_first(), page(5))["cursor"]["firstBatch"]) == 5
    with pytest.raises(OperationFailedError):
        talk.ask(SEARCH, *found_first(), page(6))
    with pytest.raises(OperationFailedError):
        talk.ask(SEARCH, *found_first(), page(6, 9), OK)
    assert world.cursors.count("shop") == 0
    talk.ask(SEARCH, *found_first(), page(4, 9))
    more = {"getMore": Int64(9), "collection": "tasks", "$db": "shop"}
    with pytest.raises(OperationFailedError):
        talk.ask(more, page(2, 9, "nextBatch"), OK)


def test_a_plan_that_fails_leaves_nothing() -> None:
    world, (talk,) = talks("shop")
    failed = {"ok": 0.0, "code": 50, "errmsg": "late"}
    assert talk.ask(SEARCH, *found_first(), failed)["code"] == 50
    assert talk.ask({**SEARCH, **TRANSACTION})["code"] == 263
    assert world.cursors.count("shop") == 0


BULK = {"bulkWrite": 1, "$db": "admin"}
SPACES = [{"ns": "shop.tasks"}]
REMOVE = {"delete": 0, "filter": {}}
REFUSED = {"update": 0, "filter": {}, "updateMods": {"$unset": {"app_id": 1}}}
NONE = dict.fromkeys(("nInserted", "nMatched", "nModified", "nUpserted", "nDeleted"), 0)


def modern() -> tuple[World, Talk]:
    """Give a client in front of a server of 8.0."""
    world = World()
    known = world.directory
    scopes = {s: replace(each, features=Features((8, 0))) for s, each in known.scopes.items()}
    world.directory = replace(known, scopes=scopes)
    return world, Talk(world, "shop")


def results(*items: Fields, number: int = 0, key: str = "firstBatch") -> Fields:
    cursor = {"id": Int64(number), "ns": "admin.$cmd.bulkWrite", key: list(items)}
    return {"cursor": cursor, "nErrors": 0, **NONE, "ok": 1.0}


def test_a_bulk_write_travels_as_two_sequences() -> None:
    _, talk = modern()
    exchange = talk.forward(BULK, ops=[REMOVE], nsInfo=SPACES).exchange
    assert {name for name, _ in exchange.sections} == {"nsInfo", "ops"}
    sent = told(exchange)
    assert sent["nsInfo"] == [{"ns": "appdata.shop_tasks"}]
    assert sent["ops"] == [{"delete": 0, "filter": {"app_id": "shop"}}]
    assert sent["$db"] == "admin"


def test_the_results_of_a_bulk_write_are_read_on_at_admin() -> None:
    world, talk = modern()
    item = {"ok": 1.0, "idx": 0, "n": 1}
    given = {**BULK, "ops": [REMOVE], "nsInfo": SPACES}
    assert talk.ask(given, results(item, number=99))["cursor"]["ns"] == "admin.$cmd.bulkWrite"
    more = {"getMore": Int64(99), "collection": "$cmd.bulkWrite", "$db": "admin"}
    assert talk.ask({**more, "$db": "shop"})["code"] == 13
    forward = talk.forward(more)
    sent = told(forward.exchange)
    assert (sent["collection"], sent["$db"]) == ("$cmd.bulkWrite", "admin")
    heard_ = heard(one_frame(carry_out(forward, [results(number=99, key="nextBatch")]))).body
    assert heard_["cursor"]["ns"] == "admin.$cmd.bulkWrite"
    kill = {"killCursors": "$cmd.bulkWrite", "cursors": [Int64(99)], "$db": "admin"}
    killed = {"cursorsKilled": [Int64(99)], "ok": 1.0}
    assert talk.ask(kill, killed)["cursorsKilled"] == [99]
    assert world.cursors.count("shop") == 0


def test_a_bulk_write_with_refused_statements() -> None:
    _, talk = modern()
    given = {**BULK, "nsInfo": SPACES, "ordered": False}
    none = talk.ask({**given, "ops": [REFUSED]})
    assert (none["nErrors"], none["cursor"]["firstBatch"][0]["code"]) == (1, 66)
    item = {"ok": 1.0, "idx": 0, "n": 1}
    some = talk.ask({**given, "ops": [REFUSED, REMOVE]}, results(item))
    assert [each["idx"] for each in some["cursor"]["firstBatch"]] == [0, 1]
    steps = steps_of(
        talk.decide({**given, "ops": [REMOVE, REFUSED], **TRANSACTION}), results(item), OK
    )
    assert [next(iter(step)) for step in steps] == ["bulkWrite", "abortTransaction"]
    # A transaction ends at the first error, in whatever order.
    steps = steps_of(talk.decide({**given, "ops": [REFUSED, REMOVE], **TRANSACTION}), OK)
    assert [next(iter(step)) for step in steps] == ["abortTransaction"]


def test_open_transactions_are_limited() -> None:
    talk = Talk(World(max_transactions=1), "shop")
    begin = {"find": "t", "startTransaction": True, "autocommit": False, "$db": "shop"}
    found = {"cursor": {"id": Int64(0), "ns": "appdata.shop_t", "firstBatch": []}, "ok": 1.0}
    ids = [Binary(bytes([n]) * 16, 4) for n in range(2)]
    first = {**begin, "txnNumber": Int64(1), "lsid": {"id": ids[0]}}
    assert talk.ask(first, found)["ok"] == 1.0
    second = {**begin, "txnNumber": Int64(1), "lsid": {"id": ids[1]}}
    assert talk.ask(second)["code"] == 462
    abort = {"abortTransaction": 1, "autocommit": False, "$db": "admin"}
    ended = {**abort, "txnNumber": Int64(1), "lsid": {"id": ids[0]}}
    assert talk.ask(ended, {"ok": 1.0})["ok"] == 1.0
    assert talk.ask(second, found)["ok"] == 1.0


# A reader who wants to know when a result is not whole.


def page(size: int, number: int = 0, key: str = "firstBatch") -> dict[str, Any]:
    batch = [{"_id": n} for n in range(size)]
    return {"cursor": {"id": Int64(number), "ns": "appdata.shop_tasks", key: batch}, "ok": 1.0}


STRICT: dict[str, Any] = {"max_results": 5, "result_overflow": "error"}
READS = [
    {"find": "tasks", "$db": "shop"},
    {"find": "tasks", "limit": 6, "$db": "shop"},
    {"aggregate": "tasks", "pipeline": [], "cursor": {}, "$db": "shop"},
]


@pytest.mark.parametrize("command", READS, ids=str)
def test_one_document_too_many_is_an_error(command: dict[str, Any]) -> None:
    talk = Talk(World(**STRICT), "shop")
    asked = talk.decide(command)
    assert isinstance(asked, Run)
    text = str(told(next(asked.steps)))
    assert "'limit': 6" in text or "'$limit': 6" in text
    assert len(talk.ask(command, page(5))["cursor"]["firstBatch"]) == 5
    with pytest.raises(OperationFailedError, match="exceeds the limit of 5 documents"):
        talk.ask(command, page(6))
    with pytest.raises(OperationFailedError):
        talk.ask(command, page(6, 9), {"ok": 1.0})


def test_documents_are_counted_over_all_batches() -> None:
    world = World(**STRICT)
    talk = Talk(world, "shop")
    talk.ask(READS[0], page(3, 9))
    more = {"getMore": Int64(9), "collection": "tasks", "$db": "shop"}
    assert len(talk.ask(more, page(1, 9, "nextBatch"))["cursor"]["nextBatch"]) == 1
    with pytest.raises(OperationFailedError):
        talk.ask(more, page(2, 9, "nextBatch"), {"ok": 1.0})
    assert world.cursors.count("shop") == 0
    talk.ask(READS[0], page(3, 9))
    assert talk.ask(more, {"ok": 0.0, "code": 43, "errmsg": "gone"})["code"] == 43
    talk.ask(READS[0], page(3, 9))
    assert talk.ask(more, page(2, 0, "nextBatch"))["ok"] == 1.0


def test_who_asks_for_fewer_is_not_counted() -> None:
    talk = Talk(World(**STRICT), "shop")
    assert talk.forward({"find": "tasks", "limit": 5, "$db": "shop"})


@pytest.mark.parametrize("scale", [0, -1, 0.5, "1"])
def test_a_plan_that_ends_before_its_first_step_is_an_answer(scale: Any) -> None:
    reply = Talk(World(), "shop").ask({"dbStats": 1, "scale": scale, "$db": "shop"})
    assert reply["ok"] == 0.0
    assert reply["errmsg"].startswith("scale has to be")
