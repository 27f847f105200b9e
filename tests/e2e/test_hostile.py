"""Commands as nobody would write them: no leak, no change, no closed connection, no internal error.

Every command that the real server lists, with mutated fields, nested operators and foreign names in
every position. The same ones each time; `make search` tries many more.
"""

import random
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

import bson
import pytest
from bson import (
    Binary,
    Code,
    DBRef,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)
from pymongo.errors import InvalidDocument, OperationFailure

from tests.support import config
from tests.support.programs import ROOT
from tests.support.proxies import Client, Proxy, serving

COUNT: Final = 50_000 if config.SEARCH else 1_500
SEEDS: Final = (1, 2, 3)
CANARY: Final = "canary-of-crm"

# These end the login of the connection, by right.
SPARED: Final = frozenset({"authenticate", "logout", "saslContinue", "saslStart"})
NAMES: Final = (
    "tasks", "crm_tasks", "shop_tasks", "system.users", "_mdb_engine_slugs", "apps_config", "$cmd",
    "", "a" * 300, "ü", "@out.x", "tasks.x", "$$ROOT", "$app_id",
)  # fmt: skip
ODD: Final = (
    None, True, False, 0, 1, -1, 1.5, 2**31, 2**63 - 1, float("nan"), float("inf"), Int64(5),
    Decimal128("NaN"), Decimal128("1E6000"), ObjectId("0" * 24), Binary(bytes(16), 4), Regex("a"),
    Code("x"), Code("x", {}), Timestamp(1, 1), MinKey(), MaxKey(), DBRef("crm_tasks", 1),
    datetime(2020, 1, 1),  # noqa: DTZ001 - as a driver sends it
    {"$where": "true"}, {"app_id": "crm"}, {"app_id": {"$ne": 1}},
)  # fmt: skip
OPERATORS: Final = (
    "$set", "$unset", "$rename", "$expr", "$and", "$or", "$function", "$in", "$elemMatch", "$not",
    "$jsonSchema", "$getField", "$setField", "$map", "$reduce", "$filter", "$let", "$literal",
    "$concat", "$eq", "$push", "$pull", "$each", "$slice", "$meta", "$text", "$near", "$mod",
    "$regex", "$options", "$setOnInsert", "$inc", "$currentDate", "$cond", "$zip", "$range",
)  # fmt: skip
STAGES: Final = (
    "$match", "$project", "$group", "$lookup", "$graphLookup", "$unionWith", "$facet", "$out",
    "$merge", "$geoNear", "$collStats", "$sample", "$set", "$unset", "$replaceRoot", "$redact",
    "$documents", "$unwind", "$sort", "$limit", "$count", "$fill", "$currentOp", "$changeStream",
)  # fmt: skip
FIELDS: Final = (
    "filter", "query", "q", "u", "c", "updates", "deletes", "documents", "pipeline", "cursor",
    "batchSize", "limit", "skip", "sort", "projection", "fields", "hint", "let", "collation",
    "arrayFilters", "upsert", "multi", "from", "as", "into", "coll", "db", "on", "whenMatched",
    "localField", "foreignField", "startWith", "maxDepth", "app_id", "_id", "n", "key", "name",
    "indexes", "index", "to", "dropTarget", "viewOn", "validator", "capped", "size", "timeseries",
    "ordered", "remove", "update", "new", "verbosity", "lsid", "txnNumber", "autocommit",
    "startTransaction", "readConcern", "writeConcern", "maxTimeMS", "comment", "$readPreference",
    "$clusterTime", "apiVersion", "singleBatch", "tailable", "min", "max", "cursors", "collection",
)  # fmt: skip
USUAL: Final = (
    "find", "insert", "update", "delete", "findAndModify", "count", "distinct", "aggregate",
    "getMore", "killCursors", "create", "drop", "listCollections", "createIndexes", "listIndexes",
    "dropIndexes", "explain", "collMod", "renameCollection", "endSessions", "killSessions",
)  # fmt: skip


class Hostile:
    """A source of commands, the same ones for the same seed."""

    def __init__(self, seed: int, listed: list[str]) -> None:
        self.random = random.Random(seed)  # noqa: S311 - no secret
        self.listed = [name for name in listed if name not in SPARED]

    def command(self) -> tuple[str, dict[str, Any]]:
        """Give a database and a command."""
        pick = self.random.choice
        name = pick(USUAL) if self.random.random() < 0.8 else pick(self.listed)
        command = {name: pick(("tasks", "tasks", 1, self.value(0)))}
        needed = self.needed(name)
        command |= needed() if needed else {}
        for _ in range(self.random.randrange(3)):
            command[pick(FIELDS)] = self.value(0)
        return pick(("shop", "shop", "other", "admin", "local", "config")), command

    def needed(self, name: str) -> Callable[[], dict[str, Any]] | None:
        """Give what makes a command whole enough to be looked at."""
        return {
            "aggregate": lambda: {"pipeline": self.stages(), "cursor": {}},
            "delete": lambda: {"deletes": [{"q": self.value(0), "limit": 0}]},
            "distinct": lambda: {"key": self.value(3)},
            "explain": lambda: {"explain": {self.random.choice(USUAL): "tasks"}},
            "insert": lambda: {"documents": [{"x": self.value(0)}]},
            "update": lambda: {"updates": [{"q": self.value(0), "u": self.value(0)}]},
        }.get(name)

    def stages(self) -> list[Any]:
        choice = self.random.choice
        return [{choice(STAGES): self.value(0)} for _ in range(self.random.randrange(4))]

    def value(self, depth: int) -> Any:
        """Give a name, an odd value, or something nested."""
        kind = self.random.randrange(10)
        if kind < 3:
            return self.random.choice(NAMES)
        if kind < 6 or depth > 4:
            return self.random.choice(ODD)
        if kind == 6:
            return [self.value(depth + 1) for _ in range(self.random.randrange(4))]
        if kind == 7:
            return self.stages() if depth < 2 else 1
        names = OPERATORS if kind == 8 else FIELDS
        chosen = self.random.choices(names, k=self.random.randrange(4))
        return {name: self.value(depth + 1) for name in chosen}


@pytest.fixture(scope="module")
def proxy(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Run a proxy that these tests may treat badly."""
    log = tmp_path_factory.mktemp("hostile") / "stderr.log"
    with serving(mongo_uri, ROOT / "manifests", log) as running:
        yield running


@pytest.mark.parametrize("seed", SEEDS)
def test_hostile_commands(proxy: Proxy, seed: int) -> None:
    with proxy.client("shop") as shop, proxy.client("crm") as crm:
        attack(proxy, shop, crm, seed)


def attack(proxy: Proxy, shop: Client, crm: Client, seed: int) -> None:
    own = crm.get_default_database().tasks
    own.insert_many({"_id": f"{seed}-{n}", "secret": CANARY} for n in range(5))
    foreign = censuses(proxy)
    listed = list(proxy.admin.admin.command("listCommands")["commands"])
    source = Hostile(seed, listed)
    for _ in range(COUNT):
        db, command = source.command()
        try:
            reply: Any = shop[db].command(command)
        except OperationFailure as error:
            reply = error.details
        except (InvalidDocument, TypeError, ValueError):
            continue  # the driver itself would not send it
        assert CANARY.encode() not in bson.encode({"": reply}), command
        assert proxy.db_name.encode() not in bson.encode({"": reply}), command
    assert censuses(proxy) == foreign
    assert "client.failed" not in proxy.program.log.read_text(encoding="utf-8")
    for name in proxy.behind.list_collection_names(filter={"name": {"$regex": "^shop_"}}):
        assert proxy.behind[name].count_documents({"app_id": {"$ne": "shop"}}) == 0


def censuses(proxy: Proxy) -> dict[str, list[dict[str, Any]]]:
    """Give what is not the app's; of the list of views what others have in it."""
    found = {name: census(proxy, name) for name in strangers(proxy)}
    own = f"{proxy.db_name}.shop_"
    views = [each for each in found.pop("system.views", []) if not each["_id"].startswith(own)]
    return found | ({"system.views": views} if views else {})


def strangers(proxy: Proxy) -> list[str]:
    names = proxy.behind.list_collection_names()
    return sorted(name for name in names if not name.startswith(("shop_", "_mdb")))


def census(proxy: Proxy, name: str) -> list[dict[str, Any]]:
    return list(proxy.behind[name].find(sort=[("_id", 1)]))
