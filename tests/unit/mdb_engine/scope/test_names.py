"""Who owns which name, and that nobody can spell another app's."""

from dataclasses import replace
from typing import Any

import pytest
from bson.int64 import Int64

from mdb_engine.exceptions import (
    DatabaseDifferCaseError,
    InvalidNamespaceError,
    QueryValidationError,
    RefusedError,
    UnauthorizedError,
)
from mdb_engine.rawbson import Raw
from mdb_engine.scope import names
from mdb_engine.scope.model import Scope
from tests.support.kernel import SHOP, lazy, where

CRM = Scope("crm", "appdata", ("crm", "crm2"), readable=("shop",), longer=("shop_eu",))
"""May read `shop`, but not `shop_eu`."""

BOTH = replace(CRM, readable=("shop", "shop_eu"), longer=())
ODD = Scope("2nd", "appdata", ("home",), readable=("3rd",))
"""Slugs may begin with a digit, collections may not."""

UUID_OF_A_COLLECTION = Raw(5, b"\x10\0\0\0\4" + bytes(16))


@pytest.mark.parametrize("slug", ["shop", "a", "0", "my_app", "my-app", "a" * 63, "app", "mdbx"])
def test_slugs(slug: str) -> None:
    names.check_slug(slug)


@pytest.mark.parametrize(
    "slug",
    ["", "Shop", "_shop", "shop_", "-shop", "shop-", "a" * 64, "a.b", "a b", "é", "shop\n", "a@b"],
)
def test_malformed_slugs(slug: str) -> None:
    with pytest.raises(InvalidNamespaceError, match="is not a slug"):
        names.check_slug(slug)


@pytest.mark.parametrize("slug", sorted(names.RESERVED_SLUGS))
def test_reserved_slugs(slug: str) -> None:
    with pytest.raises(InvalidNamespaceError, match="is reserved"):
        names.check_slug(slug)


@pytest.mark.parametrize(
    "pair",
    [
        ("shop_eu", "shop-eu"),
        ("shop-eu", "shopeu"),
        ("app1", "app01"),
        ("app-10", "app_010"),
        ("a0", "a00"),
        ("ily", "yli"),
        ("view", "viev"),
        ("ccs", "cscs"),
        ("cscscs", "ccscs"),
        ("csccs", "ccscs"),
        ("ddzs", "dzsdzs"),
        ("gigi", "gygy"),
        ("ggygy", "gygygy"),
        ("sszsz", "szssz"),
        ("zzszs", "zszzs"),
        ("lylly", "lylyly"),
    ],
)
def test_slugs_that_some_locale_takes_for_one(pair: tuple[str, str]) -> None:
    assert names.fold(pair[0]) == names.fold(pair[1])


@pytest.mark.parametrize(
    "pair",
    [("shop", "shops"), ("app1", "app10"), ("a1", "a2"), ("planner", "planer"), ("a0", "a")],
)
def test_slugs_that_no_locale_takes_for_one(pair: tuple[str, str]) -> None:
    assert names.fold(pair[0]) != names.fold(pair[1])


@pytest.mark.parametrize(
    ("physical", "whose"),
    [
        ("shop_tasks", "shop"),
        ("shop_eu_tasks", "shop_eu"),
        ("shop_eu_x_tasks", "shop_eu"),
        ("shop_eutasks", "shop"),
        ("shop_eu", "shop"),
        ("shop_eu_", "shop"),
        ("shop_@eu.tasks", "shop"),
        ("shop_", None),
        ("shop", None),
        ("shops_x", None),
        ("crm_x", None),
        ("", None),
    ],
)
def test_the_longest_slug_owns_a_name(physical: str, whose: str | None) -> None:
    assert names.owner(physical, ["shop", "shop_eu"]) == whose
    assert names.owner(physical, ["shop_eu", "shop"]) == whose


@pytest.mark.parametrize(
    ("db", "encoded"),
    [
        ("shop", "shop"),
        ("A-b_9", "A-b_9"),
        ("a@b", "a%40b"),
        ("100%", "100%25"),
        ("%40", "%2540"),
        ("é", "%c3%a9"),
        ("a'b", "a%27b"),
    ],
)
def test_databases_in_physical_names(db: str, encoded: str) -> None:
    assert names.encode_database(db) == encoded
    assert names.decode_database(encoded) == db


@pytest.mark.parametrize("encoded", ["%61", "a@b", "%C3%A9", "%ff", "%4", "%", "é", "\udcff"])
def test_spellings_that_nobody_wrote(encoded: str) -> None:
    assert names.decode_database(encoded) is None


@pytest.mark.parametrize("db", ["app", "other", "a" * 63, "é" * 31, "apps", "APPLE", "a'b", "a%b"])
def test_databases(db: str) -> None:
    assert names.check_database(db, SHOP) == db
    assert names.check_database(db) == db


@pytest.mark.parametrize(
    "db",
    ["", "a" * 64, "é" * 32, *(f"a{c}b" for c in '/\\. "$*<>:|?\0'), "\udcff", None, 1, {}],
)
def test_databases_that_are_none(db: Any) -> None:
    with pytest.raises(InvalidNamespaceError, match="Invalid database name"):
        names.check_database(db if db != {} else lazy({}), SHOP)


@pytest.mark.parametrize("db", ["admin", "config", "local", "$external", "Admin", "LOCAL"])
def test_databases_of_the_server(db: str) -> None:
    with pytest.raises(UnauthorizedError) as caught:
        names.check_database(db, SHOP, 'find: tasks, $db: "admin"')
    assert caught.value.reason == (
        f'not authorized on {db} to execute command {{ find: tasks, $db: "admin" }}'
    )


def test_a_home_name_in_another_case() -> None:
    with pytest.raises(DatabaseDifferCaseError, match=r"already have: \[app\] trying to create"):
        names.check_database("App", SHOP)


@pytest.mark.parametrize(("db", "fine"), [("crm", True), ("crm2", True), ("x", False)])
def test_a_pinned_app_has_its_home_only(db: str, *, fine: bool) -> None:
    pinned = replace(CRM, pinned=True)
    if fine:
        assert names.check_database(db, pinned) == db
        return
    with pytest.raises(UnauthorizedError, match="not authorized on x"):
        names.check_database(db, pinned, "find: tasks")


GOOD_NAMES = ["tasks", "_x", "fs.files", "a-b", "A.b_c", "systm", "adminx", "x.system", "apps_conf"]
BAD_NAMES = [
    *("", "9x", ".x", "x.", "a..b", "a$b", "a b", "a\0b", "é", "x\n", "../x", "@x.y"),
    "\u017fystem",
    *("system", "system.users", "System.views", "systemx", "admin.x", "CONFIG.x", "local.x"),
    *("enxcol_.x", "_mdb_engine_slugs", "_mdb_enginex", "apps_config", "Apps_Config", "\udcff"),
]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_collections(name: str) -> None:
    target = names.resolve(name, SHOP, where("find"), write=True)
    assert (target.physical, target.logical, target.db, target.slug) == (
        f"shop_{name}",
        name,
        "app",
        "shop",
    )


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("db", ["app", "other"])
def test_collections_that_are_none(name: str, db: str) -> None:
    with pytest.raises(InvalidNamespaceError) as caught:
        names.resolve(name, SHOP, where("find", db=db), write=False)
    shown = name.replace("\udcff", "�")
    text = f"Invalid collection name specified '{db}.{shown}'"
    if "$" in name:
        text = text.removesuffix("'")  # as the server (6.0.5)
    if name.startswith("."):
        text = f"Collection names cannot start with '.': {shown}"
    assert caught.value.reason == (text if name else f"Invalid namespace specified '{db}.'")
    assert caught.value.at == "find"


@pytest.mark.parametrize(
    ("scope", "db", "name", "physical"),
    [
        (SHOP, "app", "tasks", "shop_tasks"),
        (SHOP, "other", "tasks", "shop_@other.tasks"),
        (SHOP, "appdata", "tasks", "shop_@appdata.tasks"),
        (SHOP, "é", "tasks", "shop_@%c3%a9.tasks"),
        (SHOP, "app", "crm_tasks", "shop_crm_tasks"),
        (SHOP, "app", "shop_tasks", "shop_shop_tasks"),
        (SHOP, "app", "shop_eu_tasks", "shop_shop_eu_tasks"),
        (SHOP, "app", "eu", "shop_eu"),
        (SHOP, "app", "eutasks", "shop_eutasks"),
        (SHOP, "app", "eu.tasks", "shop_eu.tasks"),
        (SHOP, "other", "eu_tasks", "shop_@other.eu_tasks"),
        (CRM, "crm", "tasks", "crm_tasks"),
        (CRM, "crm2", "tasks", "crm_tasks"),
        (CRM, "crm", "shop_eu_tasks", "crm_shop_eu_tasks"),
        (CRM, "crm", "shopx_tasks", "crm_shopx_tasks"),
        (CRM, "crm", "shop_", "crm_shop_"),
        (CRM, "crm", "shop_system.x", "crm_shop_system.x"),
        (CRM, "crm", "shop_9", "crm_shop_9"),
    ],
)
@pytest.mark.parametrize("write", [True, False])
def test_own_names(scope: Scope, db: str, name: str, physical: str, *, write: bool) -> None:
    target = names.resolve(name, scope, where("find", db=db), write=write)
    assert (target.physical, target.slug, target.db) == (physical, scope.slug, db)
    home = scope.home[0] if db in scope.home else db
    assert names.unphysical(physical, scope) == (home, name)


@pytest.mark.parametrize("name", ["eu_tasks", "eu_x", "eu_eu_x"])
def test_a_name_that_a_longer_slug_owns(name: str) -> None:
    for write in (True, False):
        with pytest.raises(InvalidNamespaceError):
            names.resolve(name, SHOP, where("find"), write=write)
    assert names.unphysical(f"shop_{name}", SHOP) is None


@pytest.mark.parametrize(
    ("scope", "name", "slug"),
    [
        (CRM, "shop_tasks", "shop"),
        (CRM, "shop_fs.files", "shop"),
        (BOTH, "shop_eu_tasks", "shop_eu"),
        (BOTH, "shop_tasks", "shop"),
        (ODD, "3rd_things", "3rd"),
    ],
)
@pytest.mark.parametrize("db", ["crm", "home", "elsewhere"])
def test_names_of_granted_scopes(scope: Scope, name: str, slug: str, db: str) -> None:
    target = names.resolve(name, scope, where("find", db=db), write=False)
    assert (target.physical, target.logical, target.db, target.slug) == (name, name, db, slug)
    assert names.unphysical(name, scope) == (scope.home[0], name)
    with pytest.raises(UnauthorizedError) as caught:
        names.resolve(name, scope, where("insert", command="insert", db=db), write=True)
    assert caught.value.reason == f"not authorized on {db} to execute command {{ insert: {name} }}"


@pytest.mark.parametrize(
    "physical",
    [
        "shop_eu_tasks",
        "crm_@",
        "shop_@other.tasks",
        "other_tasks",
        "_mdb_engine_slugs",
        "apps_config",
        "crm_@crm.tasks",
        "crm_@crm2.tasks",
        "crm_@admin.tasks",
        "crm_@.tasks",
        "crm_@a b.tasks",
        "crm_@a%20b.tasks",
        "crm_@x",
        "crm_@x.",
        "crm_@x.9",
        "crm_@@out.0123",
        "crm_9",
        "crm_system.x",
        "crm_@\udcff.x",
        "crm",
    ],
)
def test_physical_names_that_the_app_cannot_spell(physical: str) -> None:
    assert names.unphysical(physical, CRM) is None


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (UUID_OF_A_COLLECTION, "binData"),
        (Raw(7, bytes(12)), "objectId"),
        (1, "int"),
        (Int64(1), "long"),
        (1.0, "double"),
        (True, "bool"),
        (None, "null"),
        (lazy({}), "object"),
        (lazy([]), "array"),
    ],
)
def test_a_name_is_a_string(value: Any, kind: str) -> None:
    """A UUID would read any collection of the database (6.0.5)."""
    with pytest.raises(QueryValidationError) as caught:
        names.resolve(value, SHOP, where("find"), write=False)
    assert caught.value.reason == f"collection name has invalid type {kind}"


def test_the_type_of_a_string() -> None:
    assert names.type_name("x") == "string"


@pytest.mark.parametrize(("db", "longest"), [("app", 242), ("other", 235)])
def test_a_full_name_has_255_bytes_at_most(db: str, longest: int) -> None:
    target = names.resolve("x" * longest, SHOP, where("find", db=db), write=True)
    assert len(f"appdata.{target.physical}") == names.MAX_NAMESPACE_BYTES
    with pytest.raises(RefusedError):
        names.resolve("x" * (longest + 1), SHOP, where("find", db=db), write=False)


@pytest.mark.parametrize(
    ("slug", "readable", "longer"),
    [
        ("shop", (), ("shop_eu", "shop_eu_x")),
        ("shop_eu", (), ("shop_eu_x",)),
        ("crm", ("shop",), ("shop_eu", "shop_eu_x")),
        ("crm", ("shop", "shop_eu"), ("shop_eu_x",)),
        ("crm", (), ()),
    ],
)
def test_slugs_that_take_names_away(
    slug: str, readable: tuple[str, ...], longer: tuple[str, ...]
) -> None:
    ledger = ["crm", "shop", "shop-eu", "shop_eu", "shop_eu_x", "shops"]
    assert names.longer_slugs(slug, readable, ledger) == longer
