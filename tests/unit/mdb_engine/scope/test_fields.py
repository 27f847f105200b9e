from typing import Any

import pytest

from mdb_engine.exceptions import RefusedError, TypeMismatchError, UnknownFieldError
from mdb_engine.scope import fields
from mdb_engine.scope.fields import DROP, GENERIC, may_write, subfields, wrong_type
from mdb_engine.scope.model import Limits, Role, Rule, Scope
from tests.support.kernel import SHOP, lazy, shown, where

GRANTED = Scope("shop", "appdata", ("app",), limits=Limits(disk_use=True))
SHOWN = Scope("shop", "appdata", ("app",), expose_app_id=True)


def decoded(rule: Rule, value: Any, name: str = "field", scope: Scope = SHOP, **owner: Any) -> Any:
    """What a rule makes of a field; `owner` says whether the client sent it."""
    result = rule.decoded(lazy(value), scope, where(name, **owner))
    return result if result is DROP else shown(result)


@pytest.mark.parametrize("name", ["$clusterTime", "$readPreference", "recoveryToken"])
def test_what_is_not_the_clusters_is_dropped(name: str) -> None:
    assert decoded(GENERIC[name], {"x": 1}) is DROP


@pytest.mark.parametrize("name", ["$db", "apiVersion", "autocommit", "comment", "txnNumber"])
def test_what_is_the_clients_passes(name: str) -> None:
    assert decoded(GENERIC[name], {"$where": 1}) == {"$where": 1}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"w": 0}, {"w": 1}),
        ({"w": -0.5}, {"w": 1}),
        ({"w": float("nan")}, {"w": 1}),
        ({"w": 1}, {"w": 1}),
        ({"w": -1}, {"w": -1}),
        ({"w": "majority"}, {"w": "majority"}),
        ({"w": "0"}, {"w": "0"}),
        ({"w": True}, {"w": True}),
        ({"wtimeout": 300_000}, {"wtimeout": 300_000}),
        ({"wtimeout": 300_001}, {"wtimeout": 300_000}),
        ({"wtimeout": float("inf")}, {"wtimeout": 300_000}),
        ({"wtimeout": "x"}, {"wtimeout": "x"}),
        ({"provenance": "x", "j": True, "fsync": False}, {"j": True, "fsync": False}),
        ({}, {}),
    ],
)
def test_a_write_is_always_acknowledged(given: Any, expected: Any) -> None:
    place = where("writeConcern", command="insert")
    assert shown(GENERIC["writeConcern"].decoded(lazy(given), SHOP, place)) == expected


def test_a_session_has_an_id_and_no_more() -> None:
    assert decoded(GENERIC["lsid"], {"id": 1}) == {"id": 1}
    assert decoded(GENERIC["lsid"], "x") == "x"
    with pytest.raises(RefusedError, match="only the id of a session"):
        decoded(GENERIC["lsid"], {"id": 1, "uid": 2})


@pytest.mark.parametrize(
    ("value", "scope", "owner", "expected"),
    [
        (None, SHOP, {}, False),
        (None, GRANTED, {}, False),
        (False, SHOP, {"allowDiskUse": False}, False),
        (True, GRANTED, {"allowDiskUse": True}, True),
    ],
)
def test_disk_use_is_said_aloud(value: Any, scope: Scope, owner: Any, expected: bool) -> None:
    assert decoded(fields.DISK_USE, value, "allowDiskUse", scope, **owner) is expected


@pytest.mark.parametrize("value", [None, 0, 1, "true", {}])
def test_disk_use_is_a_bool(value: Any) -> None:
    with pytest.raises(TypeMismatchError):
        decoded(fields.DISK_USE, value, "allowDiskUse", GRANTED, allowDiskUse=value)


@pytest.mark.parametrize(
    ("rule", "scope", "expected"),
    [
        (fields.BATCH, SHOP, DROP),
        (fields.CURSOR, SHOP, DROP),
        (fields.LIMIT, SHOP, 10_000),
        (fields.MORE, SHOP, 1_000),
        (fields.PROJECTION, SHOP, {"app_id": 0}),
        (fields.PROJECTION, SHOWN, DROP),
        (fields.READ_QUERY, SHOP, {"app_id": "shop"}),
        (fields.READ_FILTER, SHOP, {"app_id": "shop"}),
        (fields.WRITE_QUERY, SHOP, {"app_id": "shop"}),
        (fields.SHOWN_FILTER, SHOP, None),
    ],
)
def test_what_is_not_sent_has_a_value_all_the_same(rule: Rule, scope: Scope, expected: Any) -> None:
    assert decoded(rule, None, scope=scope) == expected


@pytest.mark.parametrize("rule", [fields.READ_FILTER, fields.WRITE_FILTER, fields.FLAG])
def test_null_is_a_value(rule: Rule) -> None:
    with pytest.raises(TypeMismatchError):
        decoded(rule, None, "field", field=None)


@pytest.mark.parametrize(
    ("rule", "value"), [(fields.UNSUPPORTED, 1), (fields.SOURCE, 2), (fields.TARGET, 1)]
)
def test_a_refusal_says_where(rule: Rule, value: Any) -> None:
    with pytest.raises(RefusedError) as refused:
        decoded(rule, value, "there")
    assert refused.value.at == "there"


def test_a_wrong_type_is_told_in_the_servers_words() -> None:
    error = wrong_type(5, where("x"), "object")
    text = "BSON field 'FindCommandRequest.x' is the wrong type 'int', expected type 'object'"
    assert (error.reason, error.at) == (text, "x")
    error = wrong_type(5, where("filter"), "object")
    assert (error.reason, error.at) == ("Expected field filterto be of type object", "filter")


@pytest.mark.parametrize(
    ("command", "path", "text"),
    [
        ("aggregate", "explain", "explain must be a boolean"),
        ("aggregate", "x", "Field 'x' should be a boolean value, but found: int"),
        ("find", "tailable", "Field 'tailable' should be a boolean value, but found: int"),
        ("create", "x", "BSON field 'create.x' is the wrong type 'int', expected type 'bool'"),
    ],
)
def test_what_is_no_flag(command: str, path: str, text: str) -> None:
    with pytest.raises(TypeMismatchError) as refused:
        fields.FLAG.decoded(5, SHOP, where(path, command=command))
    assert (refused.value.reason, refused.value.at) == (text, path)


def test_a_null_projection_is_none_for_find_alone() -> None:
    with pytest.raises(TypeMismatchError, match="Expected field projectionto be"):
        decoded(fields.PROJECTION, None, "projection", projection=None)
    with pytest.raises(TypeMismatchError, match=r"'findAndModify\.fields' is the wrong"):
        fields.PROJECTION.decoded(5, SHOP, where("fields", command="findAndModify"))


def test_a_list_has_no_write_concern() -> None:
    with pytest.raises(RefusedError, match="does not support writeConcern") as refused:
        fields.GENERIC["writeConcern"].decoded(
            lazy({}), SHOP, where("writeConcern", command="listCollections")
        )
    assert refused.value.code == 72


def test_a_flag_may_be_null_for_a_list() -> None:
    assert decoded(fields.FLAG_OR_NULL, None) is DROP
    assert decoded(fields.FLAG_OR_NULL, True) is True


def test_what_is_dropped_must_be_right_all_the_same() -> None:
    assert fields.DROPPED_FLAG.decoded(True, SHOP, where("x")) is fields.DROP
    with pytest.raises(TypeMismatchError):
        fields.DROPPED_FLAG.decoded(1, SHOP, where("x"))


def test_only_known_fields_pass() -> None:
    known = frozenset({"a", "b"})
    assert shown(subfields(lazy({"b": 1}), known, where("x"))) == {"b": 1}
    with pytest.raises(UnknownFieldError, match=r"'FindCommandRequest\.x\.c' is an unknown field"):
        subfields(lazy({"a": 1, "c": 1}), known, where("x"))
    with pytest.raises(TypeMismatchError):
        subfields(lazy([1]), known, where("x"))


def test_a_reader_does_not_write() -> None:
    may_write(SHOP, where(command="insert"), "tasks")
    reader = Scope("shop", "appdata", ("app",), role=Role.READ)
    text = r"not authorized on app to execute command \{ insert: tasks \}"
    with pytest.raises(RefusedError, match=text):
        may_write(reader, where(command="insert"), "tasks")
