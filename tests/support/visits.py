"""What each unchanged client does at a door, and what it must have seen: one table for all."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.support.proxies import Client

CONTENT = bytes(range(250)) * 4
CHUNK = 256
ROWS, BATCH = 250, 20
TOUCHED = ("", "_rows", "_codes")
"""Ends of the names of collections that every client works in."""

STRANGER = "crm"
"""The other app, whose documents lie among those of the client's own."""

DRIVER_ONLY = {"collections", "estimated", "files", "stream", "validated"}
LACKS: dict[str, set[str]] = {
    "mongosh": {"file", "files"},
    "beanie": {*DRIVER_ONLY, "file"},
    "mongoengine": {*DRIVER_ONLY, "bulk", "session", "transactions"},
}
"""Steps that a client has no way of its own for."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One client's turn.

    Attributes:
        uri: where it logs in. db: the database it works in. name: its collections begin with it.
        behind: URI of the cluster itself. other: database and prefix of names where the other
            app's documents are put. admin: a client of the cluster itself.
    """

    uri: str
    db: str
    name: str
    behind: str
    other: tuple[str, str]
    admin: Client = field(repr=False)

    def place(self, name: str) -> Any:
        """Give the collection where the client's documents of this name are."""
        db_name, prefix = self.other
        return self.admin[db_name][prefix + name]

    def plant(self) -> None:
        """Put the other app's documents into its own collections, and astray into the client's.

        Those have what the client's will have, too: its ids, unique values and names of files.
        """
        strays, own = self.place, self.admin[self.other[0]]
        odd = {"app_id": STRANGER, "kind": "odd", "filename": self.name, "n": 3}
        for end in TOUCHED:
            name = f"{self.name}{end}"
            strays(name).insert_one({"_id": "theirs", "code": "theirs", **odd})
            own[f"{STRANGER}_{name}"].insert_one({"_id": 1, "code": "a", **odd})
        file = {"_id": f"theirs {self.name}", "length": 3, "chunkSize": CHUNK, **odd}
        chunk = {"files_id": file["_id"], "n": 0, "data": b"odd", "app_id": STRANGER}
        for files, chunks in (
            (strays("fs.files"), strays("fs.chunks")),
            (own[f"{STRANGER}_fs.files"], own[f"{STRANGER}_fs.chunks"]),
        ):
            files.insert_one(file)
            chunks.insert_one(dict(chunk))

    def theirs(self) -> list[Any]:
        """Give what is left of that, apart from files."""
        own = self.admin[self.other[0]]
        found, quiet = [], {"app_id": STRANGER, "_id": {"$ne": "loud"}}
        for end in TOUCHED:
            name = f"{self.name}{end}"
            found += self.place(name).find(quiet).to_list()
            found += own[f"{STRANGER}_{name}"].find().to_list()
        return [[row["_id"], row["n"], row["code"]] for row in found]

    def disturb(self) -> None:
        """Do what the other app does while this one watches."""
        loud, own = {"_id": "loud", "app_id": STRANGER, "n": 200}, self.admin[self.other[0]]
        self.place(self.name).insert_one(loud)
        theirs = own[f"{STRANGER}_{self.name}"]
        theirs.insert_one(loud)
        theirs.update_one({"_id": "loud"}, {"$set": {"n": 201}})
        theirs.delete_one({"_id": "loud"})

    def variables(self) -> dict[str, Any]:
        """Give what a script needs to know."""
        return {
            "uri": self.uri,
            "db": self.db,
            "name": self.name,
            "behind": self.behind,
            "otherDb": self.other[0],
            "othersName": f"{STRANGER}_{self.name}",
            "strayName": self.other[1] + self.name,
        }

    def expected(self, client: str) -> dict[str, Any]:
        """Give what this client must have seen."""
        done, lacks = self.done(), LACKS.get(client, set())
        assert lacks <= done.keys(), "there is such a step"
        return {step: seen for step, seen in done.items() if step not in lacks}

    def done(self) -> dict[str, Any]:
        """Give what a client has seen when it did every step, in their order."""
        codes, text = f"{self.db}.{self.name}_codes", '{ code: "a" }'
        return {
            "found": [5, 4],
            "modified": [1, 5],
            "upserted": 6,
            "replaced": ["_id", "kind", "n"],
            "after": 6,
            "deleted": [1, 2],
            "left": [4, 5, 6],
            "count": 3,
            "estimated": 3,
            "distinct": ["even", "odd"],
            "bulk": [1, 1, 1, [4, 5, 7]],
            "rows": [ROWS, ROWS],
            "sums": [["even", ROWS // 2], ["odd", ROWS // 2]],
            "session": 1000,
            "transactions": [100, 102],
            "indexes": [["_id_", False, None], ["at_1", False, 3600], ["code_1", True, None]],
            "duplicate": [
                11000,
                {"code": 1},
                {"code": "a"},
                f"E11000 duplicate key error collection: {codes} index: code_1 dup key: {text}",
            ],
            "validated": 121,
            "stream": [
                [kind, 200, f"{self.db}.{self.name}"] for kind in ("insert", "update", "delete")
            ],
            "file": len(CONTENT),
            "files": [self.name],
            "collections": [f"{self.name}{end}" for end in ("", "_codes", "_rows", "_valid")],
        }

    def stored(self) -> dict[str, set[str]]:
        """Give whose documents lie in each collection of this visit."""
        db = self.admin[self.other[0]]
        files = db["shop_fs.files"].distinct("_id", {"filename": {"$regex": f"^{self.name}"}})
        found = {
            "files": _owners(db["shop_fs.files"].find({"_id": {"$in": files}})),
            "chunks": _owners(db["shop_fs.chunks"].find({"files_id": {"$in": files}})),
        }
        names = [
            name
            for name in db.list_collection_names()
            if self.name in name and not name.startswith(f"{STRANGER}_{self.name}")
        ]
        return found | {name: _owners(db[name].find()) for name in names}


def kind(number: int) -> str:
    """Give what is stored beside a number."""
    return "odd" if number % 2 else "even"


def index_rows(found: dict[str, dict[str, Any]]) -> list[list[Any]]:
    """Give each index as name, uniqueness, seconds to live; from PyMongo's `index_information`."""
    return [
        [name, found[name].get("unique", False), found[name].get("expireAfterSeconds")]
        for name in sorted(found)
    ]


def duplicate_row(details: Any) -> list[Any]:
    """Give what a duplicate key error says."""
    return [details["code"], details["keyPattern"], details["keyValue"], details["errmsg"]]


def event_row(event: Any) -> list[Any]:
    """Give what an event says."""
    namespace = f"{event['ns']['db']}.{event['ns']['coll']}"
    assert "app_id" not in event.get("fullDocument", {}), event
    return [event["operationType"], event["documentKey"]["_id"], namespace]


def _owners(documents: Iterable[dict[str, Any]]) -> set[str]:
    return {str(document.get("app_id")) for document in documents}
