"""What the cluster answers, in the app's own words."""

from dataclasses import replace
from typing import Any

import pytest
from bson import decode
from bson.int64 import Int64

from mdb_engine.exceptions import OperationFailedError
from mdb_engine.rawbson import Document, encode
from mdb_engine.scope.model import Limits, Physical, Scope, StatementError
from mdb_engine.scope.replies import Asked, answer, refused_whole, write_error
from tests.support.kernel import SHOP

NAMES = {"shop_tasks": "app.tasks"}


def ask(command: dict[str, Any], scope: Scope = SHOP, names: Any = None, **physical: Any) -> Asked:
    logical = dict(Document(encode({"$db": "app", **command})))
    first = next(iter(command))
    logical = {first: logical[first], **logical}
    return Asked(logical, Physical({}, NAMES if names is None else names, **physical), scope)


def reply(asked: Asked, **fields: Any) -> dict[str, Any]:
    return decode(answer(encode(fields), asked))


def cursor(ns: str, **more: Any) -> dict[str, Any]:
    return {"firstBatch": [{"ns": "appdata.shop_tasks"}], "id": Int64(5), "ns": ns, **more}


@pytest.mark.parametrize(
    ("command", "ns"),
    [
        ({"find": "tasks"}, "app.tasks"),
        ({"find": "tasks", "$db": "other"}, "other.tasks"),
        ({"aggregate": "tasks", "pipeline": []}, "app.tasks"),
        ({"aggregate": "tasks", "pipeline": [], "explain": False}, "app.tasks"),
        ({"aggregate": 1, "pipeline": []}, "app.$cmd.aggregate"),
        ({"listIndexes": "tasks"}, "app.tasks"),
        ({"getMore": Int64(5), "collection": "tasks"}, "app.tasks"),
        ({"getMore": Int64(5), "collection": "$cmd.aggregate"}, "app.$cmd.aggregate"),
    ],
)
def test_cursors_name_the_logical_namespace(command: dict[str, Any], ns: str) -> None:
    found = reply(ask(command), cursor=cursor("appdata.shop_tasks"), ok=1.0)
    assert found == {"cursor": cursor(ns), "ok": 1.0}


@pytest.mark.parametrize("name", ["insert", "find", "ping", "createIndexes"])
def test_bytes_that_need_no_change_are_not_touched(name: str) -> None:
    data = encode({"n": 1, "ok": 1.0})
    assert answer(data, ask({name: "tasks"})) is data


def test_errors_are_translated() -> None:
    found = reply(
        ask({"find": "tasks"}),
        ok=0.0,
        errmsg="ns appdata.shop_tasks and appdata.crm_x",
        errInfo={"a": ["in appdata.shop_tasks"]},
        writeConcernError={"code": 64, "errmsg": "appdata.shop_tasks"},
        code=2,
        codeName="appdata.shop_tasks",
    )
    assert found == {
        "ok": 0.0,
        "errmsg": "ns app.tasks and app.?",
        "errInfo": {"a": ["in app.tasks"]},
        "writeConcernError": {"code": 64, "errmsg": "app.tasks"},
        "code": 2,
        "codeName": "appdata.shop_tasks",
    }


def test_a_duplicate_key_shows_the_apps_own_values() -> None:
    own = {"keyPattern": {"a": 1}, "keyValue": {"a": "shop_tasks"}}
    error = {"index": 0, "code": 11000, "errmsg": "E11000 collection: appdata.shop_tasks", **own}
    found = reply(ask({"insert": "tasks"}), n=0, writeErrors=[error], ok=1.0)
    assert found["writeErrors"] == [{**error, "errmsg": "E11000 collection: app.tasks"}]


@pytest.mark.parametrize(
    ("values", "left"),
    [([1, 2], [1, 2]), ([1, 2, 3], [1, 2, 3]), ([1, 2, 3, 4], [1, 2, 3])],
)
def test_distinct_is_capped(values: list[int], left: list[int]) -> None:
    scope = replace(SHOP, limits=Limits(max_results=3))
    assert reply(ask({"distinct": "tasks"}, scope), values=values, ok=1.0)["values"] == left


def test_distinct_may_be_an_error_instead() -> None:
    scope = replace(SHOP, limits=Limits(max_results=1, result_overflow="error"))
    assert reply(ask({"distinct": "tasks"}, scope), values=[1])["values"] == [1]
    with pytest.raises(OperationFailedError, match="result exceeds the limit of 1 documents"):
        reply(ask({"distinct": "tasks"}, scope), values=[1, 2])


def test_a_failed_distinct_has_no_values() -> None:
    assert reply(ask({"distinct": "tasks"}), ok=0.0, code=2) == {"ok": 0.0, "code": 2}


def test_a_failed_find_has_no_cursor() -> None:
    assert reply(ask({"find": "tasks"}), ok=0.0) == {"ok": 0.0}


@pytest.mark.parametrize(
    ("target", "code", "text"),
    [
        ("app.b", 26, "Source collection app.tasks does not exist"),
        ("other.b", 26, "source namespace does not exist"),
        ("other.b", 48, "Source collection app.tasks does not exist"),
    ],
)
def test_what_is_not_there_cannot_be_renamed(target: str, code: int, text: str) -> None:
    asked = ask({"renameCollection": "app.tasks", "to": target, "$db": "admin"})
    theirs = "Source collection appdata.shop_tasks does not exist"
    assert reply(asked, ok=0.0, errmsg=theirs, code=code)["errmsg"] == text


def test_drop_names_the_logical_namespace() -> None:
    found = reply(ask({"drop": "tasks"}), nIndexesWas=1, ns="appdata.shop_tasks", ok=1.0)
    assert found == {"nIndexesWas": 1, "ns": "app.tasks", "ok": 1.0}
    assert reply(ask({"drop": "tasks"}), ok=0.0) == {"ok": 0.0}


@pytest.mark.parametrize(
    ("expose", "retried", "value", "shown"),
    [
        (False, True, {"app_id": "shop", "a": {"app_id": 1}}, {"a": {"app_id": 1}}),
        (False, True, None, None),
        (False, False, {"app_id": "x"}, {"app_id": "x"}),
        (True, True, {"app_id": "shop"}, {"app_id": "shop"}),
    ],
)
def test_a_retried_findandmodify_has_no_projection(
    value: Any, shown: Any, *, expose: bool, retried: bool
) -> None:
    """Its reply comes from a stored image (6.0.5)."""
    asked = ask({"findandmodify": "tasks"}, replace(SHOP, expose_app_id=expose))
    more = {"retriedStmtId": 0} if retried else {}
    assert reply(asked, value=value, **more, ok=1.0)["value"] == shown


REFUSED = (StatementError(1, 66, "immutable"), StatementError(3, 2, "too large"))


def theirs(*indexes: int) -> list[dict[str, Any]]:
    return [{"index": i, "code": 11000, "errmsg": "dup"} for i in indexes]


def ours(*errors: StatementError) -> list[dict[str, Any]]:
    return [write_error(error) for error in errors]


@pytest.mark.parametrize(
    ("ordered", "kept", "refused", "given", "becomes"),
    [
        # Of 0 1 2 3 4 the statements 1 and 3 were taken out.
        (False, (0, 2, 4), REFUSED, {}, {"writeErrors": ours(*REFUSED)}),
        (
            False,
            (0, 2, 4),
            REFUSED,
            {"writeErrors": theirs(0, 2)},
            {"writeErrors": [*theirs(0), *ours(REFUSED[0]), *ours(REFUSED[1]), *theirs(4)]},
        ),
        (
            False,
            (0, 2, 4),
            REFUSED,
            {"upserted": [{"index": 1, "_id": "x"}, {"index": 2, "_id": "y"}]},
            {
                "upserted": [{"index": 2, "_id": "x"}, {"index": 4, "_id": "y"}],
                "writeErrors": ours(*REFUSED),
            },
        ),
        # In order, everything behind the first refused one was left out.
        (True, (0,), REFUSED[:1], {}, {"writeErrors": ours(REFUSED[0])}),
        (
            True,
            (0,),
            REFUSED[:1],
            {"upserted": [{"index": 0, "_id": "x"}]},
            {"upserted": [{"index": 0, "_id": "x"}], "writeErrors": ours(REFUSED[0])},
        ),
        # The server stopped before it came to ours.
        (True, (0,), REFUSED[:1], {"writeErrors": theirs(0)}, {"writeErrors": theirs(0)}),
        # Nothing was taken out.
        (True, None, (), {"writeErrors": theirs(0)}, {"writeErrors": theirs(0)}),
    ],
)
@pytest.mark.parametrize("name", ["update", "insert", "delete"])
def test_refused_statements_come_back_under_their_index(  # noqa: PLR0913 - one column each
    name: str, kept: Any, refused: Any, given: Any, becomes: Any, *, ordered: bool
) -> None:
    asked = ask({name: "tasks", "ordered": ordered}, refused=refused, kept=kept)
    assert reply(asked, n=1, **given, ok=1.0) == {"n": 1, **given, "ok": 1.0, **becomes}


def test_ordered_is_the_default() -> None:
    asked = ask({"insert": "tasks"}, refused=REFUSED[:1], kept=(0,))
    assert reply(asked, n=0, writeErrors=theirs(0), ok=1.0)["writeErrors"] == theirs(0)


def test_a_failed_batch_is_no_place_for_write_errors() -> None:
    asked = ask({"insert": "tasks"}, refused=REFUSED, kept=(0,))
    assert reply(asked, ok=0.0, code=11) == {"ok": 0.0, "code": 11}


@pytest.mark.parametrize(
    ("name", "counts"),
    [("insert", {"n": 0}), ("delete", {"n": 0}), ("update", {"n": 0, "nModified": 0})],
)
def test_a_batch_of_which_nothing_is_left(name: str, counts: dict[str, int]) -> None:
    asked = ask({name: "tasks"}, refused=REFUSED, kept=())
    assert decode(refused_whole(asked)) == {**counts, "ok": 1.0, "writeErrors": ours(*REFUSED)}


COUNTS = {"nInserted": 1, "nMatched": 0, "nModified": 0, "nUpserted": 1, "nDeleted": 0}
BULK = {"bulkWrite": 1, "ops": [], "nsInfo": [], "$db": "admin"}
ERROR = {"ok": 0.0, "idx": 0, "code": 11000, "errmsg": "dup in appdata.shop_tasks", "n": 0}
SAID = {**ERROR, "errmsg": "dup in app.tasks"}
DONE = {"ok": 1.0, "idx": 0, "n": 1}
UPSERTED = {"ok": 1.0, "idx": 1, "n": 1, "nModified": 0, "upserted": {"_id": "appdata.shop_tasks"}}
OURS = {"ok": 0.0, "idx": 1, "code": 66, "errmsg": "no", "n": 0}
TAKEN_OUT = StatementError(1, 66, "no")


def bulk(*items: Any, errors: int = 0, number: int = 0) -> dict[str, Any]:
    cursor = {"id": Int64(number), "firstBatch": list(items), "ns": "admin.$cmd.bulkWrite"}
    return {"cursor": cursor, "nErrors": errors, **COUNTS, "ok": 1.0}


@pytest.mark.parametrize(
    ("ordered", "physical", "said", "heard"),
    [
        (True, {}, bulk(ERROR, UPSERTED, errors=1), bulk(SAID, UPSERTED, errors=1)),
        (True, {}, bulk(DONE, number=9), bulk(DONE, number=9)),
        (True, {"refused": (TAKEN_OUT,), "kept": (0,)}, bulk(DONE), bulk(DONE, OURS, errors=1)),
        (
            True,
            {"refused": (TAKEN_OUT,), "kept": (0,)},
            bulk(ERROR, errors=1),
            bulk(SAID, errors=1),
        ),
        (
            False,
            {"refused": (TAKEN_OUT,), "kept": (0, 2)},
            bulk(ERROR, UPSERTED, errors=1),
            bulk(SAID, OURS, {**UPSERTED, "idx": 2}, errors=2),
        ),
        (False, {"refused": (TAKEN_OUT,), "kept": (0, 2)}, bulk(), bulk(OURS, errors=1)),
    ],
)
def test_results_of_statements_of_all_kinds(
    ordered: bool, physical: Any, said: dict[str, Any], heard: dict[str, Any]
) -> None:
    assert reply(ask({**BULK, "ordered": ordered}, **physical), **said) == heard


def test_a_bulk_write_that_failed_as_a_whole() -> None:
    found = reply(ask(BULK), ok=0.0, code=50, errmsg="on appdata.shop_tasks")
    assert found == {"ok": 0.0, "code": 50, "errmsg": "on app.tasks"}


def test_a_bulk_write_of_which_nothing_is_left() -> None:
    found = decode(refused_whole(ask(BULK, refused=(TAKEN_OUT,), kept=())))
    assert found == {**bulk(OURS, errors=1), "nInserted": 0, "nUpserted": 0}


def test_later_results_of_a_bulk_write() -> None:
    more = ask({"getMore": Int64(9), "collection": "$cmd.bulkWrite", "$db": "admin"}, names={})
    ns = "admin.$cmd.bulkWrite"
    found = reply(more, cursor={"id": Int64(0), "ns": ns, "nextBatch": [ERROR, UPSERTED]}, ok=1.0)
    assert found["cursor"] == {"id": 0, "ns": ns, "nextBatch": [SAID, UPSERTED]}
    gone = reply(more, ok=0.0, code=43, errmsg="cursor id 9 not found")
    assert gone["code"] == 43


LEFT = {"explainVersion": "1", "serverParameters": {"x": 1}, "ok": 1.0}
HERE = {"host": "localhost", "port": 27018, "version": "6.0.5"}
THERE = {"host": "vm", "port": 49579, "version": "6.0.5"}


@pytest.mark.parametrize(
    ("asked", "command"),
    [
        (
            ask({"explain": {"find": "tasks", "filter": {"a": 1}}, "verbosity": "queryPlanner"}),
            {"find": "tasks", "filter": {"a": 1}, "$db": "app"},
        ),
        (
            ask({"aggregate": "tasks", "pipeline": [], "explain": True, "lsid": {"id": 1}}),
            {"aggregate": "tasks", "$db": "app", "pipeline": [], "explain": True},
        ),
    ],
)
def test_explanations(asked: Asked, command: dict[str, Any]) -> None:
    found = reply(
        asked,
        queryPlanner={
            "namespace": "appdata.shop_tasks",
            "parsedQuery": {"app_id": {"$eq": "shop"}},
        },
        stages=[{"$lookup": {"from": "shop_tasks"}}],
        executionStats={"executionStages": {"ns": "appdata.shop_tasks"}},
        command={"find": "shop_tasks", "$db": "appdata"},
        serverInfo=THERE,
        shards={"rs0": {"host": "x", "stages": [{"$cursor": {"ns": "appdata.crm_x"}}]}},
        **LEFT,
    )
    assert found == {
        "queryPlanner": {"namespace": "app.tasks", "parsedQuery": {"app_id": {"$eq": "shop"}}},
        "stages": [{"$lookup": {"from": "tasks"}}],
        "executionStats": {"executionStages": {"ns": "app.tasks"}},
        "command": command,
        "serverInfo": HERE,
        "shards": {"rs0": {"host": "localhost:27018", "stages": [{"$cursor": {"ns": "app.?"}}]}},
        **LEFT,
    }


def test_a_failed_explain_is_an_error() -> None:
    asked = ask({"explain": {"find": "tasks"}})
    found = reply(asked, ok=0.0, errmsg="no appdata.shop_tasks")
    assert found == {"ok": 0.0, "errmsg": "no app.tasks"}


def test_what_was_asked() -> None:
    asked = ask({"findandmodify": "tasks", "query": {}})
    assert (asked.name, asked.db, asked.namespace) == ("findAndModify", "app", "app.tasks")
    assert asked.words.text("appdata.shop_tasks") == "app.tasks"


def test_statistics_show_the_app_s_part() -> None:
    found = reply(
        ask({"collStats": "tasks"}),
        ns="appdata.shop_tasks",
        count=3,
        wiredTiger={"uri": "statistics:table:x"},
        indexDetails={},
        timeseries={"bucketsNs": "appdata.system.buckets.shop_tasks", "bucketCount": 1},
        ok=1.0,
    )
    assert set(found) == {"ns", "count", "timeseries", "ok"}
    assert found["ns"] == "app.tasks"
    assert "appdata" not in str(found)
    plain = reply(ask({"collStats": "tasks"}), ns="appdata.shop_tasks", count=3, ok=1.0)
    assert plain == {"ns": "app.tasks", "count": 3, "ok": 1.0}
    assert reply(ask({"collStats": "tasks"}), ok=0.0, code=26) == {"ok": 0.0, "code": 26}


def test_a_validation_speaks_of_logical_names() -> None:
    found = reply(
        ask({"validate": "tasks"}),
        ns="appdata.shop_tasks",
        warnings=["look at appdata.shop_tasks"],
        errors=[],
        ok=1.0,
    )
    assert found == {
        "ns": "app.tasks", "warnings": ["look at app.tasks"], "errors": [], "ok": 1.0,
    }  # fmt: skip
