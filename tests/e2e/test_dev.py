"""`mdb dev`, as a person or a script runs it."""

import json
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from pymongo import MongoClient

from tests.support.programs import Program, program, run

ARGUMENTS = ("mdb", "dev", "--json", "--listen", "127.0.0.1:0")
Client = MongoClient[dict[str, Any]]


@contextmanager
def started(folder: Path, **variables: str) -> Iterator[tuple[dict[str, Any], Program]]:
    log = folder.parent / f"{uuid4().hex}.log"
    with program([*ARGUMENTS, "--data", str(folder)], log, **variables) as running:
        yield json.loads(running.line()), running


def passwords(told: dict[str, Any]) -> dict[str, str]:
    """Give the URIs without the port, which is a new one each time."""
    return {slug: app["uri"].rpartition(":")[0] for slug, app in told["apps"].items()}


def works(uri: str) -> bool:
    client: Client
    with MongoClient(uri, serverSelectionTimeoutMS=10_000) as client:
        tasks = client.get_default_database().tasks
        tasks.insert_one({"title": "hello"})
        return tasks.count_documents({"title": "hello"}) > 0


def test_a_second_start_prints_the_same_uris(folder: Path) -> None:
    with started(folder) as (first, running):
        assert set(first) == {"proxy", "mongo_uri", "db_name", "apps"}
        assert works(first["apps"]["shop"]["uri"])
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) == 0
    assert stat.S_IMODE((folder / "credentials.json").stat().st_mode) == 0o600
    with started(folder) as (second, running):
        assert passwords(second) == passwords(first)
        assert works(second["apps"]["crm"]["uri"])
        with MongoClient(second["mongo_uri"], serverSelectionTimeoutMS=10_000) as behind:
            physical = behind[second["db_name"]]
            assert physical.shop_tasks.count_documents({"app_id": "shop"}) == 1
            assert physical.shop_tasks.count_documents({}) == 1
        assert running.stop() == 0


def test_lost_passwords_are_made_anew(folder: Path) -> None:
    with started(folder) as (first, _):
        pass
    (folder / "credentials.json").unlink()
    with started(folder) as (second, _):
        assert not set(passwords(first).values()) & set(passwords(second).values())
        assert works(second["apps"]["shop"]["uri"])


def test_one_folder_one_owner(folder: Path) -> None:
    with started(folder):
        done = run(*ARGUMENTS, "--data", str(folder))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"mdb dev: {folder} is in use by another")


def test_a_port_in_use_is_one_sentence(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("mdb", "dev", "--listen", address, "--data", str(folder))
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cluster_of_your_own_gets_logins_on_loan(folder: Path, mongo_uri: str) -> None:
    db_name = f"e2e_{uuid4().hex[:12]}"
    behind: Client
    with MongoClient(mongo_uri, serverSelectionTimeoutMS=10_000) as behind:
        try:
            with started(folder, MONGO_URI=mongo_uri, MONGO_DB_NAME=db_name) as (told, running):
                assert told["mongo_uri"] == mongo_uri
                assert told["apps"]["shop"]["uri"].startswith("mongodb://dev-shop:")
                assert works(told["apps"]["shop"]["uri"])
                assert running.stop() == 0
            assert behind[db_name]["_mdb_engine_credentials"].count_documents({}) == 0
            assert not (folder / "credentials.json").exists()
        finally:
            behind.drop_database(db_name)


def test_a_cluster_that_does_not_answer(folder: Path) -> None:
    nobody = "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=300&connectTimeoutMS=300"
    done = run(*ARGUMENTS, "--data", str(folder), MONGO_URI=nobody)
    assert done.returncode == 4
    assert "The cluster does not answer" in done.stderr
    assert "Traceback" not in done.stderr
