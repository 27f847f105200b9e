"""Which names a change stream shows: its patterns say what `owner` says."""

import re
from dataclasses import replace
from typing import Any

import pytest

from mdb_engine.rawbson import Document, encode
from mdb_engine.scope.commands import rewrite
from mdb_engine.scope.names import owner
from mdb_engine.scope.streams import cluster_wide
from tests.support.kernel import SHOP

SCOPE = replace(SHOP, longer=("shop_eu", "shop_eu_old", "shop_x-y"), readable=("shop_eu",))

NAMES = [
    "shop_tasks", "shop_eu_tasks", "shop_eu_old_x", "shop_eu_", "shop_x-y_a", "shop_x-z_a",
    "shop_eu", "shop_@d.tasks", "shop_@d2.tasks", "shop_@d.eu_tasks", "shop_@@out.abc",
    "shop_fs.files", "shopping_tasks", "crm_tasks", "crm_shop_tasks", "xshop_tasks",
    "_mdb_engine_slugs", "apps_config", "system.views", "tmp.agg_out.1-2",
    "tmpAb3dE.convertToCapped.shop_tasks", "shop_tasks.more", "shop_tasksmore",
]  # fmt: skip


def command(source: Any, db: str, **options: Any) -> Document:
    stages = [{"$changeStream": options}]
    return Document(encode({"aggregate": source, "pipeline": stages, "cursor": {}, "$db": db}))


def conditions(source: Any, db: str, **options: Any) -> Any:
    physical = rewrite(command(source, db, **options), SCOPE)
    return physical.command["pipeline"][1]["$match"]["$and"][0]["$or"]


def pattern(condition: Any, name: str) -> "re.Pattern[str]":
    return re.compile(condition[name]["$regex"].replace("\\z", "\\Z"))


WATCHED: list[tuple[Any, str, dict[str, Any], Any]] = [
    ("tasks", "app", {}, lambda name: name == "shop_tasks"),
    ("fs.files", "app", {}, lambda name: name == "shop_fs.files"),
    ("shop_eu_tasks", "app", {}, lambda name: name == "shop_eu_tasks"),
    ("tasks", "d", {}, lambda name: name == "shop_@d.tasks"),
    (1, "d", {}, lambda name: name.startswith("shop_@d.")),
    (1, "app", {}, lambda name: owner(name, SCOPE.slugs) == "shop" and "@" not in name),
    (1, "admin", {"allChangesForCluster": True},
     lambda name: owner(name, SCOPE.slugs) == "shop" and "@@" not in name),
]  # fmt: skip


@pytest.mark.parametrize(("source", "db", "options", "expected"), WATCHED)
def test_a_stream_shows_the_names_that_it_watches(
    source: Any, db: str, options: dict[str, Any], expected: Any
) -> None:
    watched = pattern(conditions(source, db, **options)[0], "ns.coll")
    found = {name for name in NAMES if watched.search(name)}
    assert found == {name for name in NAMES if expected(name)}
    assert found


def test_what_becomes_a_watched_name_was_the_apps_own_or_nobodys() -> None:
    sources = pattern(conditions("tasks", "app")[1], "ns.coll")
    found = {name for name in NAMES if sources.search(name)}
    own = {name for name in NAMES if owner(name, SCOPE.slugs) == "shop"}
    assert found == own | {name for name in NAMES if name.startswith("tmp")}


def test_of_a_granted_scope_only_its_home_is_known() -> None:
    sources = pattern(conditions("shop_eu_tasks", "app")[1], "ns.coll")
    assert sources.search("shop_eu_other")
    assert not sources.search("shop_eu_@db.tasks")
    assert not sources.search("shop_eu_old_x")
    assert not sources.search("shop_tasks")


@pytest.mark.parametrize(
    ("changed", "wide"),
    [
        ({}, True),
        ({"aggregate": 1.0}, True),
        ({"aggregate": "tasks"}, False),
        ({"pipeline": []}, False),
        ({"pipeline": 5}, False),
        ({"pipeline": [5]}, False),
        ({"pipeline": [{"$match": {}}]}, False),
    ],
)
def test_only_a_stream_may_be_asked_of_the_admin_database(
    changed: dict[str, Any], wide: bool
) -> None:
    asked = dict(command(1, "admin", allChangesForCluster=True))
    assert cluster_wide(Document(encode({**asked, **changed}))) is wide
