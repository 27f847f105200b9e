import bson
import pytest
from bson.timestamp import Timestamp

from mdb_engine.exceptions import InvalidBSONError
from mdb_proxy.upstream.clock import ClusterClock


def reply(seconds, counter, extra=0):
    time = {"clusterTime": Timestamp(seconds, counter), "signature": {"keyId": extra}}
    return bson.encode({"cursor": {"$clusterTime": 1}, "ok": 1.0, "$clusterTime": time})


def element(document):
    return bson.encode({"$clusterTime": bson.decode(document)["$clusterTime"]})[4:-1]


@pytest.mark.parametrize(
    ("replies", "newest"),
    [
        ([reply(5, 1)], reply(5, 1)),
        ([reply(5, 1), reply(5, 2)], reply(5, 2)),
        ([reply(5, 9), reply(6, 1)], reply(6, 1)),
        ([reply(6, 1), reply(5, 9)], reply(6, 1)),
        ([reply(2**31 + 1, 1), reply(5, 9)], reply(2**31 + 1, 1)),
        ([reply(5, 1, extra=1), reply(5, 1, extra=2)], reply(5, 1, extra=1)),
        ([reply(5, 1), reply(5, 1), bson.encode({"ok": 1.0})], reply(5, 1)),
    ],
)
def test_the_newest_is_kept_as_it_came(replies, newest):
    clock = ClusterClock()
    for each in replies:
        clock.note(each)
    assert clock.element == element(newest)


@pytest.mark.parametrize(
    "document",
    [
        {"ok": 1.0},
        {"$clusterTime": {}},
        {"$clusterTime": {"clusterTime": 5}},
        {"$clusterTime": {"clusterTime": b"12345678"}},
    ],
)
def test_what_is_no_time_is_left_alone(document):
    clock = ClusterClock()
    clock.note(bson.encode(document))
    assert clock.element == b""


def test_what_is_no_document_is_refused():
    with pytest.raises(InvalidBSONError):
        ClusterClock().note(b"\5\0\0\0")
