from collections import OrderedDict
from typing import Any

import pytest
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from bson.regex import Regex
from pymongo.collation import Collation

from mdb_engine.database import forms
from mdb_engine.exceptions import InvalidBSONError, QueryValidationError
from mdb_engine.rawbson import Array, Document, Raw, encode

CODEC: forms.Codec = CodecOptions()


def test_what_python_calls_it_does_not_matter() -> None:
    values = [({"$gt": 1},), RawBSONDocument(encode({"0": 1})), OrderedDict(a=1)]
    found = forms.logical({"find": "x", "filter": {"a": values}, "sort": None}, CODEC)
    assert list(found) == ["find", "filter"]
    assert isinstance(found["filter"]["a"], Array)
    assert found["filter"]["a"][0][0] == {"$gt": 1}


def test_broken_bytes_are_met_before_anything_is_sent() -> None:
    broken = RawBSONDocument(b"\x0d\0\0\0\x03a\0\x09\0\0\0\0\0"[:13])
    with pytest.raises(InvalidBSONError):
        forms.logical({"find": "x", "filter": broken}, CODEC)
    with pytest.raises(InvalidBSONError):
        forms.document(broken, CODEC)
    with pytest.raises(TypeError):
        forms.document([], CODEC)


def test_documents_stay_the_very_bytes() -> None:
    inner = Document(encode({"a": 1}))
    handed = forms.handed({"x": inner, "r": Raw(0x0B, b"a\0\0")})
    assert isinstance(handed, RawBSONDocument)
    assert handed.raw == encode({"x": inner, "r": Raw(0x0B, b"a\0\0")})
    assert forms.handed([inner, 1])[0].raw == inner.data
    assert forms.handed(Raw(0x0B, b"a\0i\0")) == Regex("a", 2)


def test_options_keep_their_order() -> None:
    order = Document(encode({"b": 1, "a": {"$meta": "textScore"}}))
    assert forms.pairs(order) == [("b", 1), ("a", {"$meta": "textScore"})]
    assert forms.pairs(None) is None
    assert forms.hint("name") == "name"
    assert forms.hint(Document(encode({"b": 1}))) == [("b", 1)]
    assert forms.ordered(5) == 5


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        ("a", {"a": 1}),
        ([("a", -1), "b"], {"a": -1, "b": 1}),
        ({"a": 1}, {"a": 1}),
        (None, None),
    ],
)
def test_keys(given: Any, keys: Any) -> None:
    assert forms.keys(given) == keys
    assert forms.order(given) == keys


def test_keys_that_are_none() -> None:
    with pytest.raises(TypeError):
        forms.keys(5)
    assert forms.order("a", -1) == {"a": -1}
    assert forms.hinted("a_1") == "a_1"
    assert forms.hinted([("a", 1)]) == {"a": 1}


def test_projections() -> None:
    assert forms.projected(["a", "b"]) == {"a": 1, "b": 1}
    assert forms.projected([]) == {"_id": 1}
    assert forms.projected({"a": 0}) == {"a": 0}
    assert forms.projected(None) is None
    with pytest.raises(TypeError):
        forms.projected("a")


def test_collations_and_pipelines() -> None:
    assert forms.collated(Collation("en"))["locale"] == "en"
    assert forms.collated({"locale": "en"}) == {"locale": "en"}
    assert forms.stages(({"$match": {}},)) == [{"$match": {}}]
    for wrong in ({"$match": {}}, "x", 5):
        with pytest.raises(TypeError):
            forms.stages(wrong)


def test_updates_and_replacements() -> None:
    forms.check_operators({"$set": {"a": 1}}, CODEC, wanted=True)
    forms.check_operators([{"$set": {"a": 1}}], CODEC, wanted=True)
    forms.check_operators({"a": 1}, CODEC, wanted=False)
    forms.check_operators({}, CODEC, wanted=False)
    for wrong, wanted in (({"a": 1}, True), ({}, True), ({"$set": {}}, False), ([], False)):
        with pytest.raises(QueryValidationError):
            forms.check_operators(wrong, CODEC, wanted=wanted)
    with pytest.raises(TypeError):
        forms.check_operators(None, CODEC, wanted=True)
