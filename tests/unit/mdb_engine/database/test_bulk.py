import pytest
from bson.codec_options import CodecOptions
from pymongo import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError, InvalidOperation

from mdb_engine.database.bulk import bulk_requests, in_place
from mdb_engine.database.forms import Codec
from mdb_engine.exceptions import QueryValidationError

CODEC: Codec = CodecOptions()


def test_requests_become_statements() -> None:
    document = {"a": 1}
    found = bulk_requests(
        [
            InsertOne(document),
            InsertOne({"_id": 2}),
            UpdateOne({"a": 1}, {"$set": {"b": 1}}, upsert=True, hint="a_1", sort={"a": 1}),
            UpdateMany({}, [{"$set": {"b": 1}}], collation={"locale": "en"}),
            ReplaceOne({"a": 1}, {"c": 1}, hint=[("a", 1)]),
            DeleteOne({"a": 1}, collation={"locale": "en"}, hint=[("a", 1)]),
            DeleteMany({}),
        ],
        CODEC,
    )
    assert "_id" in document
    assert [group.kind for group in found.groups] == ["insert", "update", "delete"]
    assert [len(group.statements) for group in found.groups] == [2, 3, 2]
    assert len(found.originals) == 7
    updates = found.groups[1].fields["updates"]
    assert updates[0] == {
        "q": {"a": 1}, "u": {"$set": {"b": 1}}, "multi": False, "upsert": True,
        "hint": "a_1", "sort": {"a": 1},
    }  # fmt: skip
    assert updates[1]["multi"] is True
    assert updates[2] == {"q": {"a": 1}, "u": {"c": 1}, "hint": {"a": 1}}
    assert [each["limit"] for each in found.groups[2].statements] == [1, 0]
    assert found.groups[0].fields == {}
    assert found.groups[1].batch == {}
    assert (found.groups[0].let({"x": 1}), found.groups[1].let({"x": 1})) == (None, {"x": 1})


def test_what_is_no_request() -> None:
    for wrong in ([{"a": 1}], {"a": 1}, "x", 5):
        with pytest.raises(TypeError):
            bulk_requests(wrong, CODEC)  # type: ignore[arg-type]
    with pytest.raises(InvalidOperation):
        bulk_requests([], CODEC)
    with pytest.raises(QueryValidationError):
        bulk_requests([_Forged()], CODEC)


class _Forged:
    """A request that was not checked when it was made."""

    def _add_to_bulk(self, recorder: object) -> None:
        recorder.add_update({}, {"a": 1}, False)  # type: ignore[attr-defined]


def test_errors_show_the_callers_statements() -> None:
    items = [{"index": 1, "op": "other"}, {"index": 7, "op": "kept"}]
    with pytest.raises(BulkWriteError) as raised, in_place(["a", "b"]):
        raise BulkWriteError({"writeErrors": items})
    assert [each["op"] for each in raised.value.details["writeErrors"]] == ["b", "kept"]
