"""Four apps, planted documents: whatever `shop` sends, nothing of another app is seen or changed.

After every row all foreign collections are compared with their state before, and the reply is
searched byte for byte for canaries: field values, physical names, the cluster's own address.
"""

import itertools
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import bson
import pytest
from bson import Binary, Code, Int64, Regex
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from tests.support.programs import create_credential
from tests.support.proxies import SELECTION_MS, Client, Proxy, serving

APPS: dict[str, dict[str, Any]] = {
    "shop": {"data_access": {"read_scopes": ["shop", "shared"]}},
    "shop_eu": {},
    "crm": {},
    "shared": {},
}
COLLECTIONS = ("tasks", "users", "orders")
EXOTIC = uuid4()
TAKES_EFFECT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class World:
    proxy: Proxy
    clients: Mapping[str, Client]

    def foreign(self, caller: str) -> dict[str, list[bytes]]:
        """Give the bytes of everything that is not the caller's."""
        longer = tuple(f"{slug}_" for slug in APPS if slug.startswith(f"{caller}_"))
        names = sorted(self.proxy.behind.list_collection_names())
        found = {}
        for name in names:
            own = name.startswith(f"{caller}_") and not name.startswith(longer or ("\0",))
            raw = self.proxy.behind.get_collection(
                name, codec_options=bson.CodecOptions(document_class=RawBSONDocument)
            )
            condition: dict[str, Any] = {"app_id": {"$ne": caller}} if own else {}
            documents = [document.raw for document in raw.find(condition, sort=[("_id", 1)])]
            if documents or not own:
                found[name] = documents
            if not own:
                found[f"{name}: indexes"] = [bson.encode(index) for index in raw.list_indexes()]
        return found


@pytest.fixture(scope="module")
def world(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give the four apps, 20 documents in each collection, and two planted ones."""
    folder = tmp_path_factory.mktemp("apps")
    for slug, more in APPS.items():
        manifest = {"schema_version": "2.0", "slug": slug, "name": slug, "status": "active"}
        (folder / f"{slug}.json").write_text(json.dumps(manifest | more))
    log = tmp_path_factory.mktemp("isolation") / "stderr.log"
    with serving(mongo_uri, folder, log) as proxy:
        clients = {slug: proxy.client(slug, retryWrites=False) for slug in APPS}
        for slug, name in itertools.product(APPS, COLLECTIONS):
            clients[slug][slug][name].insert_many(
                {"_id": n, "n": n, "secret": canary(slug)} for n in range(20)
            )
        planted = {"_id": "planted", "n": 1}
        proxy.behind.shop_tasks.insert_one(planted | {"app_id": "crm", "secret": canary("crm")})
        proxy.behind.crm_tasks.insert_one(planted | {"app_id": "shop", "secret": canary("crm")})
        yield World(proxy, clients)
        for client in clients.values():
            client.close()


def canary(slug: str) -> str:
    return f"canary-of-{slug}"


def find(name: Any, **more: Any) -> dict[str, Any]:
    return {"find": name, **more}


def aggregate(*stages: Any, source: Any = "tasks", **more: Any) -> dict[str, Any]:
    return {"aggregate": source, "pipeline": list(stages), "cursor": {}, **more}


def write(q: Any, u: Any, **more: Any) -> dict[str, Any]:
    return {"update": "tasks", "updates": [{"q": q, "u": u, **more}]}


def where(code: Any = "true") -> dict[str, Any]:
    return {"$where": code}


FUNCTION = {"$function": {"body": "function() { return true }", "args": [], "lang": "js"}}
LOOKUP = {"localField": "n", "foreignField": "n", "as": "x"}
OPLOG = {"db": "local", "coll": "oplog.rs"}

ROWS: list[tuple[dict[str, Any], int]] = [
    # a number above 0: the error's code; 0: it succeeds; -1: either, the oracle decides
    (find("tasks"), 0),
    (find("crm_tasks"), 0),
    (find("eu_tasks"), 73),
    ({"insert": "eu_tasks", "documents": [{"a": 1}]}, 73),
    (find("shop_tasks"), 0),
    (find(""), 73),
    (find("a$b"), 73),
    (find("../crm_tasks"), 73),
    (find("system.users"), 73),
    (find("system.views"), 73),
    (find("SYSTEM.profile"), 73),
    (find("system.buckets.x"), 73),
    (find("apps_config"), 73),
    (find("_mdb_engine_slugs"), 73),
    (find("123users"), 73),
    (find("x" * 256), 73),
    (find(Binary.from_uuid(EXOTIC)), 2),
    ({"count": Binary.from_uuid(EXOTIC)}, 2),
    ({"distinct": Binary.from_uuid(EXOTIC), "key": "secret"}, 2),
    ({"listIndexes": Binary.from_uuid(EXOTIC)}, 2),
    (find("tasks", collectionUUID=Binary.from_uuid(EXOTIC)), 40415),
    (find(1), 2),
    (find("tasks", **{"$replData": True}), 40415),
    (find("tasks", runtimeConstants={}), 40415),
    (aggregate(fromMongos=True, needsMerge=True), 40415),
    ({"FIND": "tasks"}, 59),
    (find("tasks", filter={"app_id": "crm"}), 0),
    (find("tasks", filter={"app_id": {"$in": ["shop", "crm"]}}), 0),
    (find("tasks", filter={"$or": [{"app_id": "crm"}, {}]}), 0),
    (find("tasks", filter={"$nor": [{"app_id": "shop"}]}), 0),
    (find("tasks", filter={"app_id": {"$exists": False}}), 0),
    (find("tasks", filter={"$expr": {"$ne": ["$app_id", "shop"]}}), 0),
    (find("tasks", filter={"app_id": "CRM"}, collation={"locale": "en", "strength": 1}), 0),
    (find("tasks", filter=None), 14),
    (find("tasks", filter=[]), 14),
    (find("tasks", returnKey=True), 0),
    (find("tasks", hint={"$natural": 1}), 0),
    (find("tasks", min={"_id": 0}, max={"_id": "z"}, hint={"_id": 1}), 0),
    ({"count": "tasks"}, 0),
    ({"count": "tasks", "query": None}, 0),
    ({"distinct": "tasks", "key": "secret"}, 0),
    ({"distinct": "tasks", "key": "app_id"}, 0),
    (find("tasks", filter=where()), 2),
    (find("tasks", filter=where(Code("true"))), 2),
    (find("tasks", filter={"$and": [where()]}), 2),
    (find("tasks", filter={"$nor": [{"a": 1}, where()]}), 2),
    (find("tasks", filter={"$expr": FUNCTION}), 2),
    (find("tasks", projection={"a": FUNCTION}), 2),
    (find("tasks", let={"a": FUNCTION}), 2),
    (aggregate({"$match": {"$expr": FUNCTION}}), 2),
    (aggregate({"$group": {"_id": 1, "a": {"$accumulator": {}}}}), 2),
    (aggregate({"$lookup": {"from": "users", "let": {"a": FUNCTION}, "pipeline": [],
                            "as": "x"}}), 2),
    (aggregate({"$facet": {"a": [{"$lookup": {"from": "users", "as": "x", "pipeline": [
        {"$match": where()}]}}]}}), 2),
    (aggregate({"$graphLookup": {"from": "users", "startWith": FUNCTION, "as": "x",
                                 "connectFromField": "a", "connectToField": "b"}}), 2),
    (aggregate({"$unionWith": {"coll": "users", "pipeline": [{"$match": where()}]}}), 2),
    (aggregate({"$merge": {"into": "m", "let": {"a": FUNCTION}}}), 2),
    (aggregate({"$redact": FUNCTION}), 2),
    (write({"_id": 1}, [{"$set": {"a": FUNCTION}}]), 2),
    (write(where(), {"$set": {"a": 1}}), 2),
    ({"delete": "tasks", "deletes": [{"q": where(), "limit": 0}]}, 2),
    ({"explain": find("tasks", filter=where())}, 2),
    (find("tasks", filter={"$_internalSchemaXor": [{"a": 1}, where()]}), 2),
    (find("tasks", projection={"a": {"$_internalJsEmit": {}}}), 2),
    (find("tasks", filter={"$eval": "1"}), 2),
    ({"eval": "1"}, 59),
    ({"mapReduce": "tasks", "map": Code("x"), "reduce": Code("y"), "out": "z"}, 13),
    ({"listCollections": 1, "filter": {"$expr": FUNCTION}}, 2),
    (aggregate(), 0),
    (aggregate({"$group": {"_id": "$app_id"}}), 0),
    (aggregate({"$lookup": {"from": "crm_users", **LOOKUP}}), 0),
    (aggregate({"$lookup": {"from": "eu_users", **LOOKUP}}), 73),
    (aggregate({"$lookup": {"from": OPLOG, **LOOKUP}}), 9),
    (aggregate({"$lookup": {"from": {"db": "x", "coll": "crm_users"}, **LOOKUP}}), 9),
    (aggregate({"$lookup": {"as": "x", "pipeline": [{"$match": {}}]}}), 9),
    (aggregate({"$set": {"app_id": "crm"}},
               {"$lookup": {"from": "tasks", "localField": "app_id", "foreignField": "app_id",
                            "as": "x"}}), 0),
    (aggregate({"$graphLookup": {"from": "tasks", "startWith": "$n", "connectFromField": "n",
                                 "connectToField": "n", "as": "x"}}), 0),
    (aggregate({"$unionWith": "tasks"}), 0),
    (aggregate({"$unionWith": {"coll": "users", "pipeline": [{"$unionWith": "tasks"}]}}), 0),
    (aggregate({"$unionWith": {"db": "x", "coll": "users"}}), 40415),
    (aggregate({"$facet": {"a": [{"$unionWith": "tasks"}],
                           "b": [{"$lookup": {"from": "tasks", **LOOKUP}}]}}), 0),
    (aggregate({"$out": "x"}), 0),
    (aggregate({"$out": "eu_tasks"}), 73),
    (aggregate({"$out": {"db": "other", "coll": "x"}}), 0),
    (aggregate({"$out": {"db": "admin", "coll": "x"}}), 13),
    (aggregate({"$merge": "crm_merged"}), 0),
    (aggregate({"$merge": {"into": {"db": "local", "coll": "x"}}}), 13),
    (aggregate({"$merge": {"into": "m", "whenMatched": [{"$unset": "app_id"}]}}), 0),
    (aggregate({"$collStats": {"storageStats": {}}}), 0),
    (aggregate({"$indexStats": {}}), 0),
    (aggregate({"$lookup": {"from": "users", "as": "x", "pipeline": [{"$collStats": {}}]}}), 13),
    *((aggregate({stage: {}}), 13) for stage in (
        "$currentOp", "$listSessions", "$listLocalSessions", "$planCacheStats", "$listCatalog")),
    *((aggregate({stage: {}}), 40324) for stage in (
        "$_internalInhibitOptimization", "$mergeCursors", "$queue", "$_unpackBucket",
        "$_internalApplyOplogUpdate", "$search", "$nonsense")),
    (aggregate({"$match": {}}, source=1), 73),
    (aggregate({"$documents": [{"a": 1}]}, source=1), 0),
    (aggregate({"$currentOp": {}}, source=1), 13),
    (write({"_id": 1}, {"$set": {"secret": "x"}}, c={"new": {}}, upsertSupplied=True), 40415),
    (write({}, {"$set": {"touched": 1}}, multi=True), 0),
    ({"delete": "orders", "deletes": [{"q": {}, "limit": 0}]}, 0),
    (write({"_id": "up", "app_id": "crm"}, {"$set": {"a": 1}}, upsert=True), -1),
    (write({"_id": "up", "app_id": {"$in": ["crm"]}}, {"a": 1}, upsert=True), -1),
    (write({"_id": 1}, {"$v": 2, "diff": {"u": {"app_id": "crm"}}}), 9),
    ({"listCollections": 1}, 0),
    ({"listCollections": 1, "filter": {"name": "crm_tasks"}}, 0),
    ({"drop": "crm_merged"}, 0),
    ({"drop": "eu_tasks"}, 73),
    ({"create": "eu_new"}, 73),
    ({"create": "v", "viewOn": "tasks", "pipeline": []}, 72),
    ({"createIndexes": "eu_tasks", "indexes": [{"key": {"n": 1}, "name": "n"}]}, 73),
    ({"dropIndexes": "eu_tasks", "index": "*"}, 73),
    ({"renameCollection": "shop.tasks", "to": "shop.eu_x"}, 13),
    ({"cloneCollectionAsCapped": "crm_tasks", "toCollection": "x", "size": 1}, 13),
    *(({name: 1}, 13) for name in (
        "profile", "top", "dbHash", "applyOps", "createUser", "shutdown", "setParameter", "fsync",
        "replSetGetStatus", "_configsvrAddShard", "_shardsvrMoveRange", "killAllSessions",
        "currentOp", "killOp", "getCmdLineOpts", "replSetGetConfig", "listShards")),
    ({"collStats": "tasks"}, 0),
    ({"collStats": "eu_tasks"}, 73),
    ({"collStats": "crm_tasks"}, 0),
    ({"dbStats": 1}, 0),
    ({"dataSize": "shop.tasks"}, 0),
    ({"dataSize": "shop.eu_tasks"}, 73),
    ({"validate": "tasks"}, 0),
    ({"validate": "eu_tasks"}, 73),
    ({"collMod": "eu_tasks"}, 73),
    ({"convertToCapped": "eu_tasks", "size": 4096}, 73),
    ({"getMore": Int64(123), "collection": "tasks"}, 43),
    ({"getMore": 123, "collection": "tasks"}, 14),
    ({"killCursors": "tasks", "cursors": [Int64(123)]}, 0),
    (find("tasks", maxTimeMS=-1), 2),
    (find("tasks", maxTimeMS="5"), 2),
    (find("tasks", maxTimeMS=1.5), 2),
    (find("tasks", limit=-1), 51024),
    (find("tasks", filter={"a": {"$in": [Regex("x" * 1001)]}}), 2),
    (aggregate(*[{"$limit": 5}] * 51), 2),
    (find("shared_tasks"), 0),
    ({"insert": "shared_tasks", "documents": [{"a": 1}]}, 13),
    (write({}, {"$set": {"a": 1}}) | {"update": "shared_tasks"}, 13),
    ({"drop": "shared_tasks"}, 13),
    (aggregate({"$out": "shared_tasks"}), 13),
    (aggregate({"$lookup": {"from": "shared_tasks", **LOOKUP}}), 0),
]  # fmt: skip

OWN_WORDS = ("shop", "shared")


def titled(row: tuple[dict[str, Any], int]) -> str:
    return str(row[0])[:70]


@pytest.mark.parametrize("row", ROWS, ids=titled)
def test_shop(world: World, row: tuple[dict[str, Any], int]) -> None:
    command, expected = row
    before = world.foreign("shop")
    try:
        reply: Any = world.clients["shop"]["shop"].command(command)
        code = 0
    except OperationFailure as error:
        reply, code = error.details, error.code or 0
    told = {error["code"] for error in reply.get("writeErrors", ())}
    assert expected in {code, -1, *told}
    assert world.foreign("shop") == before
    assert leaks(world, reply, command) == []


def leaks(world: World, reply: Any, command: Any) -> list[str]:
    """Give the canaries in a reply that the client did not send itself."""
    said, sent = bson.encode({"": reply}), bson.encode({"": command})
    strangers = [slug for slug in APPS if slug not in OWN_WORDS]
    physical = [f"{slug}_{name}" for slug, name in itertools.product(APPS, COLLECTIONS)]
    host, port = next(iter(world.proxy.admin.nodes))
    words = [*map(canary, strangers), *physical, world.proxy.db_name, f"{host}:{port}"]
    return [word for word in words if word.encode() in said and word.encode() not in sent]


def test_every_other_app_still_has_all_it_had(world: World) -> None:
    for slug in ("shop_eu", "crm", "shared"):
        for name in COLLECTIONS:
            found = list(world.clients[slug][slug][name].find())
            assert [document["secret"] for document in found[:20]] == [canary(slug)] * 20


def test_a_longer_slug_sees_its_own(world: World) -> None:
    client = world.clients["shop_eu"]["shop_eu"]
    assert client.tasks.count_documents({}) == 20
    assert client.shop_tasks.count_documents({}) == 0


def test_another_app_cannot_use_cursors_or_sessions(world: World) -> None:
    shop, crm = world.clients["shop"], world.clients["crm"]
    reply = shop["shop"].command(find("tasks", batchSize=2))
    number = reply["cursor"]["id"]
    with pytest.raises(OperationFailure) as missing:
        crm["crm"].command({"getMore": number, "collection": "tasks"})
    assert missing.value.code == 43
    killed = crm["crm"].command({"killCursors": "tasks", "cursors": [number]})
    assert killed["cursorsNotFound"] == [number]
    with pytest.raises(OperationFailure) as renamed:
        shop["shop"].command({"getMore": number, "collection": "users"})
    assert renamed.value.code == 13


def test_killing_sessions_ends_only_own_ones(world: World) -> None:
    shop, crm = world.clients["shop"], world.clients["crm"]
    with shop.start_session() as session, session.start_transaction():
        shop["shop"].tasks.insert_one({"_id": "in"}, session=session)
        crm["crm"].command({"killSessions": []})
        crm["crm"].command({"killSessions": [session.session_id]})
    assert shop["shop"].tasks.delete_one({"_id": "in"}).deleted_count == 1


def test_out_does_not_wait_for_other_apps(world: World) -> None:
    """The server's own final step would lock every write behind an open transaction."""
    shop, crm = world.clients["shop"], world.clients["crm"]
    with crm.start_session() as session:
        session.start_transaction()
        crm["crm"].users.update_one({"_id": 1}, {"$set": {"x": 1}}, session=session)
        shop["shop"].tasks.aggregate([{"$out": "written"}], maxTimeMS=5_000)
        world.clients["shared"]["shared"].users.update_one({"_id": 1}, {"$set": {"x": 1}})
        session.abort_transaction()
    assert shop["shop"].written.count_documents({}) >= 20


def test_renames_stay_among_own_collections(world: World) -> None:
    shop = world.clients["shop"]
    shop["shop"].passing.insert_one({"_id": 1})
    before = world.foreign("shop")
    for target, code in (("shop.eu_x", 73), ("admin.x", 13), ("shop.shared_x", 13)):
        with pytest.raises(OperationFailure) as refused:
            shop.admin.command("renameCollection", "shop.passing", to=target, dropTarget=True)
        assert refused.value.code == code
    shop.admin.command("renameCollection", "shop.passing", to="shop.crm_tasks", dropTarget=True)
    assert shop["shop"].crm_tasks.find_one() == {"_id": 1}
    assert world.foreign("shop") == before
    shop["shop"].crm_tasks.drop()


def test_dropping_a_database_drops_only_own_collections(world: World) -> None:
    client = world.clients["crm"]
    client["extra"].tasks.insert_one({"a": 1})
    before = world.foreign("crm")
    client.drop_database("extra")
    assert world.foreign("crm") == before
    assert client["crm"].tasks.count_documents({}) == 20


def test_a_reader_cannot_write(world: World, mongo_uri: str) -> None:
    made = create_credential(
        "shop",
        "--name", f"reader-{uuid4().hex[:6]}",
        "--role", "read",
        "--proxy", world.proxy.address,
        MONGO_URI=mongo_uri,
        MONGO_DB_NAME=world.proxy.db_name,
    )  # fmt: skip
    time.sleep(TAKES_EFFECT_SECONDS)
    client: Client
    with MongoClient(made["uri"], serverSelectionTimeoutMS=SELECTION_MS) as client:
        tasks = client["shop"].tasks
        assert tasks.count_documents({"_id": 3}) == 1
        for attempt in (
            lambda: tasks.insert_one({}),
            lambda: list(tasks.aggregate([{"$out": "x"}])),
            lambda: client["shop"].command("explain", {"delete": "tasks", "deletes": []}),
            tasks.drop,
        ):
            with pytest.raises(OperationFailure) as refused:
                attempt()
            assert refused.value.code == 13
