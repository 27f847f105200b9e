import pytest
from bson import ObjectId
from pymongo.hello import Hello
from pymongo.server_description import ServerDescription

from mdb_proxy.upstream.doubts import Doubt, Doubts
from mdb_proxy.upstream.resending import Version

ONE, TWO = ObjectId(), ObjectId()


def described(counter=None, process=ONE, port=1):
    version = {"topologyVersion": {"processId": process, "counter": counter}} if counter else {}
    return ServerDescription(("a", port), Hello({"ok": 1, "isWritablePrimary": True, **version}))


@pytest.mark.parametrize(
    ("told", "later", "believed"),
    [
        (Version(ONE.binary, 7), described(6), False),
        (Version(ONE.binary, 7), described(7), True),
        (Version(ONE.binary, 7), described(8), True),
        # another process: no number to compare, so any other description will do
        (Version(TWO.binary, 7), described(6), True),
        (Version(ONE.binary, 7), described(), True),
        (None, described(6), True),
    ],
)
@pytest.mark.parametrize("firm", [True, False])
def test_a_doubt_ends_with_a_newer_description(told, later, believed, firm):
    doubts, now, other = Doubts(), described(6), described(1, port=2)
    assert not doubts
    doubts.add(("a", 1), Doubt(now, told, firm))
    assert doubts
    assert doubts.without([now, other]) == [other]
    assert doubts.without([later, other]) == ([later, other] if believed else [other])
    assert bool(doubts) is not believed


def test_who_was_not_reached_is_the_last_choice():
    doubts, now = Doubts(), described(6)
    doubts.add(("a", 1), Doubt(now, None, firm=False))
    assert doubts.without([now]) == [now]
    doubts.add(("a", 1), Doubt(now, None, firm=True))
    assert doubts.without([now]) == []


def test_a_description_that_was_new_already_is_believed():
    doubts, now = Doubts(), described(7)
    doubts.add(("a", 1), Doubt(now, Version(ONE.binary, 7), firm=True))
    assert doubts.without([now]) == [now]
