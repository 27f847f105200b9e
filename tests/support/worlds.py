"""The world of the isolation matrix: apps that could reach each other if anything were wrong.

Each app has the same collections with canaries in values, names of indexes and definitions; in
each of them stand documents of other tags, which nobody may ever see or change.
"""

import asyncio
import json
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import bson
from bson import Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient, MongoClient

from mdb_engine.rawbson import element, walk
from mdb_engine.registry import credentials
from tests.support.matrix import HOME
from tests.support.programs import Program, program
from tests.support.proxies import SELECTION_MS
from tests.support.servers import free_port
from tests.support.wires import Line

PASSWORD = "wide open"  # noqa: S105 - of nobody
EMPTY_DIGEST = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
"""What session texts of a cluster without users hold."""

SMALL = {
    "max_batch": 10, "max_change_streams": 1, "max_collections": 5, "max_cursors": 3,
    "max_depth": 3, "max_document_bytes": 1_000, "max_indexes": 5, "max_regex_complexity": 5,
    "max_regex_length": 20, "max_results": 15, "max_sessions": 4, "max_stages": 5,
    "max_transactions": 1, "max_time_ms": 60_000,
}  # fmt: skip
APPS: dict[str, dict[str, Any]] = {
    "caged": {"databases": "home"},
    "crm": {},
    "dwarf": {"limits": SMALL},
    "lens": {
        "data_access": {"expose_app_id": True},
        "limits": {"disk_use": True, "pre_images": True},
    },
    "shared": {},
    "shop": {"database": [HOME, "depot"], "data_access": {"read_scopes": ["shop", "shared"]}},
    "shop_eu": {},
    "warden": {"data_access": {"read_scopes": ["shop"]}},
}
READABLE = {"shop": {"shared"}, "warden": {"shop"}}
BEING = ("crm", "shared", "shop", "shop_eu")
"""Apps with all three collections; the others have one."""

LOGINS = {
    **{slug: (slug, "readWrite") for slug in APPS},
    **{f"{slug}.read": (slug, "read") for slug in BEING},
    "shop.two": ("shop", "readWrite"),
}
RAW: Any = bson.CodecOptions(document_class=RawBSONDocument)
COLLECTIONS = ("orders", "tasks", "users")
DOCUMENTS = 20
KEPT = ("_mdb_engine_search_indexes", "_mdb_engine_views")
"""Stores in which a command of any app may leave something of its own collections."""

VOLATILE = {"_mdb_engine_routers", *KEPT}

UNINTERESTING = re.compile(r"^config\.|\._mdb_engine_routers$")
"""Namespaces that are written all the time, whatever apps do."""

Definition = tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]
"""Options, indexes and documents of a physical collection."""


def canary(slug: str) -> str:
    return f"canary-of-{slug}!"


def document(slug: str, number: int) -> dict[str, Any]:
    """Give a document as the proxy stores it."""
    return {"_id": number, "app_id": slug, **_body(slug, number)}


def _body(slug: str, number: int) -> dict[str, Any]:
    return {
        "n": number,
        "g": number % 4,
        "parent": number - 1,
        "secret": canary(slug),
        "words": "blue tape",
        "at": {"type": "Point", "coordinates": [number / 10, 0]},
        "s": [{"q": number}, {"q": number + 1}],
    }


def planted(slug: str) -> list[dict[str, Any]]:
    """Give documents that do not belong where they stand."""
    other = "crm" if slug != "crm" else "shop"
    tags: list[Any] = [other, slug.upper(), f"{slug[:2]}-{slug[2:]}", None, "", {"slug": slug}]
    found: list[dict[str, Any]] = [
        {"_id": f"planted-{number}", "app_id": tag, **_body("planted", 1)}
        for number, tag in enumerate(tags)
    ]
    found.append({"_id": "planted-bare", **_body("planted", 1)})
    if slug != "shop":
        found.append({"_id": "planted-shop", "app_id": "shop", **_body(slug, 1)})
    return found


def baseline() -> dict[str, Definition]:
    """Give what the physical database holds before each row."""
    found: dict[str, Definition] = {}
    for slug in APPS:
        documents = [*(document(slug, n) for n in range(DOCUMENTS)), *planted(slug)]
        for name in COLLECTIONS if slug in BEING else ("tasks",):
            indexes = [
                {"key": {"n": 1}, "name": "n_1"},
                {"key": {"g": 1}, "name": canary(slug)},
                {"key": {"words": "text"}, "name": "words"},
                {"key": {"at": "2dsphere"}, "name": "at"},
            ]
            found[f"{slug}_{name}"] = ({}, indexes if name == "tasks" else [], documents)
    found["shared_catalog"] = ({}, [], [document("shared", n) for n in range(DOCUMENTS)])
    return found | _of_crm()


def _of_crm() -> dict[str, Definition]:
    secret = canary("crm")
    return {
        "crm_ruled": (
            {"validator": {"$jsonSchema": {"description": secret, "bsonType": "object"}}},
            [], [document("crm", 1)],
        ),
        "crm_@extra.notes": ({}, [], [document("crm", 1)]),
        "crm_stats": (
            {"viewOn": "crm_tasks", "pipeline": [{"$match": {"secret": secret}}]}, [], [],
        ),
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class State:
    """What lies in the cluster: a hash of the documents and the definition of each collection."""

    documents: Mapping[str, str]
    definitions: Mapping[str, Any]

    def differing(self, other: "State") -> set[str]:
        """Give the names of the collections that are not the same in both."""
        return {
            name
            for mine, theirs in (
                (self.documents, other.documents),
                (self.definitions, other.definitions),
            )
            for name in mine.keys() | theirs.keys()
            if mine.get(name) != theirs.get(name)
        }


def owner(name: str) -> str:
    """Give the slug that a physical collection belongs to, the longest that fits; "" for none."""
    name = name.removeprefix("system.buckets.")
    fitting = [slug for slug in APPS if name.startswith(f"{slug}_")]
    return max(fitting, key=len, default="")


@dataclass(slots=True)
class Matrix:
    """A proxy, its apps, and what lies behind."""

    port: int
    admin: MongoClient[dict[str, Any]]
    db_name: str
    program: Program
    lines: dict[tuple[str, str], Line] = field(default_factory=dict)
    before: State = field(default_factory=lambda: State({}, {}))
    planted: dict[str, list[bytes]] = field(default_factory=dict)
    began: Any = None
    seen: Timestamp = field(default_factory=lambda: Timestamp(0, 1))
    base: dict[str, Definition] = field(default_factory=lambda: dict(BASELINE))
    kept: dict[str, list[RawBSONDocument]] = field(default_factory=dict)
    names: dict[Any, str] = field(default_factory=dict)

    @property
    def behind(self) -> Any:
        """Give the physical database, looked at directly."""
        return self.admin[self.db_name]

    def line(self, caller: str, name: str = "") -> Line:
        """Give the connection of a caller; it is made when it is not there."""
        found = self.lines.get((caller, name))
        if found is None:
            found = self.lines[caller, name] = Line.to("127.0.0.1", self.port)
            if caller != "nobody":
                found.log_in(caller, PASSWORD)
        return found

    def drop(self, caller: str, name: str = "") -> None:
        """Close a connection."""
        line = self.lines.pop((caller, name), None)
        if line is not None:
            line.close()

    def build(self, names: Iterable[str]) -> None:
        """Make collections of the baseline anew."""
        for name in names:
            options, indexes, documents = self.base[name]
            self.behind.command({"create": name, **options})
            if indexes:
                self.behind.command({"createIndexes": name, "indexes": indexes})
            if documents:
                self.behind.command({"insert": name, "documents": documents})

    def look(self) -> State:
        """Give what lies in the cluster now."""
        hashes = self.behind.command("dbHash", maxTimeMS=10_000)["collections"]
        listed = self.admin.admin.aggregate([{"$listCatalog": {}}])
        found = {self._named(entry): _definition(entry) for entry in listed if _matters(entry)}
        self.names |= {d["options"]["uuid"]: n for n, d in found.items() if d["options"]}
        stored = {n: h for n, h in hashes.items() if n not in VOLATILE and n != "system.views"}
        return State({**stored, **self._definitions()}, found)

    def _definitions(self) -> dict[str, str]:
        """Give what the engine keeps of collections, named as if each were one itself."""
        found = {}
        for store in KEPT:
            for kept in self.raw(store).find():
                key = kept["_id"]
                name = key if isinstance(key, str) else self.names.get(key["uuid"], "")
                found[f"{name} {store} {key}"] = bytes(kept.raw).hex()
        return found

    def raw(self, name: str) -> Any:
        """Give a physical collection whose documents are bytes."""
        return self.behind.get_collection(name, codec_options=RAW)

    @property
    def stores(self) -> set[str]:
        """Give the engine's own collections that were there before."""
        return {name for name in self.before.definitions if name.startswith("_mdb_engine")}

    def moved(self) -> bool:
        """Whether anything was written since this was asked last: all that is, is in the oplog."""
        oplog = self.admin.local["oplog.rs"]
        (newest,) = oplog.find({}, {"ts": 1}).sort("$natural", -1).limit(1)
        since = {"ts": {"$gt": self.seen, "$lte": newest["ts"]}}
        self.seen = newest["ts"]
        found = oplog.find_one({**since, "op": {"$ne": "n"}, "ns": {"$not": UNINTERESTING}})
        return found is not None

    def _named(self, entry: Mapping[str, Any]) -> str:
        own = entry["db"] == self.db_name
        return str(entry["name"]) if own else f"{entry['db']}/{entry['name']}"

    def restore(self, names: Iterable[str]) -> None:
        """Bring collections back to the baseline, and forget what was made."""
        now = self.look()
        for name in names:
            same = now.definitions.get(name) == self.before.definitions.get(name)
            if name in self.base and same:
                self.behind[name].delete_many({})
                self.behind[name].insert_many(self.base[name][2])
            elif not name.startswith("system.") and " " not in name and name not in self.stores:
                self.behind.drop_collection(name)
                self.build({name} & self.base.keys())
        for store, documents in self.kept.items():
            self.behind[store].delete_many({})
            if documents:
                self.raw(store).insert_many(documents)
        self.before = self.look()

    def keep(self) -> None:
        """Let an app define something, and take all that as what was there before."""
        line = self.line("crm")
        stages = [{"$match": {"secret": canary("crm")}}]
        assert line.ask({"create": "kept", "viewOn": "tasks", "pipeline": stages, "$db": HOME})[
            "ok"
        ]
        (view,) = self.behind.list_collections(filter={"name": "crm_kept"})
        self.base["crm_kept"] = (view["options"], [], [])
        self.kept = {store: list(self.raw(store).find()) for store in KEPT}
        self.before = self.look()
        self.moved()
        for slug in APPS:
            self.planted |= self.intruders(slug)

    def untagged(self, slug: str) -> list[str]:
        """Give the documents of an app that do not bear its tag, exactly once; planted ones not."""
        tag = element(b"app_id", slug)
        return [
            f"{name}: {bson.decode(found.raw)}"
            for name, entry in self.look().definitions.items()
            if owner(name) == slug and not name.startswith("system.") and entry["kind"] != "view"
            for found in self.raw(name).find()
            if _tags(found.raw) != [tag] and not str(found.get("_id")).startswith("planted")
        ]

    def intruders(self, slug: str) -> dict[str, list[bytes]]:
        """Give the planted documents of an app's collections of the baseline."""
        condition = {"_id": {"$regex": "^planted"}}
        return {
            name: [bytes(document.raw) for document in self.raw(name).find(condition)]
            for name in self.base
            if owner(name) == slug and "viewOn" not in self.base[name][0]
        }

    def words(self, slug: str) -> list[str]:
        """Give what no reply to an app may hold."""
        shown = {slug, *READABLE.get(slug, ())}
        return [
            canary("planted"),
            *(canary(other) for other in APPS if other not in shown),
            *(_telling(other) for other in APPS if other not in (*shown, "shared", "shop")),
            *self.base,
            self.db_name,
            "_mdb_engine",
            "@@out",
            EMPTY_DIGEST,
            *(f"{host}:{port}" for host, port in self.admin.nodes),
            *([socket.gethostname()] if len(socket.gethostname()) > 8 else []),
        ]


def _tags(found: bytes) -> list[bytes]:
    data = bytes(found)
    return [data[item.begin : item.stop] for item in walk(data) if item.name == b"app_id"]


def _telling(slug: str) -> str:
    """Give what does not come about by chance."""
    return slug if len(slug) > 4 else f"{slug}_"


def _matters(entry: Mapping[str, Any]) -> bool:
    return entry["db"] not in ("config", "local") and entry["name"] not in VOLATILE | {
        "system.views"
    }


def _definition(entry: Mapping[str, Any]) -> dict[str, Any]:
    stored = entry.get("md", {})
    return {
        "kind": entry["type"],
        "options": stored.get("options"),
        "indexes": [index["spec"] for index in stored.get("indexes", ())],
        "view": [entry.get("viewOn"), entry.get("pipeline")],
    }


BASELINE = baseline()


async def _log_ins(uri: str, db_name: str) -> None:
    async with AsyncMongoClient[dict[str, Any]](uri) as client:
        for name, (slug, role) in LOGINS.items():
            terms = credentials.Terms(role)
            await credentials.create(
                client[db_name], slug, name=name, password=PASSWORD, terms=terms
            )


def _history(behind: Any) -> Any:
    """Leave events from before the apps; gives the time of the first."""
    reply = behind.command(
        {"insert": "caged_tasks", "documents": [{"_id": "old", "secret": canary("planted")}]}
    )
    behind.command({"drop": "caged_tasks"})
    return reply["operationTime"]


@contextmanager
def matrix(mongo_uri: str, folder: Path) -> Iterator[Matrix]:
    """Run a proxy with the apps and their collections."""
    manifests = folder / "manifests"
    manifests.mkdir()
    for slug, more in APPS.items():
        manifest = {"slug": slug, "name": slug, "database": HOME, **more}
        (manifests / f"{slug}.json").write_text(json.dumps(manifest))
    db_name, port = f"e2e_{uuid4().hex[:12]}", free_port()
    listen = ["--listen", f"127.0.0.1:{port}"]
    command = ["mdb-proxy", "serve", "--manifests", str(manifests), *listen]
    cluster = {"MONGO_URI": mongo_uri, "MONGO_DB_NAME": db_name}
    admin: MongoClient[dict[str, Any]]
    with MongoClient(mongo_uri, serverSelectionTimeoutMS=SELECTION_MS) as admin:
        try:
            asyncio.run(_log_ins(mongo_uri, db_name))
            began = _history(admin[db_name])
            with program(command, folder / "stderr.log", **cluster) as running:
                running.line()
                found = Matrix(port, admin, db_name, running)
                found.build(BASELINE)
                found.began = began
                found.keep()
                yield found
                for key in list(found.lines):
                    found.drop(*key)
        finally:
            admin.drop_database(db_name)
