"""Change streams: an app sees its own events, all of them, in its own words, and nobody else's."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import bson
import pytest
from bson import Binary, Timestamp
from pymongo.change_stream import ChangeStream
from pymongo.database import Database
from pymongo.errors import OperationFailure

from tests.support.proxies import Client, Proxy, serving

APPS: dict[str, dict[str, Any]] = {
    "shop": {
        "database": ["shop", "store"],
        "data_access": {"read_scopes": ["shop", "shared"]},
        "limits": {"max_change_streams": 5},
    },
    "shop_eu": {},
    "crm": {},
    "shared": {},
}
WAIT_MS = 200
CANARY = "canary-of-somebody-else"
VOLATILE = ("_id", "clusterTime", "collectionUUID", "wallTime")

Sandbox = Database[dict[str, Any]]
Events = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class World:
    proxy: Proxy
    clients: Mapping[str, Client]

    @property
    def shop(self) -> Sandbox:
        """Give the home database of the app that watches."""
        return self.clients["shop"]["shop"]


@pytest.fixture(scope="module")
def world(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give the apps."""
    folder = tmp_path_factory.mktemp("apps")
    for slug, more in APPS.items():
        manifest = {"schema_version": "2.0", "slug": slug, "name": slug, "status": "active"}
        (folder / f"{slug}.json").write_text(json.dumps(manifest | more))
    log = tmp_path_factory.mktemp("streams") / "stderr.log"
    with serving(mongo_uri, folder, log) as proxy, ExitStack() as stack:
        clients = {slug: stack.enter_context(proxy.client(slug)) for slug in APPS}
        yield World(proxy, clients)


def drained(stream: ChangeStream[Any], until: Callable[[Any], bool] | None = None) -> Events:
    """Give the events that have come; the last is the one that `until` waits for."""
    found: Events = []
    for _ in range(60):
        event = stream.try_next()
        if event is None:
            if until is None:
                return found
            continue
        found.append(event)
        if (until is not None and until(event)) or not stream.alive:
            return found
    assert until is None, f"it never came: {found}"
    return found


def is_marker(event: Mapping[str, Any]) -> bool:
    return bool(event.get("documentKey") == {"_id": "marker"})


def bare(event: dict[str, Any]) -> Any:
    """Give an event without what differs between any two runs."""
    return unnumbered({k: v for k, v in event.items() if k not in VOLATILE})


def unnumbered(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: unnumbered(v) for k, v in value.items()}
    if isinstance(value, list):
        return [unnumbered(v) for v in value]
    return "uuid" if isinstance(value, Binary) and value.subtype == 4 else value


def is_passing(event: Mapping[str, Any]) -> bool:
    name = event.get("ns", {}).get("coll", "")
    return name.startswith("tmp") and event["operationType"] != "rename"


def compared(world: World, db: str, watched: str | None, options: Mapping[str, Any]) -> Any:
    """Give the events of the app and of a private database, that one under the app's name.

    A collection that the server is still making is not shown, and has its last name here
    (docs/differences.md).
    """
    found = []
    for database in (world.clients["shop"][db], world.proxy.admin["e2e_private_streams"]):
        database.client.drop_database(database.name)
        source = database if watched is None else database[watched]
        with source.watch(max_await_time_ms=WAIT_MS, **options) as stream:
            everything(database)
            shown = (bare(event) for event in drained(stream) if not is_passing(event))
            events = json.dumps(list(shown), default=repr)
        events = events.replace(database.name, db)
        found.append(json.loads(re.sub(r"tmp\w+\.convertToCapped\.", "", events)))
    return found


def crud(db: Sandbox) -> None:
    tasks = db.tasks
    tasks.insert_many([{"_id": n, "n": n, "t": [1, 2]} for n in range(3)])
    tasks.update_one({"_id": 0}, {"$set": {"a.b": 1}, "$unset": {"n": 1}})
    tasks.update_one({"_id": 1}, [{"$set": {"n": {"$add": ["$n", 5]}}}])
    tasks.replace_one({"_id": 1}, {"whole": "new"})
    tasks.update_one({"_id": 2}, {"$push": {"t": 3}})
    tasks.update_one({"_id": 9}, {"$set": {"x": 1}}, upsert=True)
    tasks.find_one_and_update({"_id": 9}, {"$inc": {"x": 1}})
    tasks.find_one_and_delete({"_id": 9})
    tasks.delete_many({"_id": {"$lt": 1}})


def definitions(db: Sandbox) -> None:
    db.create_collection("made")
    db.made.create_index("a")
    db.made.insert_one({"_id": 1})
    db.made.drop_index("a_1")
    db.command("collMod", "made", validationLevel="off")
    db.made.rename("moved")
    db.moved.insert_one({"_id": 2})
    db.command("convertToCapped", "moved", size=100_000)
    db.moved.drop()


def everything(db: Sandbox) -> None:
    crud(db)
    definitions(db)


STREAMS: list[dict[str, Any]] = [
    {},
    {"full_document": "updateLookup"},
    {"full_document": "whenAvailable", "full_document_before_change": "whenAvailable"},
    {"show_expanded_events": True},
    {"pipeline": [{"$match": {"ns.coll": "tasks", "operationType": {"$ne": "insert"}}}]},
    {"pipeline": [{"$match": {"ns.coll": "tasks"}}, {"$project": {"operationType": 1}}]},
    {"pipeline": [{"$addFields": {"x": "$ns.coll", "y": "$$ROOT.fullDocument"}}]},
    {"pipeline": [{"$set": {"fullDocument.z": 1}}, {"$unset": "ns"}]},
    {"pipeline": [{"$replaceWith": {"_id": "$_id", "d": "$fullDocument"}}]},
    {"pipeline": [{"$redact": "$$KEEP"}]},
    {"collation": {"locale": "en", "strength": 1}},
    {"batch_size": 1},
]


@pytest.mark.parametrize("options", STREAMS, ids=str)
@pytest.mark.parametrize("db", ["shop", "other"])
def test_a_database_has_the_events_of_a_private_one(
    world: World, db: str, options: dict[str, Any]
) -> None:
    ours, private = compared(world, db, None, options)
    assert ours == private
    assert len(ours) > 5


COLLECTION_STREAMS: list[dict[str, Any]] = [
    {},
    {"full_document": "updateLookup", "show_expanded_events": True},
    {"pipeline": [{"$project": {"ns": 1, "to": 1, "fullDocument.n": 1}}]},
]


@pytest.mark.parametrize("options", COLLECTION_STREAMS, ids=str)
@pytest.mark.parametrize("collection", ["tasks", "made", "moved"])
def test_a_collection_has_the_events_of_a_private_one(
    world: World, collection: str, options: dict[str, Any]
) -> None:
    ours, private = compared(world, "shop", collection, options)
    assert ours == private
    assert ours


def test_what_out_makes_is_shown_when_it_is_there(world: World) -> None:
    shop = world.shop
    shop.source.insert_many([{"_id": n} for n in range(3)])
    with (
        shop.watch(max_await_time_ms=WAIT_MS) as wide,
        shop.target.watch(max_await_time_ms=WAIT_MS) as narrow,
    ):
        shop.source.aggregate([{"$out": "target"}])
        renamed = {"operationType": "rename", "ns": {"db": "shop", "coll": "target"}}
        renamed["to"] = {"db": "shop", "coll": "target"}
        assert [bare(event) for event in drained(wide)] == [renamed]
        assert [bare(event) for event in drained(narrow)][:1] == [renamed]


def test_a_cluster_is_all_of_the_apps_own_databases(world: World) -> None:
    client = world.clients["shop"]
    with client.watch(max_await_time_ms=WAIT_MS) as stream:
        for name in ("shop", "store", "other"):
            client[name].across.insert_one({"_id": name})
        for slug in ("shop_eu", "crm", "shared"):
            world.clients[slug][slug].across.insert_one({"_id": slug, "secret": CANARY})
        client["other"].across.rename("later")
        client["shop"].across.insert_one({"_id": "marker"})
        events = drained(stream, is_marker)
    places = [(e["operationType"], e["ns"]["db"], e["ns"]["coll"]) for e in events]
    assert places == [
        ("insert", "shop", "across"),
        ("insert", "shop", "across"),
        ("insert", "other", "across"),
        ("rename", "other", "across"),
        ("insert", "shop", "across"),
    ]
    assert events[3]["to"] == {"db": "other", "coll": "later"}


def _raw(database: Sandbox, command: dict[str, Any], **more: Any) -> bytes:
    options: bson.CodecOptions[Any] = bson.CodecOptions(
        document_class=bson.raw_bson.RawBSONDocument
    )
    return database.command(command, codec_options=options, **more).raw  # type: ignore[attr-defined]


@pytest.mark.parametrize("level", ["collection", "database", "cluster"])
def test_nothing_of_another_app_arrives(world: World, level: str) -> None:
    client = world.clients["shop"]
    source: Any = "tasks" if level == "collection" else 1
    database = client["admin" if level == "cluster" else "shop"]
    stage: dict[str, Any] = {"fullDocument": "updateLookup", "showExpandedEvents": True}
    if level == "cluster":
        stage["allChangesForCluster"] = True
    stages = [{"$changeStream": stage}, {"$set": {"ns.db": "crm"}}]
    opened = _raw(database, {"aggregate": source, "pipeline": stages, "cursor": {}})
    cursor = bson.decode(opened)["cursor"]
    shown = source if source != 1 else "$cmd.aggregate"
    assert cursor["ns"] == f"{database.name}.{shown}"
    behind = world.proxy.behind
    for slug in ("shop_eu", "crm", "shared"):
        tasks = world.clients[slug][slug].tasks
        tasks.insert_one({"_id": level, "secret": CANARY})
        tasks.update_one({"_id": level}, {"$set": {"secret": CANARY + "2"}})
        tasks.create_index("secret")
        tasks.delete_one({"_id": level})
    planted = {"_id": f"planted {level}", "secret": CANARY}
    behind.shop_tasks.insert_one({**planted, "app_id": "crm"})
    behind.crm_tasks.insert_one({**planted, "app_id": "shop"})
    behind.shop_eu_tasks.insert_one({**planted, "app_id": "shop"})
    client["shop"].tasks.insert_one({"_id": f"marker {level}"})
    seen = b""
    for _ in range(30):
        more = {"getMore": bson.Int64(cursor["id"]), "collection": shown, "maxTimeMS": 200}
        seen += _raw(database, more)
        if f"marker {level}".encode() in seen:
            break
    else:
        pytest.fail("the marker never came")
    database.command({"killCursors": shown, "cursors": [bson.Int64(cursor["id"])]})
    for secret in (CANARY, "shop_tasks", "shop_eu", "crm_", "app_id", world.proxy.db_name):
        assert secret.encode() not in opened + seen


JOIN = {"from": "x", "localField": "a", "foreignField": "b", "as": "y"}
REFUSED: list[tuple[str, Any, list[dict[str, Any]], int]] = [
    ("shop", "tasks", [{"$changeStream": {"allowToRunOnSystemNS": True}}], 40415),
    ("shop", "tasks", [{"$changeStream": {"showMigrationEvents": True}}], 40415),
    ("shop", "tasks", [{"$changeStream": {"showSystemEvents": True}}], 40415),
    ("shop", "tasks", [{"$changeStream": {"showRawUpdateDescription": True}}], 40415),
    ("shop", "tasks", [{"$changeStream": {"allowToRunOnConfigDB": True}}], 40415),
    ("shop", "tasks", [{"$changeStream": {"$_passthroughToShard": {}}}], 40415),
    ("shop", "tasks", [{"$changeStream": 1}], 6188500),
    ("shop", "tasks", [{"$changeStream": {}}, {"$group": {"_id": 1}}], 20),
    ("shop", "tasks", [{"$changeStream": {}}, {"$out": "x"}], 20),
    ("shop", "tasks", [{"$changeStream": {}}, {"$lookup": JOIN}], 20),
    ("shop", "tasks", [{"$match": {}}, {"$changeStream": {}}], 40602),
    ("shop", "tasks", [{"$facet": {"a": [{"$changeStream": {}}]}}], 40600),
    ("shop", "tasks", [{"$changeStream": {}}, {"$match": {"$where": "1"}}], 2),
    ("shop", "tasks", [{"$changeStream": {}}, {"$project": {"_id": 0}}], 0),
    ("shop", "eu_tasks", [{"$changeStream": {}}], 73),
    ("shop", "system.views", [{"$changeStream": {}}], 73),
    ("shop", "tasks", [{"$changeStream": {"allChangesForCluster": True}}], 72),
    ("shop", 1, [{"$changeStream": {"allChangesForCluster": True}}], 72),
    ("admin", 1, [{"$changeStream": {}}], 73),
    ("admin", "tasks", [{"$changeStream": {"allChangesForCluster": True}}], 13),
    ("admin", 1, [{"$match": {}}], 13),
    ("local", 1, [{"$changeStream": {}}], 13),
    ("config", 1, [{"$changeStream": {}}], 13),
    ("shop", "tasks", [{"$changeStream": {"resumeAfter": {"_data": "zz"}}}], 9),
    ("shop", 1, [{"$changeStream": {"resumeAfter": 5}}], 14),
    ("shop", "tasks", [{"$changeStream": {"fullDocument": "x"}}], 2),
]


@pytest.mark.parametrize(("db", "source", "stages", "code"), REFUSED, ids=str)
def test_what_a_stream_must_not_be(
    world: World, db: str, source: Any, stages: list[Any], code: int
) -> None:
    database = world.clients["shop"][db]
    command = {"aggregate": source, "pipeline": stages, "cursor": {}}
    if not code:
        cursor = database.command(command)["cursor"]
        database.command({"killCursors": source, "cursors": [bson.Int64(cursor["id"])]})
        return
    with pytest.raises(OperationFailure) as refused:
        database.command(command)
    assert refused.value.code == code
    assert world.proxy.db_name not in str(refused.value)


def test_it_cannot_be_explained(world: World) -> None:
    inner = {"aggregate": 1, "pipeline": [{"$changeStream": {}}], "cursor": {}}
    with pytest.raises(OperationFailure) as refused:
        world.shop.command({"explain": inner})
    assert refused.value.code == 20


def test_it_resumes_where_it_was(world: World) -> None:
    tasks = world.shop.resumed
    with tasks.watch(max_await_time_ms=WAIT_MS) as stream:
        tasks.insert_one({"_id": 1})
        (first,) = drained(stream)
        token = stream.resume_token
    tasks.insert_one({"_id": 2})
    for start in ({"resume_after": token}, {"start_after": first["_id"]}):
        with tasks.watch(max_await_time_ms=WAIT_MS, **start) as stream:
            assert [event["fullDocument"] for event in drained(stream)] == [{"_id": 2}]
    at = {"start_at_operation_time": first["clusterTime"]}
    with tasks.watch(max_await_time_ms=WAIT_MS, **at) as stream:
        assert [event["documentKey"]["_id"] for event in drained(stream)] == [1, 2]


def test_what_was_before_the_apps_time_is_not_shown(world: World) -> None:
    """The names may have been somebody else's; the oplog still holds what they did."""
    start = {"start_at_operation_time": Timestamp(1, 1)}
    try:
        with world.shop.watch(max_await_time_ms=WAIT_MS, **start) as stream:
            events = drained(stream)
    except OperationFailure as error:
        assert error.code == 286, "only because the oplog does not reach so far"  # noqa: PT017
        return
    entry = world.proxy.behind["_mdb_engine_slugs"].find_one({"_id": "shop"})
    assert all(event["clusterTime"] > entry["since"] for event in events)


def test_a_granted_scope_is_watched_under_its_full_name(world: World) -> None:
    shared = world.clients["shared"]["shared"]
    with world.shop.shared_catalog.watch(max_await_time_ms=WAIT_MS) as stream:
        shared.catalog.insert_one({"_id": 1, "n": 5})
        shared.secrets.insert_one({"_id": 1, "n": CANARY})
        shared.catalog.rename("archive")
        events = [bare(event) for event in drained(stream)]
    ns = {"db": "shop", "coll": "shared_catalog"}
    assert events[0] == {
        "operationType": "insert",
        "fullDocument": {"_id": 1, "n": 5},
        "ns": ns,
        "documentKey": {"_id": 1},
    }
    moved = {"db": "shop", "coll": "shared_archive"}
    assert events[1] == {"operationType": "rename", "ns": ns, "to": moved}
    with pytest.raises(OperationFailure) as refused:
        world.clients["crm"]["crm"].shop_eu_tasks.database.command(
            "aggregate", "system.buckets.x", pipeline=[{"$changeStream": {}}], cursor={}
        )
    assert refused.value.code == 73


def test_an_app_may_have_so_many_streams(world: World) -> None:
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(world.shop.many.watch(max_await_time_ms=WAIT_MS))
        with pytest.raises(OperationFailure, match="too many open change streams") as refused:
            world.shop.command("aggregate", "many", pipeline=[{"$changeStream": {}}], cursor={})
        assert refused.value.code == 462
    world.shop.many.watch(max_await_time_ms=WAIT_MS).close()


def test_a_stream_is_its_owners(world: World) -> None:
    pipeline: list[dict[str, Any]] = [{"$changeStream": {}}]
    for source, shown in (("tasks", "tasks"), (1, "$cmd.aggregate")):
        command = {"aggregate": source, "pipeline": pipeline, "cursor": {}}
        number = bson.Int64(world.shop.command(command)["cursor"]["id"])
        more = {"getMore": number, "collection": shown, "maxTimeMS": 100}
        for slug in ("crm", "shop_eu"):
            with pytest.raises(OperationFailure) as refused:
                world.clients[slug]["shop"].command(more)
            assert refused.value.code == 43
        assert world.shop.command(more)["cursor"]["id"] == number
        world.shop.command({"killCursors": shown, "cursors": [number]})
