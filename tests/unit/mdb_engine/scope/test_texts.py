"""Texts of the server: physical names go, the app's own words and its own values stay."""

from dataclasses import replace
from typing import Any

import pytest

from mdb_engine.rawbson import Document, element, encode, splice_end
from mdb_engine.scope.model import Scope
from mdb_engine.scope.names import prefix
from mdb_engine.scope.texts import Words
from tests.support.kernel import SHOP, lazy, shown

NAMES = {
    "shop_tasks": "app.tasks",
    "shop_tasks_old": "app.tasks_old",
    "shop_e": "app.e",
    "shop_@other.tasks": "other.tasks",
    "shared_catalog": "app.shared_catalog",
}
READER = replace(SHOP, readable=("shared",))
WORDS = Words(READER, "app", NAMES)
NOBODY = Words(SHOP, "app")
SESSION = (
    "f81d4fae-7dec-11d0-a765-00a0c91e6bf6 - 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU= -  - "
)


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("ns not found", "ns not found"),
        ("ns appdata.shop_tasks not found", "ns app.tasks not found"),
        ("error at appdata.shop_tasks.", "error at app.tasks."),
        ("index appdata.shop_tasks.$x_1 bad", "index app.tasks.$x_1 bad"),
        # Planner errors glue the next word to the name (6.0.5).
        ("ns=appdata.shop_tasksTree: $and", "ns=app.tasksTree: $and"),
        ("ns=appdata.shop_tasks_oldTree", "ns=app.tasks_oldTree"),
        ("ns=appdata.shared_catalogTree", "ns=app.shared_catalogTree"),
        ("ns=appdata.shop_@other.tasksTree", "ns=other.tasksTree"),
        ("appdata.shop_tasks_older", "app.tasks_older"),
        ("appdata.system.buckets.shop_tasks", "app.tasks"),
        ("collection shop_tasks exists", "collection tasks exists"),
        ("(shop_tasks.)", "(tasks.)"),
        ("'shop_@other.tasks'", "'tasks'"),
        ("myshop_tasks x.shop_tasks a-shop_tasks", "myshop_tasks x.shop_tasks a-shop_tasks"),
        ("shop_tasksTree shop_tasks2", "shop_tasksTree shop_tasks2"),
        # Not named by the command.
        ("appdata.shop_users and shop_users", "app.users and shop_users"),
        ("appdata.shop_@x%c3%a9.users", "x\u00e9.users"),
        ("appdata.shared_users", "app.shared_users"),
        # Not the app's.
        ("appdata.crm_secret", "app.?"),
        ("appdata.crm_secret.", "app.?."),
        ("appdata.shop_eu_tasks", "app.?"),
        ("appdata.shop_@@out.0123", "app.?"),
        ("appdata.shop_@admin.x", "app.?"),
        ("appdata.shared_@x.users", "app.?"),
        ("appdata.crm_@crm.x", "app.?"),
        ("appdata._mdb_engine_slugs", "app.?"),
        ("appdata.apps_config", "app.?"),
        ("appdata.system.views", "app.?"),
        ("appdata.tmp.agg_out.1b-2", "app.?"),
        ("appdata.tmp.x.convertToCapped.y", "app.?"),
        # The physical database alone.
        ('not authorized on appdata to execute { $db: "appdata" }',
         'not authorized on app to execute { $db: "app" }'),
        ("appdata and xappdata.shop_tasks", "appdata and xappdata.shop_tasks"),
        # Several at once, and nothing twice.
        ("appdata.shop_tasks, appdata.crm_x, shop_e", "app.tasks, app.?, e"),
        (f"op of {SESSION}ended", "op of ended"),
        (f"{SESSION}{SESSION}", ""),
    ],
)  # fmt: skip
def test_texts(text: str, becomes: str) -> None:
    assert WORDS.text(text) == becomes


@pytest.mark.parametrize(
    ("text", "becomes"),
    [("appdata.shop_tasks", "app.tasks"), ("shop_tasks", "shop_tasks"), ("appdata.crm_x", "app.?")],
)
def test_without_names(text: str, becomes: str) -> None:
    assert NOBODY.text(text) == becomes


@pytest.mark.parametrize("database", ["appdata", "app", "shop", "a-b", "-db", "x+y"])
def test_a_logical_database_called_like_the_physical_one(database: str) -> None:
    scope = Scope("shop", database, ("app",))
    physical = prefix(scope, database) + "tasks"
    words = Words(scope, database, {physical: f"{database}.tasks"})
    assert words.text(f"ns={database}.{physical}Tree") == f"ns={database}.tasksTree"
    assert words.text(f"{database}.shop_users") == "app.users"


def twice(value: Any) -> Document:
    """A document that holds one name twice, as stored documents can."""
    return Document(splice_end(b"\5\0\0\0\0", element(b"a", value) * 2))


def test_errors_keep_the_apps_own_documents() -> None:
    own = {"a": "appdata.shop_tasks"}
    error = {
        "errmsg": "dup key in appdata.shop_tasks",
        "keyPattern": own,
        "keyValue": own,
        "errInfo": {
            "failingDocumentId": "shop_tasks",
            "details": [{"consideredValue": "shop_tasks", "reason": "in shop_tasks"}],
        },
        "n": 1,
    }
    assert shown(WORDS.texts(lazy(error))) == {
        **error,
        "errmsg": "dup key in app.tasks",
        "errInfo": {
            "failingDocumentId": "shop_tasks",
            "details": [{"consideredValue": "shop_tasks", "reason": "in tasks"}],
        },
    }
    assert shown(WORDS.texts(lazy([error["errmsg"], 1]))) == ["dup key in app.tasks", 1]
    assert WORDS.texts("shop_tasks") == "tasks"
    assert WORDS.texts(5) == 5


def test_a_name_that_stands_twice_is_no_obstacle() -> None:
    error = Document(encode({"keyValue": twice(1), "x": twice("appdata.shop_e")}))
    found = WORDS.texts(error)
    assert found.data == encode({"keyValue": twice(1), "x": twice("app.e")})


@pytest.mark.parametrize(
    ("part", "becomes"),
    [
        ({"namespace": "appdata.shop_tasks"}, {"namespace": "app.tasks"}),
        ({"foreignCollection": "appdata.shop_users"}, {"foreignCollection": "app.users"}),
        ({"ns": "appdata.system.buckets.shop_e"}, {"ns": "app.e"}),
        ({"namespace": "appdata.crm_x"}, {"namespace": "app.?"}),
        ([{"$lookup": {"from": "shop_tasks"}}], [{"$lookup": {"from": "tasks"}}]),
        # A view reads collections that the command did not name.
        ({"$graphLookup": {"from": "shop_users"}}, {"$graphLookup": {"from": "users"}}),
        ({"$unionWith": {"coll": "shared_catalog"}}, {"$unionWith": {"coll": "shared_catalog"}}),
        (
            {"$merge": {"into": {"db": "appdata", "coll": "shop_@other.tasks"}}},
            {"$merge": {"into": {"db": "other", "coll": "tasks"}}},
        ),
        ({"$out": {"coll": "shop_e", "db": "appdata"}}, {"$out": {"coll": "e", "db": "app"}}),
        ({"$out": {"coll": "crm_x", "db": "appdata"}}, {"$out": {"coll": "crm_x", "db": "app"}}),
        ({"db": "appdata"}, {"db": "app"}),
        ({"db": "x", "from": "x", "coll": 1}, {"db": "x", "from": "x", "coll": 1}),
        # The client's own words in its filter.
        ({"name": {"$eq": "shop_tasks"}}, {"name": {"$eq": "shop_tasks"}}),
        ({"name": {"$eq": "in appdata"}}, {"name": {"$eq": "in appdata"}}),
        (1.0, 1.0),
        ("2", "2"),
    ],
)
def test_explanations(part: Any, becomes: Any) -> None:
    assert shown(WORDS.explained(lazy(part))) == becomes
