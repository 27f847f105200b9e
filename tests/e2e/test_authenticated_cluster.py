"""A cluster with authentication: the proxy needs no more than its documented rights."""

import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from mdb_cli.mongod import find_mongod
from tests.support.programs import ROOT, create_credential, program
from tests.support.proxies import SELECTION_MS, Client
from tests.support.servers import free_port

PASSWORD = secrets.token_hex(16)
START_SECONDS = 60


@contextmanager
def guarded_mongod(folder: Path) -> Iterator[str]:
    """Run a replica set of one with a key file; give `host:port`."""
    port = free_port()
    key = folder / "key"
    key.write_text(secrets.token_hex(32))
    key.chmod(0o400)
    (folder / "db").mkdir()
    server = subprocess.Popen(  # noqa: S603 - the test server
        [
            find_mongod(), "--dbpath", folder / "db", "--port", str(port), "--bind_ip", "127.0.0.1",
            "--replSet", "rs0", "--keyFile", key, "--nounixsocket", "--quiet",
        ],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(START_SECONDS)


def prepared(address: str, db_name: str) -> None:
    """Initiate the set; make a root, and the proxy's own user with rights on one database."""
    member = {"_id": 0, "host": address}
    client: Client
    with MongoClient(
        address, directConnection=True, serverSelectionTimeoutMS=START_SECONDS * 1000
    ) as client:
        client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
        until(lambda: client.admin.command("hello")["isWritablePrimary"])
        client.admin.command("createUser", "root", pwd=PASSWORD, roles=["root"])
    with MongoClient(f"mongodb://root:{PASSWORD}@{address}/?directConnection=true") as client:
        roles = [{"role": name, "db": db_name} for name in ("readWrite", "dbAdmin")]
        client.admin.command("createUser", "proxy", pwd=PASSWORD, roles=roles)


def until(ready: Any) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if ready():
                return
        except PyMongoError:
            pass
        time.sleep(0.1)
    pytest.fail("the server did not become ready")


def test_the_documented_rights_are_enough(folder: Path) -> None:
    folder.mkdir()
    with guarded_mongod(folder) as address:
        prepared(address, "appdata")
        cluster = {
            "MONGO_URI": f"mongodb://proxy:{PASSWORD}@{address}/?replicaSet=rs0",
            "MONGO_DB_NAME": "appdata",
        }
        listen = f"127.0.0.1:{free_port()}"
        uri = create_credential("shop", "--proxy", listen, **cluster)["uri"]
        command = ["mdb-proxy", "serve", "--manifests", str(ROOT / "manifests"), "--listen", listen]
        with program([*command, "--apply-indexes"], folder / "log", **cluster) as running:
            assert running.line() == f"listening on {listen}"
            everyday(uri)
            assert PASSWORD not in running.tail()


def everyday(uri: str) -> None:
    client: Client
    with MongoClient(uri, serverSelectionTimeoutMS=SELECTION_MS) as client:
        db = client.get_default_database()
        db.tasks.insert_many([{"n": n} for n in range(300)])
        assert len(list(db.tasks.find())) == 300
        list(db.tasks.aggregate([{"$out": "written"}]))
        list(db.tasks.aggregate([{"$out": "written"}]))
        assert db.written.count_documents({}) == 300
        db.tasks.create_index("n")
        with client.start_session() as session, session.start_transaction():
            db.tasks.insert_one({"n": 1}, session=session)
        join = {"$lookup": {"from": "written", "localField": "n", "foreignField": "n", "as": "w"}}
        db.create_collection("v", viewOn="tasks", pipeline=[join])
        db.command({"collMod": "v", "viewOn": "written", "pipeline": [{"$match": {"n": 5}}]})
        assert [found["n"] for found in db.v.find()] == [5]
        db.create_collection("checked", validator={"n": {"$gt": 1}})
        db.checked.rename("renamed")
        db.command({"cloneCollectionAsCapped": "renamed", "toCollection": "copy", "size": 4096})
        assert {"tasks", "written"} <= set(db.list_collection_names())
        assert json.dumps(client.list_database_names()) == '["shop"]'
        client.drop_database("shop")
        assert db.list_collection_names() == []
