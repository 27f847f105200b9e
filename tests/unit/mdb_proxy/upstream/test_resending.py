import bson
import pytest
from bson import ObjectId

from mdb_engine.exceptions import UpstreamError
from mdb_proxy.decisions import Answer, Exchange
from mdb_proxy.upstream.resending import Nature, Setback, Version, nature, setback, state_change

TXN = {"txnNumber": 1, "autocommit": False}
LOST = Setback(UpstreamError("broke"))
UNSENT = Setback(UpstreamError("no member"), sent=False)
REFUSED = Setback(Answer(b"", "a:1"), undone=True)
INTERRUPTED = Setback(Answer(b"", "a:1"))


@pytest.mark.parametrize(
    ("command", "bound", "repeatable"),
    [
        ({"find": "t"}, False, True),
        ({"aggregate": "t", "pipeline": [{"$match": {}}]}, False, True),
        ({"aggregate": 1, "pipeline": []}, False, True),
        ({"aggregate": "t", "pipeline": [{"$out": "u"}]}, False, False),
        ({"aggregate": "t", "pipeline": [{}, {"$merge": {"into": "u"}}]}, False, False),
        ({"insert": "t"}, False, False),
        ({"insert": "t", "txnNumber": 1}, False, True),
        ({"insert": "t", **TXN}, True, True),
        ({"find": "t", **TXN}, True, True),
        ({"commitTransaction": 1, **TXN}, True, True),
        ({"getMore": 1}, True, False),
        ({"killCursors": "t"}, True, False),
        ({"createIndexes": "t"}, False, False),
        ({}, False, False),
    ],
)
def test_what_a_command_is(command, bound, repeatable):
    assert nature(bson.encode(command)) == Nature(bound, repeatable)


@pytest.mark.parametrize(
    ("kind", "pinned", "may"),
    [
        (Nature(bound=False, repeatable=True), False, (True, True, True, True)),
        (Nature(bound=False, repeatable=False), False, (False, True, True, False)),
        (Nature(bound=False, repeatable=False), True, (False, True, True, False)),
        # the first statement of a transaction may wait for a member; no statement is sent twice
        (Nature(bound=True, repeatable=True), False, (False, True, False, False)),
        (Nature(bound=True, repeatable=True), True, (False, False, False, False)),
    ],
)
def test_what_may_be_sent_again(kind, pinned, may):
    setbacks = (LOST, UNSENT, REFUSED, INTERRUPTED)
    assert tuple(kind.may_follow(each, pinned) for each in setbacks) == may


def test_what_a_setback_leaves_open():
    setbacks = (LOST, UNSENT, REFUSED, INTERRUPTED)
    assert [each.harmful for each in setbacks] == [True, False, False, True]
    assert [each.lost for each in setbacks] == [True, False, False, False]


def statement(code):
    return {"index": 0, "code": code, "errmsg": "Not primary while writing to t.a"}


ONE = (("updates", (bson.encode({"q": {}, "u": {}}), bson.encode({"q": {}, "multi": False}))),)
MANY = (("updates", (bson.encode({"q": {}, "u": {}}), bson.encode({"q": {}, "multi": True}))),)
DELETE_ONE = (("deletes", (bson.encode({"q": {}, "limit": 1}),)),)
DELETE_MANY = (("deletes", (bson.encode({"q": {}, "limit": 0}),)),)
INSERT = (("documents", (bson.encode({"multi": True}),)),)


@pytest.mark.parametrize(
    ("reply", "sections", "undone"),
    [
        ({"ok": 1.0, "n": 1}, (), None),
        ({"ok": 0.0, "code": 11000}, (), None),
        ({"ok": 0.0, "code": 6}, (), None),
        ({"ok": 0.0}, (), None),
        ({"ok": 0.0, "code": 10107}, (), True),
        ({"ok": 0.0, "code": 13435}, (), True),
        ({"ok": 0.0, "code": 13436}, (), True),
        ({"ok": 0.0, "code": 91}, (), False),
        ({"ok": 0.0, "code": 189}, (), False),
        ({"ok": 0.0, "code": 11600}, (), False),
        ({"ok": 0.0, "code": 11602}, (), False),
        ({"ok": 1.0, "n": 0, "writeErrors": [statement(189)]}, INSERT, True),
        ({"ok": 1.0, "n": 0, "writeErrors": [statement(189)]}, ONE, True),
        ({"ok": 1.0, "n": 0, "writeErrors": [statement(189)]}, MANY, False),
        ({"ok": 1.0, "n": 0, "writeErrors": [statement(10107)]}, DELETE_ONE, True),
        ({"ok": 1.0, "n": 0, "writeErrors": [statement(10107)]}, DELETE_MANY, False),
        ({"ok": 1.0, "n": 3, "writeErrors": [statement(189)]}, INSERT, False),
        ({"ok": 1.0, "n": 0, "writeErrors": [statement(11000), statement(189)]}, INSERT, False),
        ({"ok": 1.0, "n": 0, "writeErrors": [statement(11000)]}, INSERT, None),
        ({"ok": 1.0, "n": 1, "writeConcernError": {"code": 11602}}, INSERT, False),
        ({"ok": 1.0, "n": 1, "writeConcernError": {"code": 64}}, INSERT, None),
        (
            {"ok": 1.0, "writeErrors": [statement(189)], "writeConcernError": {"code": 189}},
            INSERT,
            True,
        ),
    ],
)
def test_what_a_reply_with_an_error_says(reply, sections, undone):
    answer = Answer(bson.encode(reply), "a:1")
    found = setback(answer, Exchange(b"", sections))
    assert found == (None if undone is None else Setback(answer, undone=undone))


PROCESS = ObjectId()


@pytest.mark.parametrize(
    ("told", "version"),
    [
        ({"processId": PROCESS, "counter": bson.Int64(7)}, Version(PROCESS.binary, 7)),
        ({"processId": PROCESS, "counter": "7"}, None),
        ({"processId": 1, "counter": 7}, None),
        (7, None),
    ],
)
def test_how_new_the_state_is_that_a_member_tells(told, version):
    assert state_change(bson.encode({"ok": 0.0, "topologyVersion": told})) == version
    assert state_change(bson.encode({"ok": 0.0})) is None
