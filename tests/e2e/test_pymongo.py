"""PyMongo, unchanged: what an app does all day, and what then lies in MongoDB."""

from collections.abc import Callable
from typing import Any

import gridfs
import pytest
from bson import DBRef, Decimal128, Int64, ObjectId, Regex, Timestamp
from bson.code import Code
from pymongo import ASCENDING, InsertOne, ReturnDocument, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure, WriteError

from tests.support.proxies import Client, Proxy

Tasks = Collection[dict[str, Any]]


@pytest.fixture
def tasks(shop: Client, name: str) -> Tasks:
    """Give a collection of `shop` with ten documents."""
    found = shop.get_default_database()[name]
    found.insert_many([{"_id": n, "n": n, "kind": "ab"[n % 2]} for n in range(10)])
    return found


def stored(proxy: Proxy, tasks: Tasks) -> list[dict[str, Any]]:
    return list(proxy.behind[f"shop_{tasks.name}"].find(sort=[("_id", 1)]))


def test_what_is_written_is_tagged_and_read_back_bare(proxy: Proxy, tasks: Tasks) -> None:
    assert tasks.find_one({"_id": 3}) == {"_id": 3, "n": 3, "kind": "b"}
    assert all(document["app_id"] == "shop" for document in stored(proxy, tasks))
    assert len(stored(proxy, tasks)) == 10
    assert list(stored(proxy, tasks)[0]) == ["_id", "app_id", "n", "kind"]


VALUES = {
    "code": Code("return 1"),
    "decimal": Decimal128("0.10"),
    "long": Int64(3),
    "nested": {"$where": "x", "app_id": "crm"},
    "reference": DBRef("users", ObjectId("0" * 24), app_id="crm"),
    "regex": Regex("^a", "i"),
    "time": Timestamp(1, 2),
}


def test_every_value_comes_back_as_it_was(tasks: Tasks) -> None:
    tasks.insert_one({"_id": "values", **VALUES})
    assert tasks.find_one({"_id": "values"}) == {"_id": "values", **VALUES}


def plus(**more: Any) -> dict[str, Any]:
    return {"_id": 1, "n": 1, "kind": "b", **more}


UPDATES: list[tuple[Any, dict[str, Any]]] = [
    ({"$set": {"x": 1}}, plus(x=1)),
    ({"$set": {"x": {"$where": "1"}}}, plus(x={"$where": "1"})),
    ({"$inc": {"n": 4}, "$unset": {"kind": ""}}, {"_id": 1, "n": 5}),
    ({"$rename": {"kind": "sort"}}, {"_id": 1, "n": 1, "sort": "b"}),
    ({"$set": {"app_id": "shop", "x": 2}}, plus(x=2)),
    ([{"$set": {"x": {"$add": ["$n", 1]}}}], plus(x=2)),
    ([{"$set": {"copy": "$$ROOT"}}], plus(copy=plus())),
    ([{"$replaceWith": {"_id": "$_id", "only": 1}}], {"_id": 1, "only": 1}),
    ([{"$unset": "app_id"}], plus()),
    ([{"$set": {"app_id": "crm"}}], plus()),
]


@pytest.mark.parametrize(("update", "after"), UPDATES, ids=str)
def test_updates_keep_the_tag(
    proxy: Proxy, tasks: Tasks, update: Any, after: dict[str, Any]
) -> None:
    assert tasks.update_one({"_id": 1}, update).matched_count == 1
    assert tasks.find_one({"_id": 1}) == after
    assert {document.get("app_id") for document in stored(proxy, tasks)} == {"shop"}


@pytest.mark.parametrize(
    "update",
    [
        {"$set": {"app_id": "crm"}},
        {"$unset": {"app_id": ""}},
        {"$rename": {"app_id": "x"}},
        {"$rename": {"n": "app_id"}},
        {"$set": {"app_id.x": 1}},
        {"$min": {"app_id": "a"}},
        {"$currentDate": {"app_id": True}},
    ],
    ids=str,
)
def test_the_tag_cannot_be_changed(proxy: Proxy, tasks: Tasks, update: Any) -> None:
    before = stored(proxy, tasks)
    with pytest.raises(WriteError) as refused:
        tasks.update_many({}, update)
    assert refused.value.code == 66
    assert stored(proxy, tasks) == before


UPSERTS: list[Callable[[Tasks], Any]] = [
    lambda t: t.update_one({"_id": "new"}, {"$set": {"x": 1}}, upsert=True),
    lambda t: t.update_one({"_id": "new"}, {"$setOnInsert": {"x": 1}}, upsert=True),
    lambda t: t.update_one({"_id": "new", "app_id": "shop"}, {"$set": {"x": 1}}, upsert=True),
    lambda t: t.update_one({"_id": "new"}, [{"$set": {"x": 1}}], upsert=True),
    lambda t: t.replace_one({"_id": "new"}, {"x": 1}, upsert=True),
    lambda t: t.replace_one({"_id": "new"}, {"x": 1, "app_id": "crm"}, upsert=True),
    lambda t: t.find_one_and_update({"_id": "new"}, {"$set": {"x": 1}}, upsert=True),
    lambda t: t.find_one_and_replace({"_id": "new"}, {"x": 1}, upsert=True),
]


@pytest.mark.parametrize("upsert", range(len(UPSERTS)))
def test_upserts_insert_with_the_tag(proxy: Proxy, tasks: Tasks, upsert: int) -> None:
    UPSERTS[upsert](tasks)
    assert tasks.find_one({"_id": "new"}) == {"_id": "new", "x": 1}
    assert proxy.behind[f"shop_{tasks.name}"].find_one({"_id": "new"})["app_id"] == "shop"


def test_find_and_modify_shows_no_tag(tasks: Tasks) -> None:
    after = ReturnDocument.AFTER
    bare = tasks.find_one_and_update({"_id": 1}, {"$set": {"x": 1}}, return_document=after)
    assert bare == plus(x=1)
    some = tasks.find_one_and_update({"_id": 1}, {"$set": {"x": 2}}, projection={"kind": 0})
    assert some == {"_id": 1, "n": 1, "x": 1}
    assert tasks.find_one_and_delete({"_id": 1}) == plus(x=2)


def test_a_batch_reports_its_errors_under_their_own_index(proxy: Proxy, tasks: Tasks) -> None:
    batch = [
        InsertOne({"_id": "a"}),
        UpdateOne({"_id": 1}, {"$set": {"app_id": "crm"}}),
        UpdateOne({"_id": 2}, {"$set": {"x": 1}}),
        InsertOne({"_id": "a"}),
    ]
    with pytest.raises(BulkWriteError) as partly:
        tasks.bulk_write(batch, ordered=False)
    found = {error["index"]: error["code"] for error in partly.value.details["writeErrors"]}
    assert found == {1: 66, 3: 11000}
    assert tasks.find_one({"_id": 2}) == {"_id": 2, "n": 2, "kind": "a", "x": 1}
    with pytest.raises(BulkWriteError) as stopped:
        tasks.bulk_write(batch[1:])
    assert [error["index"] for error in stopped.value.details["writeErrors"]] == [0]
    assert "a" in {document["_id"] for document in stored(proxy, tasks)}


PIPELINES: list[tuple[list[dict[str, Any]], Any]] = [
    ([{"$match": {"n": {"$lt": 2}}}], [{"_id": 0, "n": 0, "kind": "a"}, plus()]),
    ([{"$group": {"_id": "$kind", "n": {"$sum": "$n"}}}, {"$sort": {"_id": 1}}],
     [{"_id": "a", "n": 20}, {"_id": "b", "n": 25}]),
    ([{"$group": {"_id": "$app_id", "n": {"$sum": 1}}}], [{"_id": None, "n": 10}]),
    ([{"$match": {"_id": 1}}, {"$set": {"all": "$$ROOT"}}], [plus(all=plus())]),
    ([{"$match": {"_id": 1}}, {"$facet": {"x": [{"$project": {"n": 1}}]}}],
     [{"x": [{"_id": 1, "n": 1}]}]),
    ([{"$match": {"$expr": {"$eq": ["$app_id", "shop"]}}}], []),
    ([{"$count": "c"}], [{"c": 10}]),
    ([{"$sort": {"_id": 1}}, {"$limit": 1}, {"$unset": "kind"}], [{"_id": 0, "n": 0}]),
]  # fmt: skip


@pytest.mark.parametrize(("pipeline", "result"), PIPELINES, ids=str)
def test_aggregations(tasks: Tasks, pipeline: list[dict[str, Any]], result: Any) -> None:
    assert list(tasks.aggregate(pipeline)) == result


JOINS: dict[str, Callable[[str], list[dict[str, Any]]]] = {
    "fields": lambda other: [
        {"$lookup": {"from": other, "localField": "n", "foreignField": "n", "as": "found"}}
    ],
    "fields, unwound": lambda other: [
        {"$lookup": {"from": other, "localField": "n", "foreignField": "n", "as": "found"}},
        {"$unwind": "$found"},
        {"$set": {"found": ["$found"]}},
    ],
    "pipeline": lambda other: [
        {"$lookup": {"from": other, "let": {"n": "$n"}, "as": "found",
                     "pipeline": [{"$match": {"$expr": {"$eq": ["$n", "$$n"]}}}]}}
    ],
    "concise": lambda other: [
        {"$lookup": {"from": other, "localField": "n", "foreignField": "n", "pipeline": [],
                     "as": "found"}}
    ],
    "graph": lambda other: [
        {"$graphLookup": {"from": other, "startWith": "$n", "connectFromField": "none",
                          "connectToField": "n", "as": "found"}}
    ],
}  # fmt: skip


@pytest.mark.parametrize("form", JOINS)
def test_joins_find_own_documents_only(proxy: Proxy, tasks: Tasks, form: str) -> None:
    other = f"{tasks.name}_other"
    tasks.database[other].insert_one({"_id": 7, "n": 1, "own": True})
    proxy.behind[f"shop_{other}"].insert_one({"_id": 8, "n": 1, "app_id": "crm"})
    found = list(tasks.aggregate([{"$match": {"_id": 1}}, *JOINS[form](other)]))
    assert found == [plus(found=[{"_id": 7, "n": 1, "own": True}])]


def test_union_with(proxy: Proxy, tasks: Tasks) -> None:
    other = f"{tasks.name}_other"
    tasks.database[other].insert_one({"_id": 7})
    proxy.behind[f"shop_{other}"].insert_one({"_id": 8, "app_id": "crm"})
    assert list(tasks.aggregate([{"$match": {"_id": 1}}, {"$unionWith": other}])) == [
        plus(),
        {"_id": 7},
    ]


@pytest.mark.parametrize("writer", ["$out", "$merge"])
def test_results_written_to_a_collection(proxy: Proxy, tasks: Tasks, writer: str) -> None:
    target = f"{tasks.name}_to"
    forged = [{"$match": {"n": {"$lt": 3}}}, {"$set": {"app_id": "crm"}}, {writer: target}]
    assert list(tasks.aggregate(forged)) == []
    assert tasks.database[target].count_documents({}) == 3
    assert proxy.behind[f"shop_{target}"].distinct("app_id") == ["shop"]
    assert [name for name in proxy.behind.list_collection_names() if "@@" in name] == []


def test_out_replaces_and_keeps_options_and_indexes(tasks: Tasks) -> None:
    target = tasks.database[f"{tasks.name}_to"]
    target.insert_one({"_id": "old"})
    target.create_index("n", unique=True)
    list(tasks.aggregate([{"$match": {"n": {"$lt": 3}}}, {"$out": target.name}]))
    assert sorted(d["_id"] for d in target.find()) == [0, 1, 2]
    assert "n_1" in target.index_information()
    with pytest.raises(OperationFailure) as failed:
        list(tasks.aggregate([{"$set": {"n": 1}}, {"$out": target.name}]))
    assert "@@" not in str(failed.value)
    assert failed.value.code == 11000
    assert target.count_documents({}) == 3


def test_cursors_with_batches(tasks: Tasks) -> None:
    assert len(list(tasks.find(batch_size=3))) == 10
    assert len(list(tasks.aggregate([], batchSize=2))) == 10
    with tasks.find(batch_size=2) as cursor:
        next(cursor)
    assert len(list(tasks.find().limit(7))) == 7


def test_indexes(tasks: Tasks, shop: Client) -> None:
    assert tasks.create_index([("n", ASCENDING)], unique=True) == "n_1"
    assert set(tasks.index_information()) == {"_id_", "n_1"}
    with pytest.raises(DuplicateKeyError) as twice:
        tasks.insert_one({"n": 1})
    assert f"shop.{tasks.name}" in str(twice.value)
    assert "shop_" not in str(twice.value).replace(f"shop.{tasks.name}", "")
    tasks.drop_index("n_1")
    assert set(tasks.index_information()) == {"_id_"}


def test_names_and_databases(proxy: Proxy, shop: Client, tasks: Tasks) -> None:
    home = shop.get_default_database()
    assert tasks.name in home.list_collection_names()
    assert home.list_collection_names(filter={"name": tasks.name}) == [tasks.name]
    assert home.list_collection_names(filter={"name": {"$regex": f"^{tasks.name}$"}}) == [
        tasks.name
    ]
    shop["Ünder"].things.insert_one({"a": 1})
    assert {"shop", "Ünder"} <= set(shop.list_database_names())
    assert shop["Ünder"].list_collection_names() == ["things"]
    assert "shop_@%c3%9cnder.things" in proxy.behind.list_collection_names()
    shop.drop_database("Ünder")
    assert "Ünder" not in shop.list_database_names()
    assert tasks.count_documents({}) == 10


def test_a_transaction(proxy: Proxy, shop: Client, tasks: Tasks) -> None:
    with shop.start_session() as session:
        with session.start_transaction():
            tasks.insert_one({"_id": "in"}, session=session)
            assert tasks.find_one({"_id": "in"}) is None
            assert tasks.find_one({"_id": "in"}, session=session) == {"_id": "in"}
        assert tasks.find_one({"_id": "in"}) == {"_id": "in"}
        session.start_transaction()
        tasks.delete_many({}, session=session)
        session.abort_transaction()
    assert tasks.count_documents({}) == 11


def test_a_refused_write_ends_its_transaction(shop: Client, tasks: Tasks) -> None:
    with shop.start_session() as session:
        session.start_transaction()
        tasks.insert_one({"_id": "in"}, session=session)
        with pytest.raises(WriteError):
            tasks.update_one({"_id": 1}, {"$set": {"app_id": "crm"}}, session=session)
        with pytest.raises(OperationFailure) as gone:
            session.commit_transaction()
        assert gone.value.code == 251
    assert tasks.find_one({"_id": "in"}) is None


def test_gridfs(proxy: Proxy, shop: Client, name: str) -> None:
    bucket = gridfs.GridFSBucket(shop.get_default_database(), bucket_name=name)
    content = bytes(range(256)) * 3_000
    number = bucket.upload_from_stream("data.bin", content, metadata={"a": 1})
    assert bucket.open_download_stream(number).read() == content
    assert [found.filename for found in bucket.find({})] == ["data.bin"]
    chunks = proxy.behind[f"shop_{name}.chunks"]
    assert chunks.distinct("app_id") == ["shop"]
    bucket.delete(number)
    assert chunks.count_documents({}) == 0


def test_explain_names_only_logical_things(proxy: Proxy, tasks: Tasks) -> None:
    other = tasks.database.command(
        "explain",
        {"aggregate": tasks.name, "cursor": {}, "pipeline": [
            {"$lookup": {"from": "users", "localField": "n", "foreignField": "n", "as": "u"}}]},
        verbosity="executionStats",
    )  # fmt: skip
    for text in (str(tasks.find({"n": 1}).explain()), str(other)):
        assert f"shop.{tasks.name}" in text
        assert proxy.db_name not in text
        assert f"shop_{tasks.name}" not in text


def test_results_are_capped(shop: Client, name: str) -> None:
    many = shop.get_default_database()[name]
    many.insert_many([{"n": n} for n in range(10_050)])
    assert len(list(many.find())) == 10_000
    assert len(list(many.find().limit(10_020))) == 10_000
    assert len(list(many.aggregate([]))) == 10_000
    assert many.count_documents({}) == 10_050
    assert len(many.distinct("n")) == 10_000


DOUBLE = {"$set": {"a": {"$concatArrays": ["$a", "$a"]}}}


def test_stages_that_double_a_field_do_not_end_the_server(proxy: Proxy, tasks: Tasks) -> None:
    tasks.insert_one({"_id": "big", "a": list(range(1_000))})
    with pytest.raises(OperationFailure, match=r"grow|large"):
        list(tasks.aggregate([{"$match": {"_id": "big"}}, *[DOUBLE] * 40]))
    with pytest.raises(OperationFailure, match="iteration limit"):
        tasks.update_one({"_id": "big"}, [DOUBLE] * 40)
    (found,) = tasks.aggregate([{"$match": {"_id": "big"}}, *[DOUBLE] * 3])
    assert len(found["a"]) == 8_000
    assert proxy.admin.admin.command("ping")["ok"] == 1.0
