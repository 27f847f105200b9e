"""Views of unchanged clients: the same replies as on a private database, and nothing of others."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from bson import Binary, DBRef, Decimal128, Int64, MinKey, Regex, Timestamp, encode
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure

from tests.support.pairs import Sandbox, reply
from tests.support.programs import ROOT
from tests.support.proxies import Client, Proxy, serving


def view(name: str, *stages: Any, on: str = "t", **more: Any) -> dict[str, Any]:
    return {"create": name, "viewOn": on, "pipeline": list(stages), **more}


def find(name: str, **more: Any) -> dict[str, Any]:
    return {"find": name, "sort": {"_id": 1}, **more}


def aggregate(name: str, *stages: Any, **more: Any) -> dict[str, Any]:
    return {"aggregate": name, "pipeline": list(stages), "cursor": {}, **more}


SEED: list[dict[str, Any]] = [
    {"insert": "t", "documents": [
        {"_id": n, "n": n, "g": n % 3, "w": f"tea {n}", "loc": [n, n]} for n in range(8)]},
    {"insert": "u", "documents": [{"_id": n, "n": n * 2} for n in range(4)]},
    {"createIndexes": "t", "indexes": [
        {"key": {"w": "text"}, "name": "w"}, {"key": {"loc": "2dsphere"}, "name": "loc"}]},
]  # fmt: skip

LOOKUP = {"$lookup": {"from": "u", "localField": "n", "foreignField": "n", "as": "us"}}
VIEWS: dict[str, list[dict[str, Any]]] = {
    "v_all": [],
    "v_match": [{"$match": {"g": 1}}],
    "v_project": [{"$project": {"n": 1}}],
    "v_without": [{"$unset": "w"}],
    "v_group": [{"$group": {"_id": "$g", "n": {"$sum": "$n"}}}],
    "v_facet": [{"$facet": {"a": [{"$count": "n"}], "b": [LOOKUP, {"$limit": 1}]}}],
    "v_lookup": [LOOKUP],
    "v_lookup_unwind": [LOOKUP, {"$unwind": "$us"}],
    "v_lookup_pipeline": [{"$lookup": {"from": "u", "let": {"n": "$n"}, "as": "us", "pipeline": [
        {"$match": {"$expr": {"$eq": ["$n", "$$n"]}}}]}}],
    "v_graph": [{"$graphLookup": {"from": "u", "startWith": "$n", "connectFromField": "n",
                                  "connectToField": "n", "as": "us"}}],
    "v_union": [{"$unionWith": "u"}, {"$match": {"n": {"$lt": 3}}}],
    "v_root": [{"$set": {"copy": "$$ROOT"}}],
    "v_replace": [{"$replaceRoot": {"newRoot": {"_id": "$_id", "all": "$$ROOT"}}}],
    "v_expr": [{"$match": {"$expr": {"$lt": [{"$size": {"$objectToArray": "$$ROOT"}}, 6]}}}],
    "v_text": [{"$match": {"$text": {"$search": "tea"}}}],
    "v_near": [{"$geoNear": {"near": {"type": "Point", "coordinates": [0, 0]},
                             "distanceField": "d", "key": "loc"}},
               {"$unset": "d"}],
    "v_sample": [{"$sample": {"size": 100}}],
    "v_window": [{"$setWindowFields": {"sortBy": {"n": 1}, "output": {
        "r": {"$sum": "$n", "window": {"documents": ["unbounded", "current"]}}}}}],
    "v_sorted": [{"$sort": {"n": -1}}, {"$limit": 3}],
    "v_redact": [{"$redact": "$$KEEP"}],
    "v_stats": [{"$collStats": {"count": {}}}, {"$project": {"ns": 1, "count": 1}}],
}  # fmt: skip

READS: list[dict[str, Any]] = [
    step
    for name in VIEWS
    for step in (
        find(name), {"count": name}, {"distinct": name, "key": "n"},
        aggregate(name, {"$sort": {"_id": 1}}, {"$group": {"_id": 1, "all": {"$push": "$$ROOT"}}}),
        {"listCollections": 1, "filter": {"name": name}},
        find("u", filter={"_id": 1}),
        aggregate("u", {"$sort": {"_id": 1}},
                  {"$lookup": {"from": name, "localField": "n", "foreignField": "n", "as": "j"}},
                  {"$project": {"j.n": 1}}, {"$limit": 2}),
        aggregate("u", {"$unionWith": name}, {"$count": "n"}),
        {"create": f"{name}_2", "viewOn": name, "pipeline": [{"$match": {"n": {"$gt": 0}}}]},
        find(f"{name}_2"),
    )
]  # fmt: skip

OTHERS: list[dict[str, Any]] = [
    view("x", {"$out": "y"}), view("x", {"$merge": "y"}), view("x", {"$bogus": 1}),
    view("x", {"$match": 5}), view("x", {"$facet": {"a": [{"$out": "y"}]}}),
    view("x", {"$documents": []}), {"create": "x", "pipeline": []},
    {"create": "x", "viewOn": 5, "pipeline": []}, {"create": "x", "viewOn": "", "pipeline": []},
    {"create": "x", "viewOn": "t", "pipeline": {}}, {"create": "x", "viewOn": None},
    {"create": "y", "viewOn": "t"}, find("y", limit=1),
    view("v_all"), view("v_all", {"$match": {"n": 1}}), {"create": "v_all"},
    view("z", capped=True, size=4096), view("z", timeseries={"timeField": "a"}),
    view("z", validator={"a": 1}), {"listCollections": 1, "filter": {"name": "z"}},
    view("circle", on="circle"), view("c_en", collation={"locale": "en", "strength": 1}),
    find("c_en", filter={"w": "TEA 1"}), find("c_en", collation={"locale": "fr"}),
    view("c_2", on="c_en"), view("c_3", on="c_en", collation={"locale": "en", "strength": 1}),
    find("c_3", filter={"w": "TEA 1"}),
    {"insert": "v_all", "documents": [{"a": 1}]},
    {"update": "v_all", "updates": [{"q": {}, "u": {"$set": {"a": 1}}}]},
    {"delete": "v_all", "deletes": [{"q": {}, "limit": 1}]},
    {"findAndModify": "v_all", "query": {}, "update": {"$set": {"a": 1}}},
    {"createIndexes": "v_all", "indexes": [{"key": {"a": 1}, "name": "a"}]},
    {"dropIndexes": "v_all", "index": "*"}, {"listIndexes": "v_all"}, {"collStats": "v_all"},
    {"validate": "v_all"}, {"convertToCapped": "v_all", "size": 4096},
    {"cloneCollectionAsCapped": "v_all", "toCollection": "q", "size": 4096},
    {"collMod": "v_all", "validator": {"a": 1}}, {"collMod": "t", "viewOn": "u", "pipeline": []},
    {"collMod": "nope", "viewOn": "u", "pipeline": []},
    {"collMod": "v_match", "viewOn": "u", "pipeline": [{"$match": {"n": 2}}]}, find("v_match"),
    {"listCollections": 1, "filter": {"options.viewOn": "u"}},
    {"listCollections": 1, "filter": {"type": "view", "options.pipeline": []}, "nameOnly": True},
    aggregate("t", {"$merge": "v_all"}), aggregate("t", {"$out": "v_all"}),
    aggregate("v_all", {"$collStats": {"count": {}}}),
    find("v_all", projection={"n": {"$elemMatch": {}}}), find("v_all", tailable=True),
    find("v_all", returnKey=True), find("v_all", hint="nope"), find("v_all", sort={"n": 1}),
    find("v_all", projection={"n": 1}), find("v_all", projection={"n": 0}),
    find("v_all", filter={"$text": {"$search": "tea"}}),
    {"cloneCollectionAsCapped": "u", "toCollection": "capped", "size": 4096}, find("capped"),
    {"cloneCollectionAsCapped": "u", "toCollection": "capped", "size": 4096},
    {"cloneCollectionAsCapped": "nope", "toCollection": "capped2", "size": 4096},
    {"cloneCollectionAsCapped": "u", "toCollection": 5, "size": 4096},
    {"create": "ts", "timeseries": {"timeField": "at"}}, view("v_ts", on="ts"), find("v_ts"),
    {"drop": "y"}, find("y", limit=1), {"drop": "v_all"}, find("v_all_2"), view("v_all"),
    find("v_all_2"),
]  # fmt: skip

COMMANDS = [*(view(name, *stages) for name, stages in VIEWS.items()), *READS, *OTHERS]


DIFFERENT: dict[str, str] = {
    str(view("x", stage)): "our own words for the same refusal"
    for stage in (
        {"$out": "y"},
        {"$merge": "y"},
        {"$match": 5},
        {"$facet": {"a": [{"$out": "y"}]}},
        {"$documents": []},
    )
} | {str(find("v_all", hint="nope")): "the planner shows the real query"}


@pytest.fixture(scope="module")
def pair(proxy: Proxy, shop: Client) -> Iterator[tuple[Sandbox, Sandbox]]:
    """Give a private database, and one of the same name and content behind the proxy."""
    name = f"lab{uuid4().hex[:8]}"
    pair = proxy.admin[name], shop[name]
    for database in pair:
        for command in SEED:
            database.command(command)
    yield pair
    for database in pair:
        database.client.drop_database(name)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command)[:80])
def test_the_same_reply(pair: tuple[Sandbox, Sandbox], command: dict[str, Any]) -> None:
    private, ours = (ordered(reply(database, command)) for database in pair)
    if str(command) in DIFFERENT:
        assert ours["errmsg"] != private["errmsg"], "no longer different"
        assert ours["code"] == private["code"]
    else:
        assert ours == private


def ordered(found: Any) -> Any:
    """Sort what `distinct` found: its order is the server's secret."""
    return {**found, "values": sorted(found["values"], key=str)} if "values" in found else found


# What lies behind, and what other apps see.


@pytest.fixture
def seeded(shop: Client, proxy: Proxy, name: str) -> Iterator[Sandbox]:
    """Give a database of `shop` in which somebody has planted foreign documents."""
    database = shop[name]
    for command in SEED[:2]:
        database.command(command)
    for collection in ("t", "u"):
        physical = proxy.behind[f"shop_@{name}.{collection}"]
        physical.insert_one({"_id": "planted", "app_id": "crm", "n": 1, "secret": True})
    yield database
    shop.drop_database(name)


PLAIN = {n: stages for n, stages in VIEWS.items() if n not in ("v_near", "v_stats", "v_text")}
"""Without those that need an index, and the one that counts what there is."""


@pytest.mark.parametrize("stages", PLAIN.values(), ids=PLAIN)
def test_planted_documents_are_in_no_view(seeded: Sandbox, stages: list[Any]) -> None:
    seeded.command(view("v", *stages))
    seeded.command(view("w", {"$match": {}}, on="v"))
    join = {"$lookup": {"from": "v", "pipeline": [], "as": "j"}}
    graph = {"$graphLookup": {"from": "v", "startWith": 1, "connectFromField": "n",
                              "connectToField": "n", "as": "j"}}  # fmt: skip
    for found in (
        list(seeded.v.find()),
        list(seeded.w.find()),
        list(seeded.u.aggregate([join])),
        list(seeded.u.aggregate([graph])),
        list(seeded.u.aggregate([{"$unionWith": "w"}])),
    ):
        assert "planted" not in str(found)
        assert "app_id" not in str(found)
        assert found


def physical_words(proxy: Proxy, database: str) -> tuple[str, ...]:
    return (proxy.db_name, f"@{database}", "shop_@", "_mdb_engine")


@pytest.mark.parametrize("verbosity", ["queryPlanner", "executionStats", "allPlansExecution"])
@pytest.mark.parametrize("stages", VIEWS.values(), ids=VIEWS)
def test_an_explanation_shows_no_physical_name(
    seeded: Sandbox, proxy: Proxy, stages: list[Any], verbosity: str
) -> None:
    seeded.t.create_index([("w", "text")])
    seeded.t.create_index([("loc", "2dsphere")])
    seeded.command(view("v", *stages))
    for command in (
        {"find": "v", "filter": {"n": 1}},
        {"count": "v"},
        {"distinct": "v", "key": "n"},
        {"aggregate": "v", "pipeline": [{"$match": {"n": 1}}], "cursor": {}},
    ):
        told = seeded.command({"explain": command, "verbosity": verbosity})
        assert not [word for word in physical_words(proxy, seeded.name) if word in str(told)]
        assert told["command"] == {**command, "$db": seeded.name}


UNION = {"$unionWith": {"coll": "t", "pipeline": [{"$set": {"n": 1}}, {"$group": {"_id": None}}]}}


@pytest.mark.parametrize("verbosity", ["executionStats", "allPlansExecution"])
def test_to_explain_a_union_does_not_end_the_server(seeded: Sandbox, verbosity: str) -> None:
    """Each of them ends a private one (6.0.5)."""
    seeded.command(view("v", UNION))
    seeded.command({"create": "w", "viewOn": "v", "pipeline": []})
    pipelines: list[Any] = [[UNION], [{"$facet": {"a": [UNION]}}], [{"$unionWith": "v"}]]
    for command in (
        *({"aggregate": "t", "pipeline": stages, "cursor": {}} for stages in pipelines),
        *({"aggregate": name, "pipeline": [], "cursor": {}} for name in ("v", "w")),
        {"find": "w", "filter": {"n": 1}},
        {"count": "v"},
        {"distinct": "v", "key": "n"},
    ):
        told = seeded.command({"explain": command, "verbosity": verbosity})
        assert "executionStats" not in str(told)
    assert "executionStats" in seeded.command({"explain": {"find": "t"}, "verbosity": verbosity})
    run = {"aggregate": "t", "pipeline": [{"$group": {"_id": "$n"}}], "cursor": {}}
    assert "nReturned" in str(seeded.command({"explain": run, "verbosity": verbosity}))


@pytest.mark.parametrize("option", ["cappedSize", "cappedMax"])
def test_to_change_the_size_of_a_view_does_not_end_the_server(seeded: Sandbox, option: str) -> None:
    """It ends a private one (6.0.5)."""
    seeded.command(view("v"))
    assert reply(seeded, {"collMod": "v", option: 8192})["code"] == 72
    both = {"collMod": "v", "viewOn": "t", "pipeline": [], option: 8192}
    assert reply(seeded, both)["code"] == 72
    assert reply(seeded, {"collMod": "none", option: 8192})["code"] == 26
    seeded.create_collection("capped", capped=True, size=4096)
    assert seeded.command({"collMod": "capped", option: 8192})["ok"]


def test_errors_show_no_physical_name(seeded: Sandbox, proxy: Proxy) -> None:
    seeded.command(view("v", {"$set": {"x": {"$divide": [1, "$n"]}}}))
    commands = [find("v"), *OTHERS]
    told = [reply(seeded, command) for command in commands]
    assert sum(1 for found in told if not found["ok"]) > len(told) / 3
    assert not [word for word in physical_words(proxy, seeded.name) if word in str(told)]


def test_the_cluster_holds_the_guarded_form(seeded: Sandbox, proxy: Proxy) -> None:
    seeded.command(view("v", {"$project": {"n": 1}}))
    physical = f"shop_@{seeded.name}.v"
    (stored,) = proxy.behind.list_collections(filter={"name": physical})
    assert stored["options"]["viewOn"] == f"shop_@{seeded.name}.t"
    assert stored["options"]["pipeline"] == [
        {"$match": {"app_id": "shop"}},
        {"$project": {"n": 1}},
        {"$set": {"app_id": {"$literal": "shop"}}},
    ]
    (kept,) = proxy.behind["_mdb_engine_views"].find({"collection": physical})
    assert kept["_id"] == f"{physical} {kept['of']}"
    seeded.drop_collection("v")
    assert not list(proxy.behind["_mdb_engine_views"].find({"collection": physical}))


def test_a_definition_is_shown_byte_for_byte(seeded: Sandbox) -> None:
    odd = [Int64(5), 5, 5.0, Decimal128("5.00"), Binary(b"x", 128), Regex("^a", "i"), MinKey(),
           Timestamp(1, 2), DBRef("t", 1), {"a": {"$$x": 1}}, None, -0.0]  # fmt: skip
    given = [
        RawBSONDocument(encode({"$match": {"a": {"$in": odd}}})),
        # A name that stands twice, in a value that is only compared.
        RawBSONDocument(encode({"$match": {"a": {"x": 1, "y": 2}}}).replace(b"y", b"x")),
        RawBSONDocument(encode({"$set": {"a": {"$literal": {"$x": {"b.c": odd}}}}})),
    ]
    seeded.command(view("v", *given))
    listing = {"listCollections": 1, "filter": {"name": "v"}}
    found = seeded.command(listing, codec_options=CodecOptions(RawBSONDocument))
    options = found["cursor"]["firstBatch"][0]["options"]
    assert [shown.raw for shown in options["pipeline"]] == [stage.raw for stage in given]


def test_another_definition_is_shown(seeded: Sandbox, proxy: Proxy) -> None:
    def shown() -> Any:
        return next(seeded.list_collections(filter={"name": "v"}))["options"]

    seeded.command(view("v", {"$project": {"n": 1}}))
    seeded.command({"collMod": "v", "viewOn": "u", "pipeline": [{"$match": {"n": 2}}]})
    assert shown() == {"viewOn": "u", "pipeline": [{"$match": {"n": 2}}]}
    assert [d["_id"] for d in seeded.v.find()] == [1]
    # Somebody changes it behind our back: what is told is what is there.
    physical = f"shop_@{seeded.name}"
    stages = [{"$match": {"app_id": "shop"}}, {"$unionWith": f"{physical}.t"}, {"$limit": 3}]
    proxy.behind.command(
        {"collMod": f"{physical}.v", "viewOn": f"{physical}.u", "pipeline": stages}
    )
    assert shown() == {"viewOn": "u", "pipeline": [{"$unionWith": "t"}, {"$limit": 3}]}
    hidden = [{"$unionWith": "crm_tasks"}]
    proxy.behind.command({"collMod": f"{physical}.v", "viewOn": "crm_x", "pipeline": hidden})
    assert shown() == {}


def test_a_view_made_by_hand_is_read_as_far_as_it_is_tagged(seeded: Sandbox, proxy: Proxy) -> None:
    physical = f"shop_@{seeded.name}"
    proxy.behind.command(
        {"create": f"{physical}.v", "viewOn": f"{physical}.t", "pipeline": [{"$project": {"n": 1}}]}
    )
    proxy.behind.command(
        {"create": f"{physical}.w", "viewOn": f"{physical}.t", "pipeline": [{"$limit": 3}]}
    )
    assert list(seeded.v.find()) == []
    assert [d["_id"] for d in seeded.w.find()] == [0, 1, 2]


def test_refused_sources(seeded: Sandbox) -> None:
    home = seeded.client.shop
    for command, code in (
        (view("v", on="_mdb_engine_credentials"), 73),
        (view("v", on="system.views"), 73),
    ):
        assert reply(home, command)["code"] == code


def test_a_name_like_another_apps_is_an_own_one(seeded: Sandbox, proxy: Proxy) -> None:
    proxy.behind["crm_tasks"].insert_one({"app_id": "shop", "n": 1})
    seeded.client.shop.command(view("v", on="crm_tasks"))
    assert list(seeded.client.shop.v.find()) == []
    seeded.client.shop.drop_collection("v")
    proxy.behind.drop_collection("crm_tasks")


def test_views_and_read_scopes(mongo_uri: str, tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    for slug, more in (("shop", {}), ("crm", {"data_access": {"read_scopes": ["shop"]}})):
        text = json.dumps({"schema_version": "2.0", "slug": slug, "name": slug, **more})
        (folder / f"{slug}.json").write_text(text)
    with (
        serving(mongo_uri, folder, tmp_path / "log") as proxy,
        proxy.client("shop") as shop,
        proxy.client("crm") as crm,
    ):
        shop.shop.t.insert_many([{"_id": 1, "n": 1}, {"_id": 2, "n": 2}])
        shop.shop.command(view("v", {"$project": {"n": 1}}))
        assert [d["n"] for d in crm.crm.shop_v.find()] == [1, 2]
        assert crm.crm.list_collection_names() == []
        for command in (
            view("w", on="shop_t"),
            view("w", {"$unionWith": "shop_t"}, on="own"),
            view("w", {"$lookup": {"from": "shop_v", "pipeline": [], "as": "j"}}, on="own"),
            {"collMod": "shop_v", "viewOn": "x", "pipeline": []},
            {"drop": "shop_v"},
        ):
            assert reply(crm.crm, command)["code"] == 13
        # What is stored outlives a grant: another app's documents are in no view.
        crm.crm.own.insert_one({"_id": 1})
        proxy.behind["crm_own"].insert_one({"_id": 2, "app_id": "shop"})
        crm.crm.command(view("w", {"$unionWith": "own"}, on="own"))
        assert len(list(crm.crm.own.find())) == 2
        assert list(crm.crm.w.find()) == [{"_id": 1}, {"_id": 1}]


def test_a_view_on_what_a_later_slug_owns_is_not_read(mongo_uri: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serving(mongo_uri, ROOT / "manifests", log) as proxy, proxy.client("shop") as client:
        home = client.shop
        home.late_x.insert_one({"_id": 1})
        home.command(view("v", on="late_x"))
        home.command(view("w", on="v"))
        assert len(list(home.w.find())) == 1
        entry = {"_id": "shop_late", "state": "live", "first_seen": datetime.now(UTC),
                 "since": None, "fold": "shoplate", "home": ["shop_late"]}  # fmt: skip
        proxy.behind["_mdb_engine_slugs"].insert_one(entry)
        joined = aggregate("t", {"$lookup": {"from": "v", "pipeline": [], "as": "j"}})
        commands = (find("v"), find("w"), {"count": "v"}, joined, view("x", on="late_x"))
        until = time.monotonic() + 20
        while [reply(home, command).get("code") for command in commands] != [73] * 5:
            assert time.monotonic() < until
            time.sleep(0.2)
        assert reply(home, {"drop": "w"})["ok"] == 1.0


def test_views_that_double_are_refused_in_time(seeded: Sandbox) -> None:
    """The server would write them all out before it looks at the time."""
    below, made = "t", 0
    for level in range(20):
        twice = view(f"d{level}", {"$unionWith": below}, {"$unionWith": below}, on="u")
        found = reply(seeded, twice)
        if not found["ok"]:
            assert (found["code"], "250" in found["errmsg"]) == (2, True)
            break
        below, made = f"d{level}", level + 1
    assert 3 < made < 10
    assert seeded[below].find_one() is not None


def test_a_view_in_a_transaction(seeded: Sandbox) -> None:
    with seeded.client.start_session() as session, session.start_transaction():
        seeded.command({"create": "plain"}, session=session)
        session.commit_transaction()
    assert "plain" in seeded.list_collection_names()
    with seeded.client.start_session() as session:
        session.start_transaction()
        with pytest.raises(OperationFailure) as refused:
            seeded.command(view("v"), session=session)
        assert refused.value.code == 263


def test_dropping_a_database_forgets_its_views(shop: Client, proxy: Proxy, name: str) -> None:
    database = shop[name]
    database.command(view("v"))
    database.command({"create": "c", "validator": {"a": 1}})
    pattern = {"collection": {"$regex": name}}
    assert proxy.behind["_mdb_engine_views"].count_documents(pattern) == 2
    shop.drop_database(name)
    assert proxy.behind["_mdb_engine_views"].count_documents(pattern) == 0
    assert not list(proxy.behind.list_collections(filter={"name": {"$regex": name}}))


def test_the_store_is_nobodys(seeded: Sandbox) -> None:
    for command in (find("_mdb_engine_views"), {"drop": "_mdb_engine_views"}):
        assert reply(seeded.client.shop, command)["code"] == 73
