"""The isolation matrix: every row over the wire, and after each a look at everything else.

`make search` runs each row also as every other app, as a reader, elsewhere, explained and in a
transaction.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pymongo import AsyncMongoClient

from mdb_engine.exceptions import ManifestValidationError
from mdb_engine.manifest import parse
from mdb_engine.registry import ledger
from mdb_engine.scope.model import Features
from mdb_proxy.decisions import Forward
from tests.support import config
from tests.support.matrix import Row, Step, filled, rows, variants
from tests.support.programs import ROOT
from tests.support.rounds import Round, carry_out, oracle
from tests.support.talks import Talk, World, heard, one_frame, told
from tests.support.talks import carry_out as answered
from tests.support.worlds import PASSWORD, Matrix, canary, matrix

SECTION = range(1, 201)
"""The rows that the design names; others are ours."""


def that(through: str) -> Any:
    """Run a test with every row of a kind."""
    found = [pytest.param(row, id=row.id) for row in rows() if row.through == through]
    return pytest.mark.parametrize("row", found)


@pytest.fixture(scope="module")
def world(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    """Give the apps of the matrix."""
    with matrix(mongo_uri, tmp_path_factory.mktemp("matrix")) as found:
        yield found


def test_every_number_is_there() -> None:
    assert [number for number in SECTION if number not in {row.number for row in rows()}] == []


def test_no_two_rows_look_alike() -> None:
    assert [name for name, count in Counter(row.id for row in rows()).items() if count > 1] == []


@that("wire")
def test_row(world: Matrix, row: Row) -> None:
    carry_out(world, row)


if config.SEARCH:

    @that("wire")
    def test_row_said_otherwise(world: Matrix, row: Row) -> None:
        for variant in variants(row):
            try:
                carry_out(world, variant, strict=False)
            except AssertionError as error:
                raise AssertionError(variant.it) from error


@that("session")
def test_row_without_a_cluster(row: Row) -> None:
    (step,) = row.steps
    decision = Talk(talkers(row.more), "shop").decide(
        {**filled(step.get("do"), {}), "$db": step.db}
    )
    if isinstance(decision, Forward):
        sent = told(decision.exchange)
        assert {name: sent[name] for name in row.more["told"]} == row.more["told"]
    else:
        assert heard(one_frame(answered(decision))).body["code"] == step.get("code")


def talkers(given: Mapping[str, Any]) -> World:
    """Give a proxy in front of a cluster that is not there."""
    world = World(slugs=given.get("slugs", ["crm", "shop"]))
    features = Features(version=tuple(given.get("version", (6, 0))))
    longer = tuple(s for s in world.directory.scopes if s.startswith("shop_"))
    scopes = {
        slug: replace(scope, home=("app",), features=features, longer=longer)
        for slug, scope in world.directory.scopes.items()
    }
    world.directory = replace(world.directory, scopes=scopes)
    return world


@that("manifests")
def test_manifests_that_are_refused(mongo_uri: str, row: Row) -> None:
    with pytest.raises(ManifestValidationError):
        asyncio.run(register(mongo_uri, row.more["manifests"]))


async def register(uri: str, slugs: list[str]) -> None:
    async with AsyncMongoClient[dict[str, Any]](uri) as client:
        database = client[f"mdb_{uuid4().hex}"]
        try:
            manifests = {slug: parse({"slug": slug, "name": slug}) for slug in slugs}
            await ledger.register(database, manifests, wait=0)
        finally:
            await client.drop_database(database.name)


@that("elsewhere")
def test_what_other_tests_do(row: Row) -> None:
    assert [name for name in row.more["tests"] if not (ROOT / name).exists()] == []


# That the oracle would see it.


def made(*steps: Mapping[str, Any], **more: Any) -> Row:
    return Row("here", 0, "made up", tuple(map(Step, steps)), **more)


BY_THE_OPERATOR = [
    {"insert": "crm_tasks", "documents": [{"a": 1}]},
    {"delete": "crm_tasks", "deletes": [{"q": {"_id": 3}, "limit": 1}]},
    {"update": "shop_tasks", "updates": [{"q": {"_id": 3}, "u": {"$set": {"a": 1}}}]},
    {"create": "eu_new"},
    {"createIndexes": "crm_users", "indexes": [{"key": {"a": 1}, "name": "a"}]},
    {"collMod": "crm_ruled", "validator": {}},
    {"delete": "_mdb_engine_views", "deletes": [{"q": {}, "limit": 0}]},
    {"collMod": "crm_stats", "viewOn": "crm_users", "pipeline": []},
    {"insert": "_mdb_engine_new", "documents": [{"_id": "new"}]},
]


@pytest.mark.parametrize("command", BY_THE_OPERATOR, ids=lambda command: next(iter(command)))
def test_changes_are_seen(world: Matrix, command: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        carry_out(world, made({"as": "operator", "do": command}))
    assert not world.before.differing(world.look()), "and taken back"


BY_A_FAULTY_KERNEL = [
    {"insert": "shop_tasks", "documents": [{"app_id": "crm"}]},
    {"insert": "shop_tasks", "documents": [{"a": 1}]},
    {"insert": "shop_new", "documents": [{"app_id": ["shop"]}]},
    {"create": "shop_@@out.x"},
    {"update": "shop_tasks", "updates": [{"q": {"_id": "planted-0"}, "u": {"$set": {"a": 1}}}]},
    {"delete": "shop_users", "deletes": [{"q": {"_id": "planted-bare"}, "limit": 1}]},
]


@pytest.mark.parametrize("command", BY_A_FAULTY_KERNEL, ids=str)
def test_own_collections_must_stay_sound(world: Matrix, command: dict[str, Any]) -> None:
    row = made({"as": "operator", "do": command}, writes=frozenset({"shop"}))
    with pytest.raises(AssertionError):
        carry_out(world, row)


@pytest.mark.parametrize("said", [canary("crm"), "crm_tasks", "shop_tasks", "_mdb_engine_slugs"])
def test_leaks_are_seen(world: Matrix, said: str) -> None:
    """What the proxy repeats is seen when nobody said it before."""
    row = made({"do": {"insert": "echo", "documents": [{"a": said}]}, "n": 1},
               {"do": {"find": "echo"}, "count": 1}, writes=frozenset({"shop"}))  # fmt: skip
    carry_out(world, row)
    talk = Round(world, row)
    for step in row.steps:
        talk.say(step)
    talk.line(row.steps[0]).sent.clear()
    with pytest.raises(AssertionError):
        oracle(talk, world.look(), strict=False)
    world.restore(["shop_echo"])


def test_closed_connections_are_seen(world: Matrix) -> None:
    with pytest.raises(AssertionError, match="closed the connection"):
        carry_out(world, made({"line": "cut", "do": {"find": "tasks"}, "flags": 4}))


def test_the_log_holds_no_failure(world: Matrix) -> None:
    log = Path(world.program.log).read_text(encoding="utf-8")
    assert "Traceback" not in log
    assert '"level":"error"' not in log
    assert "canary" not in log.lower(), "it says which rule and where, never what"
    assert PASSWORD not in log
