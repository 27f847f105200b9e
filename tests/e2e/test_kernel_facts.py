"""What the kernel takes for granted about the server, compared with the server itself."""

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import uuid4

import pytest
from bson import decode, encode
from bson.codec_options import CodecOptions
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from mdb_engine import rawbson
from mdb_engine.rawbson import Document
from mdb_engine.scope.commands import rewrite
from mdb_engine.scope.model import Scope
from mdb_engine.scope.names import fold
from mdb_engine.scope.plans import run_plan
from mdb_engine.scope.projections import projection
from mdb_engine.scope.replies import Asked, answer
from mdb_engine.scope.schemas import spare_tag
from tests.support.kernel import SHOP, lazy, where

RAW = CodecOptions(document_class=RawBSONDocument)
PROJECTIONS, SCHEMAS = 600, 500


@pytest.fixture(scope="module")
def database(mongo_uri: str) -> Iterator[Any]:
    name = f"kernel_{uuid4().hex[:12]}"
    with MongoClient(mongo_uri, serverSelectionTimeoutMS=10_000) as client:
        yield client[name]
        client.drop_database(name)


def beside(database: Any, documents: list[dict[str, Any]]) -> tuple[Any, Any]:
    """Store documents twice: as the client sees them, and with the tag."""
    bare, tagged = database[f"bare_{uuid4().hex}"], database[f"tagged_{uuid4().hex}"]
    bare.insert_many(documents)
    stored = [rawbson.put_first(encode(d), b"app_id", TAG) for d in documents]
    tagged.insert_many([decode(document) for document in stored])
    return bare, tagged


TAG = rawbson.element(b"app_id", "shop")


def outcome(find: Any) -> Any:
    """Give the documents as bytes, or that there was an error."""
    try:
        return [encode(document) for document in find()]
    except OperationFailure:
        return "error"


DOCUMENTS: list[dict[str, Any]] = [
    {
        "_id": {"k": 1, "app_id": "inner"},
        "a": {"b": [{"c": 1, "app_id": "mine"}, {"c": 2}], "app_id": "mine"},
        "s": [1, 2, 3],
        "x": 1,
        "app_id2": 5,
    },
    {"_id": 2, "a": 3, "s": [{"q": 1}, {"q": 2}], "x": None},
]
NUMBERS: list[Any] = [
    0, 1, True, False, 0.0, -0.0, 2, -1, 1.5, float("nan"), Int64(0), Int64(3), Decimal128("0"),
    Decimal128("1"), Decimal128("NaN"), Decimal128("sNaN"), Decimal128("0E+5"),
]  # fmt: skip
EXPRESSIONS: list[Any] = [
    "$x", "text", "$$ROOT", "$$CURRENT", "$app_id", "$$ROOT.app_id", "$a.app_id", None, [], [1],
    {"$getField": "app_id"}, {"$getField": {"field": "app_id", "input": "$$ROOT"}},
    {"$literal": "$app_id"}, {"$mergeObjects": ["$$ROOT", {"z": 1}]}, {"$objectToArray": "$$ROOT"},
    {"$let": {"vars": {"r": "$$ROOT"}, "in": "$$r.app_id"}}, {"$type": "$app_id"},
    {"$setField": {"field": "n", "input": "$$ROOT", "value": 1}}, ["$x", "$app_id"],
    {"$cond": [{"$eq": ["$app_id", "shop"]}, 1, 2]}, {"$concat": ["$app_id", "x"]},
    {"$map": {"input": ["$$ROOT"], "in": "$$this.app_id"}},
]  # fmt: skip
SPECIAL: list[Any] = [
    {"$slice": 1}, {"$slice": -1}, {"$slice": [0, 1]}, {"$slice": True}, {"$slice": ["$s", 1]},
    {"$slice": "$x"}, {"$elemMatch": {"q": 1}}, {"$elemMatch": {"q": "$app_id"}}, {},
    {"$meta": "recordId"},
]  # fmt: skip
PATHS = ["_id", "a", "s", "x", "app_id2", "a.b", "a.app_id", "_id.k", "a.b.c", "n", "s.q", "nope"]


class Maker:
    """Makes odd projections and schemas, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - repeatable, not secret

    def value(self, depth: int = 0) -> Any:
        if depth < 2 and self.random.random() < 0.2:
            names = self.random.sample(["b", "c", "k", "app_id", "q"], self.random.randint(1, 2))
            return {name: self.value(depth + 1) for name in names}
        return self.random.choice(self.random.choice([NUMBERS, NUMBERS, EXPRESSIONS, SPECIAL]))

    def projection(self) -> dict[str, Any]:
        names = self.random.sample(PATHS, self.random.choice([0, 1, 1, 2, 2, 3]))
        number = self.random.choice([0, 1])
        return {n: number if self.random.random() < 0.4 else self.value() for n in names}

    def inner(self) -> Any:
        return self.random.choice([
            {}, {"bsonType": "int"}, {"bsonType": "object", "maxProperties": 1}, {"type": "string"},
            {"required": ["app_id"]}, {"properties": {"app_id": {}}, "additionalProperties": False},
        ])  # fmt: skip

    def some(self, names: list[str]) -> list[str]:
        return self.random.sample(names, self.random.randint(1, 2))

    def keyword(self, name: str, depth: int) -> Any:
        choose = self.random.choice
        makers: dict[str, Callable[[], Any]] = {
            "additionalProperties": lambda: choose([True, False, False, self.inner()]),
            "dependencies": lambda: {"a": choose([["b"], self.schema(depth + 1)])},
            "maxProperties": lambda: choose(COUNTS),
            "minProperties": lambda: choose(COUNTS),
            "not": lambda: self.schema(depth + 1),
            "patternProperties": lambda: {p: self.inner() for p in self.some(PATTERNS)},
            "properties": lambda: {n: self.inner() for n in self.some(["a", "b", "_id"])},
            "required": lambda: self.some(["a", "b", "_id", "z"]),
        }
        several = [self.schema(depth + 1) for _ in range(depth < 2)] * choose([1, 2])
        return makers[name]() if name in makers else several or [{}]

    def schema(self, depth: int = 0) -> dict[str, Any]:
        names = KEYWORDS if depth < 2 else KEYWORDS[:6]
        chosen = self.random.sample(names, self.random.randint(1, 3))
        return {name: self.keyword(name, depth) for name in chosen}


KEYWORDS = [
    "additionalProperties", "maxProperties", "minProperties", "patternProperties", "properties",
    "required", "allOf", "anyOf", "dependencies", "not", "oneOf",
]  # fmt: skip
COUNTS: list[Any] = [0, 1, 2, 3, 2.0, Int64(2), Decimal128("3"), Int64(2**63 - 1)]
PATTERNS = [
    "^a", "app", "id$", "^app_id$", "^[a-z_]+$", "_", "^(a|b)", "^_id$|^a", "b|a", "^.*$",
    "(?i)APP", "\\Aapp", "[^a]$",
]  # fmt: skip


def test_projections_show_everything_but_the_tag(database: Any) -> None:
    bare, tagged = beside(database, DOCUMENTS)
    maker = Maker(1)
    outcomes = []
    for _ in range(PROJECTIONS):
        asked = maker.projection()
        sent = RawBSONDocument(rawbson.encode(projection(lazy(asked), SHOP, where("projection"))))
        seen = outcome(lambda asked=asked: bare.find({}, asked).sort("x", 1))
        assert outcome(lambda sent=sent: tagged.find({}, sent).sort("x", 1)) == seen, asked
        outcomes.append(seen == "error")
    assert 0.5 < outcomes.count(False) / PROJECTIONS < 0.95


def test_schemas_hold_as_if_there_were_no_tag(database: Any) -> None:
    maker = Maker(2)
    values: list[Any] = [1, "s", {"app_id": 1, "q": 2}, [1, 2], None, {"a": 1}]
    names = ["a", "b", "app_id2", "xapp_id", "ab", "z"]
    documents = [
        {"_id": i} | {n: maker.random.choice(values) for n in maker.random.sample(names, i % 5)}
        for i in range(40)
    ]
    bare, tagged = beside(database, documents)
    counts = []
    for _ in range(SCHEMAS):
        schema = maker.schema()
        spared = RawBSONDocument(rawbson.encode(spare_tag(lazy(schema), where("filter"))))
        found = bare.distinct("_id", {"$jsonSchema": schema})
        assert tagged.distinct("_id", {"$jsonSchema": spared}) == found, schema
        counts.append(len(found))
    assert sum(0 < count < 40 for count in counts) > SCHEMAS / 4


LOCALES = ["hu", "lt", "lv", "hr", "sk", "vi", "cy", "sq", "es@collation=traditional", "sv", "fi"]
FOLDING = ["csz", "dzs", "gyi", "lyn", "tyi", "vw", "01a", "sz", "lj", "nj", "ch", "s-_0"]


@pytest.mark.parametrize("locale", LOCALES)
def test_what_a_locale_equates_has_one_fold(database: Any, locale: str) -> None:
    chooser = random.Random(3)  # noqa: S311 - repeatable, not secret
    words = {
        "".join(chooser.choices(letters, k=chooser.randint(1, 7)))
        for letters in FOLDING
        for _ in range(250)
    }
    words_stored = database[f"words_{uuid4().hex}"]
    words_stored.insert_many([{"word": word} for word in sorted(words)])
    group = [{"$group": {"_id": "$word", "words": {"$push": "$word"}}}]
    for more in ({}, {"alternate": "shifted"}, {"numericOrdering": True}):
        collation = {"locale": locale, "strength": 1, **more}
        for found in words_stored.aggregate(group, collation=collation):
            assert len({fold(word) for word in found["words"]}) == 1, found["words"]


def scope_in(database: Any) -> Scope:
    return Scope("shop", database.name, ("app",), longer=("shop_eu",))


def run(database: Any, physical: Mapping[str, Any]) -> bytes:
    """Send a physical command as the proxy would; give the raw reply."""
    command = decode(rawbson.encode(physical))
    target = database.client[command.pop("$db")]
    return bytes(target.command(command, check=False, codec_options=RAW).raw)


def ask(database: Any, command: dict[str, Any]) -> Asked:
    logical = dict(Document(encode({**command, "$db": command.get("$db", "app")})))
    scope = scope_in(database)
    return Asked(logical, rewrite(logical, scope), scope)


def forwarded(database: Any, command: dict[str, Any]) -> dict[str, Any]:
    asked = ask(database, command)
    return decode(answer(run(database, asked.physical.command), asked))


def planned(database: Any, command: dict[str, Any]) -> dict[str, Any]:
    plan = run_plan(ask(database, command), uuid4().hex)
    step = next(plan)
    try:
        while True:
            step = plan.send(run(database, step))
    except StopIteration as stop:
        return decode(stop.value)


@pytest.fixture(scope="module")
def stocked(database: Any) -> Any:
    """Give a database with two collections and a view of `shop`."""
    for name in ("shop_tasks", "shop_users"):
        database[name].insert_many([{"_id": i, "app_id": "shop", "u": i % 3} for i in range(20)])
        database[name].create_index("u")
    database.command({
        "create": "shop_v", "viewOn": "shop_tasks",
        "pipeline": [{"$lookup": {"from": "shop_users", "localField": "u", "foreignField": "u",
                                  "as": "us"}}],
    })  # fmt: skip
    return database


JOIN = {"from": "users", "localField": "u", "foreignField": "u", "as": "us"}
GRAPH = {"from": "users", "startWith": "$u", "connectFromField": "u", "connectToField": "_id"}
PIPELINES: list[Any] = [
    [],
    [{"$group": {"_id": "$u"}}],
    [{"$lookup": JOIN}],
    [{"$lookup": JOIN}, {"$unwind": "$us"}],
    [{"$lookup": {"from": "v", "pipeline": [], "as": "us"}}],
    [{"$unionWith": "users"}],
    [{"$graphLookup": {**GRAPH, "as": "us"}}],
    [{"$facet": {"a": [{"$lookup": JOIN}]}}],
    [{"$merge": "copy"}],
    [{"$merge": {"into": {"db": "other", "coll": "copy"}}}],
    [{"$out": "copy"}],
    [{"$collStats": {"count": {}}}],
]
EXPLAINED: list[dict[str, Any]] = [
    {"find": "tasks", "filter": {"u": {"$gt": 1}}},
    {"find": "v"},
    {"count": "tasks"},
    {"distinct": "tasks", "key": "u"},
    {"update": "tasks", "updates": [{"q": {"u": 1}, "u": {"$set": {"y": 1}}}]},
    {"delete": "tasks", "deletes": [{"q": {"u": 1}, "limit": 1}]},
    {"findAndModify": "tasks", "query": {"u": 1}, "update": {"$set": {"y": 1}}},
    *({"aggregate": source, "pipeline": p, "cursor": {}} for p in PIPELINES for source in "tv"),
]


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("verbosity", ["queryPlanner", "allPlansExecution"])
@pytest.mark.parametrize("command", EXPLAINED, ids=str)
def test_explanations_hold_nothing_physical(
    stocked: Any, command: dict[str, Any], verbosity: str
) -> None:
    short = {"t": "tasks", "v": "v"}
    first = next(iter(command))
    command = {**command, first: short.get(command[first], command[first])}
    found = forwarded(stocked, {"explain": command, "verbosity": verbosity})
    if found["ok"]:
        assert found["command"][first] == command[first]
        assert found["serverInfo"]["host"] == "localhost"
    seen = [text for text in texts(found) if stocked.name in text or "shop_" in text]
    assert seen == []


ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"insert": "users", "documents": [{"_id": 1}]}, "collection: app.users index: _id_"),
    ({"find": "tasks", "hint": "nothing"}, ""),
    ({"find": "tasks", "filter": {"$text": {"$search": "x"}}}, ""),
    ({"find": "tasks", "filter": {"u": {"$near": [1, 2]}}}, "ns=app.tasks"),
    ({"insert": "v", "documents": [{}]}, "app.v is a view"),
    ({"create": "tasks", "capped": True, "size": 5000}, "app.tasks"),
    ({"createIndexes": "v", "indexes": [{"key": {"a": 1}, "name": "a"}]}, "app.v is a view"),
    ({"drop": "nothing"}, ""),
    ({"aggregate": "tasks", "pipeline": [{"$merge": "v"}], "cursor": {}}, "app.v is a view"),
]


@pytest.mark.parametrize(("command", "part"), ERRORS, ids=lambda v: str(v)[:50])
def test_errors_hold_nothing_physical(stocked: Any, command: dict[str, Any], part: str) -> None:
    found = forwarded(stocked, command)
    errors = [found, *found.get("writeErrors", [])]
    message = next(error["errmsg"] for error in errors if "errmsg" in error)
    assert part in message
    assert stocked.name not in message
    assert "shop_" not in message


def test_a_name_twice_in_a_key_is_no_obstacle_for_the_error(stocked: Any) -> None:
    twice = Document(rawbson.splice_end(b"\5\0\0\0\0", rawbson.element(b"a", 1) * 2))
    body = rawbson.encode({"insert": "twice", "documents": [{"_id": twice}] * 2, "$db": "app"})
    logical = dict(Document(body))
    asked = Asked(logical, rewrite(logical, scope_in(stocked)), scope_in(stocked))
    command = {**asked.physical.command, "documents": None}
    documents = [RawBSONDocument(d.data) for d in asked.physical.command["documents"]]
    sent = {**decode(rawbson.encode(command)), "documents": documents}
    sent.pop("$db")
    reply = stocked.command(sent, check=False, codec_options=RAW).raw
    found = RawBSONDocument(answer(bytes(reply), asked))
    assert found["writeErrors"][0]["code"] == 11000


def test_out_replaces_a_collection_and_keeps_what_it_was(stocked: Any) -> None:
    stocked.create_collection("shop_copy", validator={"u": {"$gte": 0}},
                              collation={"locale": "en"})  # fmt: skip
    stocked.shop_copy.create_index("u", name="mine")
    stocked.shop_copy.insert_one({"u": 99, "app_id": "shop"})
    command = {"aggregate": "tasks", "pipeline": [{"$out": "copy"}], "cursor": {}}
    found = planned(stocked, command)
    assert found["ok"], found
    assert found["cursor"] == {"id": 0, "ns": "app.tasks", "firstBatch": []}
    assert stocked.shop_copy.count_documents({"app_id": "shop"}) == 20
    assert stocked.shop_copy.count_documents({"u": 99}) == 0
    assert "mine" in stocked.shop_copy.index_information()
    options = stocked.shop_copy.options()
    assert options["validator"] == {"u": {"$gte": 0}}
    assert options["collation"]["locale"] == "en"
    leftovers = [name for name in stocked.list_collection_names() if "@@" in name]
    assert leftovers == []


def test_a_failed_out_leaves_nothing_behind(stocked: Any) -> None:
    same = [{"$project": {"_id": {"$literal": 1}}}, {"$out": "never"}]
    found = planned(stocked, {"aggregate": "tasks", "pipeline": same, "cursor": {}})
    assert (found["ok"], found["code"]) == (0.0, 11000)
    assert "app.never" in found["errmsg"]
    assert "@@" not in found["errmsg"]
    into_view = [{"$out": "v"}]
    found = planned(stocked, {"aggregate": "tasks", "pipeline": into_view, "cursor": {}})
    assert found["code"] == 166
    assert found["errmsg"].endswith(":: Namespace app.v is a view, not a collection")
    names = stocked.list_collection_names()
    assert [name for name in names if "@@" in name or "never" in name] == []


def test_collections_are_listed_and_dropped_by_logical_database(stocked: Any) -> None:
    for name in ("shop_@x%c3%a9.a", "shop_@x%c3%a9.b", "shop_eu_secret", "crm_secret"):
        stocked[name].insert_one({})
    listed = planned(stocked, {"listCollections": 1, "nameOnly": True, "$db": "xé",
                               "filter": {"name": {"$regex": "^b"}}})  # fmt: skip
    assert [item["name"] for item in listed["cursor"]["firstBatch"]] == ["b"]
    databases = planned(stocked, {"listDatabases": 1, "$db": "admin"})["databases"]
    assert {item["name"] for item in databases} >= {"app", "xé"}
    assert planned(stocked, {"dropDatabase": 1, "$db": "xé"}) == {"ok": 1.0}
    names = stocked.list_collection_names()
    assert not [name for name in names if "@" in name]
    assert {"shop_eu_secret", "crm_secret", "shop_tasks"} <= set(names)
