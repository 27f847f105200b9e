"""A logged-in client's commands: what the cluster is sent, where, and what is remembered of it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import bson
import pytest
from bson import Binary, Int64, Timestamp

from mdb_engine.exceptions import OperationFailedError
from mdb_engine.scope.model import Features
from mdb_proxy.cursors import SESSION_SECONDS
from mdb_proxy.decisions import Answer, Reply, Run
from mdb_proxy.lsids import mapped
from mdb_proxy.wire import MORE_TO_COME
from tests.support.talks import (
    MEMBER,
    SECRET,
    Talk,
    World,
    carry_out,
    credential,
    heard,
    one_frame,
    steps_of,
    told,
)

Fields = dict[str, Any]


def client_session(number: int = 1) -> Fields:
    """A session id as a client makes it up."""
    return {"id": Binary.from_uuid(UUID(int=number))}


def cluster_session(number: int = 1, app: str = "shop", user: str = "") -> Fields:
    """The same session as the cluster knows it."""
    data = mapped(UUID(int=number).bytes, app, user or app, SECRET)
    return {"id": UUID(bytes=data)}


def opened(number: int = 99, ns: str = "appdata.shop_tasks") -> Fields:
    return {"cursor": {"id": Int64(number), "ns": ns, "firstBatch": [{"a": 1}]}, "ok": 1.0}


def followed(number: int = 99, ns: str = "appdata.shop_tasks") -> Fields:
    return {"cursor": {"id": Int64(number), "ns": ns, "nextBatch": [{"a": 2}]}, "ok": 1.0}


OK = {"ok": 1.0}
FIND = {"find": "tasks", "$db": "shop"}
COUNT = {"count": "tasks", "$db": "shop"}
MORE = {"getMore": Int64(99), "collection": "tasks", "$db": "shop"}
KILL = {"killCursors": "tasks", "cursors": [Int64(99)], "$db": "shop"}
TRANSACTION = {"lsid": client_session(), "txnNumber": Int64(1), "autocommit": False}


def talks(*users: str, **limits: Any) -> tuple[World, list[Talk]]:
    world = World(credential("shop-2", "shop"), **limits)
    return world, [Talk(world, user) for user in users]


def shop(**limits: Any) -> Talk:
    return talks("shop", **limits)[1][0]


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


@pytest.mark.parametrize("name", ["endSessions", "killSessions", "refreshSessions"])
def test_session_commands(name: str) -> None:
    talk = shop()
    given = [client_session(1), client_session(2)]
    decision = talk.forward({name: given, "$db": "admin", "lsid": client_session(3)})
    assert told(decision.exchange) == {
        name: [cluster_session(1), cluster_session(2)],
        "$db": "admin",
    }
    # whatever the cluster says
    data = carry_out(decision, [{"ok": 0.0, "code": 13, "errmsg": "appdata"}])
    assert heard(one_frame(data)).body == {"ok": 1.0}
    decision = talk.decide({name: given, "$db": "admin"}, flags=MORE_TO_COME)
    assert carry_out(decision, [OK]) == b""
    assert talk.decide({name: [], "$db": "admin"}, flags=MORE_TO_COME) == Reply(b"")


@pytest.mark.parametrize("name", ["endSessions", "killSessions", "refreshSessions"])
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"x": 1}, 40415),
        ({"autocommit": False}, 263),
        ({"lsid": {**client_session(), "uid": b"x"}}, 72),
        ({"maxTimeMS": "x"}, 2),
    ],
)
def test_session_commands_have_fields_too(name: str, fields: Fields, code: int) -> None:
    assert shop().ask({name: [client_session()], **fields, "$db": "admin"})["code"] == code


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (1, 2),
        ({"0": 1}, 2),
        ([1], 2),
        ([{"id": "x"}], 2),
        ([{**client_session(), "uid": b"x"}], 40415),
        ([{}], 2),
    ],
)
@pytest.mark.parametrize("name", ["endSessions", "killSessions", "refreshSessions"])
def test_session_commands_want_ids(name: str, value: Any, code: int) -> None:
    assert shop().ask({name: value, "$db": "admin"})["code"] == code


def test_an_empty_list_never_reaches_the_cluster() -> None:
    _, (talk, other, crm) = talks("shop", "shop-2", "crm")
    for name in ("endSessions", "refreshSessions", "killSessions"):
        assert isinstance(talk.decide({name: [], "$db": "admin"}), Reply)
    talk.forward({**FIND, "lsid": client_session(1)})
    talk.forward({**COUNT, **TRANSACTION, "lsid": client_session(2)})
    other.forward({**FIND, "lsid": client_session(3)})
    crm.forward({**FIND, "lsid": client_session(4), "$db": "crm"})
    sent = told(talk.forward({"killSessions": [], "$db": "admin"}).exchange)
    assert sent == {"killSessions": [cluster_session(1), cluster_session(2)], "$db": "admin"}
    assert isinstance(talk.decide({"killSessions": [], "$db": "admin"}), Reply)


@pytest.mark.parametrize(
    ("name", "left"), [("endSessions", 1), ("killSessions", 1), ("refreshSessions", 2)]
)
def test_what_a_session_holds_ends_with_it(name: str, left: int) -> None:
    world, (talk,) = talks("shop")
    talk.ask({**FIND, "lsid": client_session()}, opened(98))
    talk.ask(FIND, opened(99))
    talk.ask({name: [client_session()], "$db": "admin"}, OK)
    assert world.cursors.count("shop") == left
    assert len(world.sessions.of("shop", "shop")) == left - 1


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
    steps = steps_of(decision, listed, OK)
    assert [next(iter(step)) for step in steps] == ["listCollections", "drop"]
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
    assert talk.ask(MORE)["code"] == 13
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
        talk.decide({**given, "ops": [REFUSED, REMOVE], **TRANSACTION}), results(item), OK
    )
    assert [next(iter(step)) for step in steps] == ["bulkWrite", "abortTransaction"]


# Cursors.


@pytest.mark.parametrize(
    ("command", "ns", "collection", "physical"),
    [
        (FIND, "appdata.shop_tasks", "tasks", "shop_tasks"),
        ({**FIND, "$db": "other"}, "appdata.x", "tasks", "shop_@other.tasks"),
        (
            {"aggregate": "tasks", "pipeline": [], "cursor": {}, "$db": "shop"},
            "appdata.shop_tasks",
            "tasks",
            "shop_tasks",
        ),
        (
            {"aggregate": 1, "pipeline": [{"$documents": []}], "cursor": {}, "$db": "shop"},
            "appdata.$cmd.aggregate",
            "$cmd.aggregate",
            "$cmd.aggregate",
        ),
        ({"listIndexes": "tasks", "$db": "shop"}, "appdata.shop_tasks", "tasks", "shop_tasks"),
    ],
)
def test_a_cursor_from_beginning_to_end(
    command: Fields, ns: str, collection: str, physical: str
) -> None:
    world, (talk,) = talks("shop", max_batch=50)
    db = command["$db"]
    reply = talk.ask(command, opened(ns=ns))
    assert reply["cursor"]["ns"] == f"{db}.{collection}"
    assert world.cursors.count("shop") == 1
    more = {**MORE, "collection": collection, "$db": db}
    decision = talk.forward(more)
    assert told(decision.exchange) == {
        "getMore": 99,
        "collection": physical,
        "batchSize": 50,
        "$db": "appdata",
    }
    assert (decision.exchange.pin, decision.exchange.awaited) == ("m1:27017", False)
    reply = heard(one_frame(carry_out(decision, [followed(ns=ns)]))).body
    assert reply["cursor"] == {"id": 99, "ns": f"{db}.{collection}", "nextBatch": [{"a": 2}]}
    talk.ask(more, followed(0, ns))
    assert world.cursors.count("shop") == 0
    assert talk.ask(more)["code"] == 43


@pytest.mark.parametrize(
    ("reply", "left"),
    [
        ({"ok": 0.0, "code": 43, "errmsg": "cursor id 99 not found"}, 0),
        ({"ok": 0.0, "code": 10107, "errmsg": "not primary"}, 1),
        ({"ok": 1.0, "cursor": {"id": Int64(0), "ns": "x", "nextBatch": []}}, 0),
    ],
)
def test_a_cursor_that_is_no_more(reply: Fields, left: int) -> None:
    world, (talk,) = talks("shop")
    talk.ask(FIND, opened())
    talk.ask(MORE, reply)
    assert world.cursors.count("shop") == left


def test_nobody_else_sees_a_cursor() -> None:
    world, (talk, other, crm) = talks("shop", "shop-2", "crm")
    talk.ask(FIND, opened())
    unknown = talk.ask({**MORE, "getMore": Int64(5)})
    for each in (other, crm):
        reply = each.ask(MORE)
        assert reply["code"] == unknown["code"] == 43
        assert reply["errmsg"] == "cursor id 99 not found"
        assert unknown["errmsg"] == "cursor id 5 not found"
        assert each.ask(KILL) == {
            "cursorsKilled": [],
            "cursorsNotFound": [99],
            "cursorsAlive": [],
            "cursorsUnknown": [],
            "ok": 1.0,
        }
    assert world.cursors.count("shop") == 1


@pytest.mark.parametrize(
    ("fields", "code", "at"),
    [
        ({"getMore": 99}, 14, "getMore"),
        ({"getMore": 99.0}, 14, "getMore"),
        ({"getMore": "99"}, 14, "getMore"),
        ({"getMore": [Int64(99)]}, 14, "getMore"),
        ({"collection": "users"}, 13, "collection"),
        ({"collection": {"a": 1}}, 13, "collection"),
        ({"$db": "other"}, 13, "collection"),
        ({"lsid": client_session()}, 13, "lsid"),
        ({"lsid": {**client_session(), "uid": b"x"}}, 72, "lsid"),
        ({"x": 1}, 40415, "x"),
        ({"maxTimeMS": 5}, 2, "maxTimeMS"),
        ({"maxTimeMS": "x"}, 2, "maxTimeMS"),
    ],
)
def test_what_is_wrong_with_a_get_more(fields: Fields, code: int, at: str) -> None:
    world, (talk,) = talks("shop")
    talk.ask(FIND, opened())
    reply = talk.ask({**MORE, **fields})
    assert (reply["code"], reply["at"]) == (code, at)
    assert world.cursors.count("shop") == 1


def test_the_namespace_is_told_as_the_server_tells_it() -> None:
    talk = shop()
    talk.ask(FIND, opened())
    assert talk.ask({**MORE, "collection": "users"})["errmsg"] == (
        "Requested getMore on namespace 'shop.users', but cursor belongs to a different"
        " namespace shop.tasks"
    )


def test_a_cursor_belongs_to_its_session() -> None:
    talk = shop()
    talk.ask({**FIND, "lsid": client_session()}, opened())
    assert talk.ask(MORE)["at"] == "lsid"
    assert talk.ask({**MORE, "lsid": client_session(2)})["at"] == "lsid"
    sent = told(talk.forward({**MORE, "lsid": client_session()}).exchange)
    assert sent["lsid"] == cluster_session()


def test_a_cursor_inside_a_transaction() -> None:
    talk = shop()
    carry_out(
        talk.forward({**FIND, **TRANSACTION, "startTransaction": True}), [opened()], "m2:27017"
    )
    exchange = talk.forward({**MORE, **TRANSACTION}).exchange
    assert exchange.pin == "m2:27017"
    assert told(exchange) == {
        "getMore": 99,
        "collection": "shop_tasks",
        "batchSize": 1000,
        "lsid": cluster_session(),
        "txnNumber": 1,
        "autocommit": False,
        "$db": "appdata",
    }
    killed = {"cursorsKilled": [Int64(99)], "cursorsNotFound": [], "ok": 1.0}
    (sent,) = steps_of(talk.decide({**KILL, **TRANSACTION}), killed)
    assert sent == {
        "killCursors": "shop_tasks",
        "cursors": [99],
        "lsid": cluster_session(),
        "txnNumber": 1,
        "autocommit": False,
        "$db": "appdata",
    }


@pytest.mark.parametrize("awaits", [True, 1])
def test_a_cursor_that_waits(awaits: Any) -> None:
    talk = shop()
    talk.ask({**FIND, "tailable": True, "awaitData": awaits}, opened())
    exchange = talk.forward(MORE).exchange
    assert (exchange.awaited, "maxTimeMS" in told(exchange)) == (True, False)
    exchange = talk.forward({**MORE, "maxTimeMS": 500}).exchange
    assert told(exchange)["maxTimeMS"] == 500
    exchange = talk.forward({**MORE, "maxTimeMS": 10**9}).exchange
    assert told(exchange)["maxTimeMS"] == 300_000


def test_an_app_may_have_so_many_cursors() -> None:
    world, (talk, crm) = talks("shop", "crm", max_cursors=1)
    talk.ask(FIND, opened())
    assert talk.ask(FIND)["code"] == 462
    assert talk.ask({**FIND, "filter": {"$where": "1"}})["code"] == 2
    talk.forward(COUNT)
    talk.forward(MORE)
    crm.ask({**FIND, "$db": "crm"}, opened(5, "appdata.crm_tasks"))
    world.wait(601)
    talk.ask(FIND, opened(6))
    assert talk.ask(MORE)["code"] == 43


def test_killing_own_cursors() -> None:
    world, (talk, crm) = talks("shop", "crm")
    for number, member in ((1, "m1:1"), (2, "m1:1"), (3, "m2:1")):
        carry_out(talk.forward(FIND), [opened(number)], member)
    talk.ask({**FIND, "find": "users"}, opened(4, "appdata.shop_users"))
    crm.ask({**FIND, "$db": "crm"}, opened(5, "appdata.crm_tasks"))
    numbers = [Int64(n) for n in (1, 5, 2, 3, 4, 6)]
    decision = talk.decide({**KILL, "cursors": numbers, "lsid": client_session()})
    assert isinstance(decision, Run)
    sent = []
    answers = [
        {"cursorsKilled": [Int64(1)], "cursorsNotFound": [Int64(2)], "ok": 1.0},
        {"ok": 0.0, "code": 1, "errmsg": "no"},
        {"cursorsKilled": [Int64(4)], "cursorsAlive": [], "ok": 1.0},
    ]
    exchange = next(decision.steps)
    for document in answers:
        sent.append((exchange.pin, told(exchange)))
        answer = Answer(bson.encode(document), "x")
        try:
            exchange = decision.steps.send(answer)
        except StopIteration as stop:
            reply = heard(one_frame(stop.value)).body
    assert sent == [
        ("m1:1", {"killCursors": "shop_tasks", "cursors": [1, 2], "$db": "appdata"}),
        ("m2:1", {"killCursors": "shop_tasks", "cursors": [3], "$db": "appdata"}),
        ("m1:27017", {"killCursors": "shop_users", "cursors": [4], "$db": "appdata"}),
    ]
    assert reply == {
        "cursorsKilled": [1, 4],
        "cursorsNotFound": [5, 6, 2],
        "cursorsAlive": [3],
        "cursorsUnknown": [],
        "ok": 1.0,
    }
    assert (world.cursors.count("shop"), world.cursors.count("crm")) == (1, 1)


@pytest.mark.parametrize(
    ("cursors", "at"),
    [
        (5, "cursors"),
        ({"a": 1}, "cursors"),
        ([5], "cursors.0"),
        ([Int64(99), 99.0], "cursors.1"),
        ([[1]], "cursors.0"),
        ([{"a": 1}], "cursors.0"),
        ([b"x"], "cursors.0"),
        ([None], "cursors.0"),
    ],
)
def test_cursor_ids_are_longs(cursors: Any, at: str) -> None:
    reply = shop().ask({**KILL, "cursors": cursors})
    assert (reply["code"], reply["at"]) == (14, at)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"x": 1}, 40415),
        ({"lsid": {**client_session(), "uid": b"x"}}, 72),
        ({"maxTimeMS": "x"}, 2),
        ({"$db": "a.b"}, 73),
    ],
)
def test_what_is_wrong_with_a_kill(fields: Mapping[str, Any], code: int) -> None:
    assert shop().ask({**KILL, **fields})["code"] == code


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
