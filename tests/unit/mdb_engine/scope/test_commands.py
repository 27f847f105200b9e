from collections.abc import Mapping
from typing import Any

import pytest

from mdb_engine.exceptions import CommandNotFoundError, RefusedError, UnauthorizedError
from mdb_engine.rawbson import Document, element, encode, splice_end
from mdb_engine.scope.caps import Time
from mdb_engine.scope.commands import (
    ADMIN,
    ALIASES,
    COMMANDS,
    EXPLAINED,
    CommandRow,
    command_name,
    rewrite,
    row_of,
)
from mdb_engine.scope.denied import is_denied
from mdb_engine.scope.fields import GENERIC
from mdb_engine.scope.model import TAG_FIELD
from mdb_engine.scope.names import prefix
from mdb_engine.scope.plans import PLANS
from tests.support.cases import Case, cases
from tests.support.kernel import SHOP, shown

ROWS = pytest.mark.parametrize(("name", "row"), COMMANDS.items(), ids=list(COMMANDS))
REWRITTEN = [case for case in cases() if case.becomes is not None]


def command(**fields: Any) -> Document:
    return Document(encode({**fields, "$db": "app"}))


@ROWS
def test_a_row_fits_its_command(name: str, row: CommandRow) -> None:
    assert name in row.fields
    assert {*row.always, *row.required} <= set(row.fields)
    assert not set(row.always) & set(row.required)
    assert row.plan in ("", *PLANS)
    assert not is_denied(name)


def test_an_aggregation_says_that_it_wants_a_cursor() -> None:
    with pytest.raises(RefusedError, match="The 'cursor' option is required") as refused:
        rewrite(command(aggregate="tasks", pipeline=[]), SHOP)
    assert (refused.value.code, refused.value.at) == (9, "cursor")


@ROWS
def test_a_row_leaves_the_generic_fields_alone(name: str, row: CommandRow) -> None:
    assert not set(row.fields) & {*GENERIC, "maxTimeMS"}


@ROWS
def test_a_row_cannot_be_changed(name: str, row: CommandRow) -> None:
    with pytest.raises(TypeError):
        row.fields["x"] = None  # type: ignore[index]


@ROWS
def test_what_writes_is_not_what_reads(name: str, row: CommandRow) -> None:
    readers = {"aggregate", "count", "distinct", "explain", "find", "getMore", "killCursors"}
    readers |= {"abortTransaction", "commitTransaction", "collStats", "dataSize", "dbStats"}
    assert row.writes is not (name in readers or name.startswith("list"))


def test_the_tables_are_sorted() -> None:
    assert list(COMMANDS) == sorted(COMMANDS)
    assert list(ALIASES) == sorted(ALIASES)


def test_other_names_lead_to_rows() -> None:
    assert set(ALIASES.values()) | EXPLAINED <= set(COMMANDS)
    assert not set(ALIASES) & set(COMMANDS)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"find": "a"}, "find"),
        ({"findandmodify": "a"}, "findAndModify"),
        ({"deleteIndexes": "a"}, "dropIndexes"),
        ({"filter": {}, "find": "a"}, "filter"),
        ({}, ""),
    ],
)
def test_a_command_is_called_by_its_first_field(fields: Mapping[str, Any], name: str) -> None:
    assert command_name(fields) == name


@pytest.mark.parametrize(
    ("name", "db", "value", "error", "text"),
    [
        ("shutdown", "app", 1, UnauthorizedError,
         'not authorized on app to execute command { shutdown: 1, $db: "app" }'),
        ("compact", "app", "tasks", UnauthorizedError,
         'not authorized on app to execute command { compact: tasks, $db: "app" }'),
        ("FIND", "app", "tasks", CommandNotFoundError, "no such command: 'FIND'"),
        ("listDatabases", "app", 1, UnauthorizedError,
         "listDatabases may only be run against the admin database."),
    ],
)  # fmt: skip
def test_the_server_would_say_the_same(
    name: str, db: str, value: Any, error: type[RefusedError], text: str
) -> None:
    with pytest.raises(error) as refused:
        row_of(name, db, value)
    assert refused.value.reason == text


def test_admin_commands_are_run_on_admin() -> None:
    assert row_of("listDatabases", ADMIN).admin


def test_a_command_without_a_database_is_refused() -> None:
    with pytest.raises(RefusedError, match="Invalid database name: ''"):
        rewrite(Document(encode({"find": "tasks"})), SHOP)


def test_an_empty_command_is_none() -> None:
    with pytest.raises(CommandNotFoundError):
        rewrite(Document(encode({})), SHOP)


def test_a_field_that_comes_twice_is_refused() -> None:
    twice = element(b"find", "tasks") + element(b"$db", "app") + element(b"find", "users")
    with pytest.raises(RefusedError, match="duplicate field name 'find'"):
        rewrite(Document(splice_end(encode({}), twice)), SHOP)


def test_a_mapping_is_as_good_as_its_bytes() -> None:
    given = command(find="tasks", filter={"a": 1})
    assert encode(rewrite(dict(given), SHOP).command) == encode(rewrite(given, SHOP).command)


def test_what_no_rule_changes_keeps_its_bytes() -> None:
    given = command(find="tasks", sort={"a": 1}, comment={"x": [1, 2]})
    physical = rewrite(given, SHOP).command
    assert physical["sort"] is given["sort"]
    assert physical["comment"] is given["comment"]


def test_names_are_told_for_the_reply() -> None:
    pipeline = [
        {"$lookup": {"from": "users", "pipeline": [{"$unionWith": "old"}], "as": "u"}},
        {"$merge": {"into": {"db": "other", "coll": "x"}}},
    ]
    physical = rewrite(command(aggregate="tasks", pipeline=pipeline, cursor={}), SHOP)
    assert physical.names == {
        "shop_tasks": "app.tasks",
        "shop_users": "app.users",
        "shop_old": "app.old",
        "shop_@other.x": "other.x",
    }


@pytest.mark.parametrize("case", REWRITTEN, ids=lambda case: case.id)
def test_the_same_command_becomes_the_same(case: Case) -> None:
    """A retried batch must lose the same statements as before."""
    first, second = (rewrite(case.document, case.scope) for _ in range(2))
    assert encode(first.command) == encode(second.command)
    assert (first.refused, first.kept) == (second.refused, second.kept)


@pytest.mark.parametrize("case", REWRITTEN, ids=lambda case: case.id)
def test_every_name_is_an_own_one_or_a_granted_one(case: Case) -> None:
    own = f"{case.scope.slug}_"
    granted = tuple(f"{slug}_" for slug in case.scope.readable)
    for name, logical in rewrite(case.document, case.scope).names.items():
        db, _, collection = logical.partition(".")
        assert name.startswith((own, *granted))
        assert name in (collection, prefix(case.scope, db) + collection)


@pytest.mark.parametrize(
    "case",
    [case for case in REWRITTEN if case.command.get("maxTimeMS") is None],
    ids=lambda case: case.id,
)
def test_nothing_runs_without_a_time(case: Case) -> None:
    """Save what ends by itself."""
    row = COMMANDS[command_name(case.command)]
    physical = rewrite(case.document, case.scope).command
    assert ("maxTimeMS" in physical) is (row.time in (Time.DEFAULT, Time.DEFINITION))


FILTERS = {"count": "query", "distinct": "query", "find": "filter", "findAndModify": "query"}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("given", [{}, {"a": 1}, {"$or": [{TAG_FIELD: "crm"}, {}]}])
def test_a_filter_begins_with_the_condition(name: str, given: Mapping[str, Any]) -> None:
    physical = rewrite(command(**{name: "tasks", "key": "a"} if name == "distinct" else {name: "t"},
                               **{FILTERS[name]: given}), SHOP)  # fmt: skip
    found = shown(physical.command[FILTERS[name]])
    expected = {"$and": [{TAG_FIELD: "shop"}, given]} if given else {TAG_FIELD: "shop"}
    assert found == expected
