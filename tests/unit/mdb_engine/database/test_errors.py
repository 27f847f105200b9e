import pytest
from pymongo import errors

from mdb_engine.database.errors import TWINS, in_words, translated
from mdb_engine.exceptions import MongoDBEngineError, QueryValidationError
from mdb_engine.scope.texts import Words
from tests.support.kernel import SHOP

WORDS = Words(SHOP, "app", {"shop_tasks": "app.tasks"})


@pytest.mark.parametrize("kind", list(TWINS), ids=lambda kind: kind.__name__)
def test_every_class_of_pymongo_has_a_twin(kind: type[errors.PyMongoError]) -> None:
    twin = TWINS[kind]
    assert issubclass(twin, kind)
    assert issubclass(twin, MongoDBEngineError)
    assert twin.__name__ == kind.__name__


def test_a_failure_in_the_apps_words() -> None:
    text = "E11000 duplicate key error collection: appdata.shop_tasks index: _id_"
    details = {"code": 11000, "errmsg": text, "keyValue": {"_id": "appdata.shop_tasks"}}
    found = translated(errors.DuplicateKeyError(text, 11000, details), WORDS)
    assert isinstance(found, errors.DuplicateKeyError)
    assert isinstance(found, MongoDBEngineError)
    assert found.code == 11000
    assert found.details is not None
    assert "app.tasks" in found.details["errmsg"]
    assert found.details["keyValue"] == {"_id": "appdata.shop_tasks"}
    assert str(found).count("full error") == 1
    assert "appdata.shop_tasks index" not in str(found)


def test_a_bulk_error_keeps_the_statements() -> None:
    item = {"index": 0, "code": 1, "errmsg": "in appdata.shop_tasks", "op": {"a": 1}}
    found = translated(errors.BulkWriteError({"writeErrors": [item], "x": object()}), WORDS)
    assert isinstance(found, errors.BulkWriteError)
    told = {"index": 0, "code": 1, "errmsg": "in app.tasks", "op": {"a": 1}}
    assert found.details["writeErrors"] == [told]


@pytest.mark.parametrize(
    "error",
    [
        errors.AutoReconnect("appdata.shop_tasks", ["x"]),
        errors.NotPrimaryError("appdata.shop_tasks", {"errmsg": "appdata.shop_tasks"}),
        errors.InvalidOperation("appdata.shop_tasks"),
        errors.ServerSelectionTimeoutError("appdata.shop_tasks"),
        errors.WriteConcernError("appdata.shop_tasks", 64, None),
    ],
)
def test_labels_and_kinds_are_kept(error: errors.PyMongoError) -> None:
    error._add_error_label("TransientTransactionError")
    with pytest.raises(type(error)) as raised, in_words(WORDS):
        raise error
    assert raised.value.has_error_label("TransientTransactionError")
    assert "shop_tasks" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_our_own_errors_pass() -> None:
    with pytest.raises(QueryValidationError), in_words(WORDS):
        raise QueryValidationError("no")
