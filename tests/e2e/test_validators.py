"""Validators of unchanged clients: the same replies as on a private database."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from pymongo.errors import OperationFailure

from tests.support.pairs import Sandbox, reply
from tests.support.proxies import Client, Proxy

CLOSED = {"additionalProperties": False, "properties": {"_id": {}, "n": {"bsonType": "int"}}}
NAMED = {
    "bsonType": "object",
    "required": ["name"],
    "properties": {"name": {"bsonType": "string", "description": "a name"}},
}

VALIDATORS: dict[str, dict[str, Any]] = {
    "plain": {"n": {"$gt": 3}},
    "either": {"$or": [{"n": 1}, {"n": {"$exists": False}}]},
    "closed": {"$jsonSchema": CLOSED},
    "named": {"$jsonSchema": NAMED},
    "most": {"$jsonSchema": {"maxProperties": 2}},
    "least": {"$jsonSchema": {"minProperties": 3}},
    "patterns": {
        "$jsonSchema": {
            "patternProperties": {"^_id$": {}, "^n": {"bsonType": "int"}, "p_": {"minimum": 5}},
            "additionalProperties": False,
        }
    },
    "all_of": {"$jsonSchema": {"allOf": [{"maxProperties": 2}, {"required": ["n"]}]}},
    "any_of": {"$jsonSchema": {"anyOf": [{"maxProperties": 1}, {"required": ["m"]}]}},
    "one_of": {"$jsonSchema": {"oneOf": [{"maxProperties": 2}, {"required": ["n"]}]}},
    "not": {"$jsonSchema": {"not": CLOSED}},
    "dependencies": {"$jsonSchema": {"dependencies": {"n": ["m"], "m": {"minProperties": 3}}}},
    "below": {"$and": [{"$jsonSchema": CLOSED}, {"$nor": [{"$jsonSchema": {"minProperties": 3}}]}]},
    "nested": {"$jsonSchema": {"properties": {"n": {"maxProperties": 1}}}},
    "expr": {"$expr": {"$eq": [{"$size": {"$objectToArray": "$$ROOT"}}, 2]}},
    "expr_names": {"$expr": {"$lt": ["$n", 3]}},
    "pattern_of_text": {"$jsonSchema": {"properties": {"n": {"pattern": "^a"}}}},
}
DOCUMENTS: list[dict[str, Any]] = [
    {}, {"n": 1}, {"n": 5}, {"n": "abc"}, {"n": 1, "m": 2}, {"name": "x"}, {"name": 5},
    {"p_a": 1, "n": 2}, {"n": {"a": 1, "b": 2}}, {"m": 1}, {"m": 1, "name": "x", "q": 3},
]  # fmt: skip

BROKEN: list[Any] = [
    5, "x", [], None, {}, {"$bogus": 1}, {"$where": "1"}, {"$text": {"$search": "x"}},
    {"n": {"$near": [0, 0]}}, {"$jsonSchema": 5}, {"$jsonSchema": {"bogus": 1}},
    {"$expr": "$$unknown"}, {"$jsonSchema": {"maxProperties": "x"}},
]  # fmt: skip


def shown(name: str) -> dict[str, Any]:
    return {"listCollections": 1, "filter": {"name": name}}


def inserts(name: str, **more: Any) -> dict[str, Any]:
    documents = [{"_id": i, **document} for i, document in enumerate(DOCUMENTS)]
    return {"insert": name, "documents": documents, "ordered": False, **more}


COMMANDS: list[dict[str, Any]] = [
    *(
        step
        for name, validator in VALIDATORS.items()
        for step in (
            {"create": name, "validator": validator},
            shown(name),
            inserts(name),
            {"find": name, "sort": {"_id": 1}},
            {"update": name, "updates": [{"q": {}, "u": {"$set": {"z": 1}}, "multi": True}]},
        )
    ),
    *(
        step
        for number, validator in enumerate(BROKEN)
        for step in ({"create": f"b{number}", "validator": validator}, shown(f"b{number}"))
    ),
    {"create": "a", "validationLevel": "moderate", "validationAction": "warn"},
    shown("a"), inserts("a"),
    {"collMod": "a", "validator": {"$jsonSchema": CLOSED}}, shown("a"),
    {"collMod": "a", "validationLevel": "strict", "validationAction": "error"}, shown("a"),
    {"insert": "a", "documents": [{"_id": "x", "q": 1}]},
    {"insert": "a", "documents": [{"_id": "y", "q": 1}], "bypassDocumentValidation": True},
    {"create": "a", "validator": {"n": 1}}, shown("a"),
    {"collMod": "a", "validator": {"$bogus": 1}}, shown("a"),
    {"collMod": "nope", "validator": {"n": 1}},
    {"convertToCapped": "a", "size": 8192}, shown("a"),
    {"cloneCollectionAsCapped": "a", "toCollection": "clone", "size": 8192}, shown("clone"),
    {"aggregate": "plain", "pipeline": [{"$match": {"n": 1}}, {"$out": "closed"}], "cursor": {}},
    shown("closed"), {"find": "closed"},
    {"aggregate": "u", "pipeline": [{"$merge": "closed"}], "cursor": {}},
    {"findAndModify": "closed", "query": {}, "update": {"$set": {"q": 1}}},
    {"collMod": "closed", "validator": {}}, shown("closed"),
    {"insert": "closed", "documents": [{"_id": "x", "q": 1}]},
    {"create": "both", "viewOn": "a", "pipeline": [], "validator": {"n": 1}}, shown("both"),
    {"drop": "named"}, {"create": "named"}, shown("named"),
]  # fmt: skip

DIFFERENT: dict[str, str] = {}


@pytest.fixture(scope="module")
def pair(proxy: Proxy, shop: Client) -> Iterator[tuple[Sandbox, Sandbox]]:
    """Give a private database, and one of the same name behind the proxy."""
    name = f"lab{uuid4().hex[:8]}"
    pair = proxy.admin[name], shop[name]
    yield pair
    for database in pair:
        database.client.drop_database(name)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command)[:80])
def test_the_same_reply(pair: tuple[Sandbox, Sandbox], command: dict[str, Any]) -> None:
    private, ours = (reply(database, command) for database in pair)
    if str(command) in DIFFERENT:
        assert ours != private, "no longer different"
    else:
        assert ours == private


# What lies behind.


def test_the_tag_is_never_in_the_way(shop: Client, proxy: Proxy, name: str) -> None:
    """Somebody changes the validator behind our back: it is told of bare documents."""
    database = shop[name]
    database.command({"create": "c", "validator": {"$jsonSchema": CLOSED}})
    physical = f"shop_@{name}.c"
    (stored,) = proxy.behind.list_collections(filter={"name": physical})
    assert stored["options"]["validator"]["$jsonSchema"]["properties"]["app_id"] == {}
    changed = {"$jsonSchema": {"maxProperties": 3, "required": ["app_id", "n"]}}
    proxy.behind.command({"collMod": physical, "validator": changed})
    told = next(database.list_collections())["options"]["validator"]
    assert told == {"$jsonSchema": {"maxProperties": 2, "required": ["n"]}}
    shop.drop_database(name)


def test_a_renamed_collection_keeps_its_validator(shop: Client, proxy: Proxy, name: str) -> None:
    def told(collection: str) -> Any:
        (found,) = database.list_collections(filter={"name": collection})
        return found["options"].get("validator")

    database = shop[name]
    database.command({"create": "a", "validator": VALIDATORS["patterns"]})
    database.command({"create": "b", "validator": VALIDATORS["most"]})
    database.a.rename("c")
    assert told("c") == VALIDATORS["patterns"]
    database.c.rename("b", dropTarget=True)
    assert told("b") == VALIDATORS["patterns"]
    kept = proxy.behind["_mdb_engine_views"].find({"collection": {"$regex": name}})
    assert [found["collection"] for found in kept] == [f"shop_@{name}.b"]
    shop.admin.command({"renameCollection": f"{name}.b", "to": f"{name}_2.b"})
    (found,) = shop[f"{name}_2"].list_collections()
    assert found["options"]["validator"] == VALIDATORS["patterns"]
    shop.drop_database(f"{name}_2")


def test_a_refused_change_leaves_what_was(shop: Client, proxy: Proxy, name: str) -> None:
    database = shop[name]
    database.command({"create": "c", "validator": VALIDATORS["most"]})
    for command in (
        {"create": "c", "validator": {"a": 1}},
        {"collMod": "c", "validator": {"$bogus": 1}},
    ):
        assert not reply(database, command)["ok"]
    assert next(database.list_collections())["options"]["validator"] == VALIDATORS["most"]
    kept = proxy.behind["_mdb_engine_views"].count_documents({"collection": {"$regex": name}})
    assert kept == 1
    shop.drop_database(name)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"app_id": {}}},
        {"required": ["app_id"]},
        {"dependencies": {"a": ["app_id"]}},
        {"allOf": [{"required": ["app_id"]}]},
        {"enum": [{"a": 1}]},
    ],
)
def test_a_schema_may_not_name_the_tag(shop: Client, name: str, schema: dict[str, Any]) -> None:
    found = reply(shop[name], {"create": "c", "validator": {"$jsonSchema": schema}})
    assert (found["code"], found["ok"]) == (2, 0.0)


def test_a_validator_in_a_transaction(shop: Client, name: str) -> None:
    """It takes several exchanges: a difference."""
    with shop.start_session() as session:
        session.start_transaction()
        with pytest.raises(OperationFailure) as refused:
            shop[name].command({"create": "c", "validator": {"a": 1}}, session=session)
        assert refused.value.code == 263
