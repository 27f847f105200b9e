"""Reads go to the members that the client names, and a cursor is continued where it was opened."""

from collections import Counter
from typing import Any

import pytest
from pymongo.errors import OperationFailure
from pymongo.read_preferences import (
    Nearest,
    Primary,
    PrimaryPreferred,
    Secondary,
    SecondaryPreferred,
)
from pymongo.write_concern import WriteConcern

from tests.e2e.conftest import Front
from tests.support.replicas import Member

TIMES = 40
TOLERATED = 20
"""What proxy and members ask besides, of the primary, while a test counts."""


def counted(member: Member, kind: str) -> int:
    with member.client() as client:
        return int(client.admin.command("serverStatus")["opcounters"][kind])


class Counting:
    """What each member was asked during a block."""

    def __init__(self, front: Front, kind: str = "query") -> None:
        self.members, self.kind = front.replicas.members, kind

    def __enter__(self) -> "Counting":
        self.before = {m.address: counted(m, self.kind) for m in self.members}
        return self

    def __exit__(self, *error: object) -> None:
        self.seen = Counter(
            {m.address: counted(m, self.kind) - self.before[m.address] for m in self.members}
        )


@pytest.fixture
def things(front: Front, name: str) -> Any:
    """Give a collection of a hundred documents that every member has."""
    front.replicas.settle()
    with front.proxy.client("shop") as client:
        found = client.shop.get_collection(name, write_concern=WriteConcern(w=3))
        found.insert_many([{"_id": number} for number in range(100)])
        yield found


def secondaries(front: Front) -> list[Member]:
    primary = front.replicas.primary
    return [member for member in front.replicas.members if member is not primary]


@pytest.mark.parametrize("mode", [Secondary(), SecondaryPreferred()])
def test_secondaries_share_the_reads(front: Front, things: Any, mode: Any) -> None:
    with Counting(front) as asked:
        for _ in range(TIMES):
            things.with_options(read_preference=mode).find_one({"_id": 1})
    first, second = (asked.seen[member.address] for member in secondaries(front))
    assert first + second >= TIMES
    assert min(first, second) >= TIMES // 4
    assert asked.seen[front.replicas.primary.address] < TOLERATED


@pytest.mark.parametrize("mode", [Primary(), PrimaryPreferred()])
def test_the_primary_serves_its_own(front: Front, things: Any, mode: Any) -> None:
    with Counting(front) as asked:
        for _ in range(TIMES):
            things.with_options(read_preference=mode).find_one({"_id": 1})
    assert asked.seen[front.replicas.primary.address] >= TIMES


@pytest.mark.parametrize("mode", [Secondary, SecondaryPreferred, Nearest])
def test_tags_name_a_member_and_its_cursor_stays_there(
    front: Front, things: Any, mode: Any
) -> None:
    chosen = secondaries(front)[0]
    number = str(front.replicas.members.index(chosen))
    tagged = things.with_options(
        read_preference=mode(tag_sets=[{"number": "none"}, {"number": number}])
    )
    with Counting(front, "getmore") as asked:
        assert len(list(tagged.find(batch_size=10))) == 100
    # the secondaries' own reading of the oplog counts as well, at the members that they read from
    assert asked.seen[chosen.address] >= 9
    with Counting(front) as asked:
        for _ in range(TIMES):
            tagged.find_one({"_id": 1})
    assert asked.seen[chosen.address] >= TIMES


def test_nobody_has_these_tags(front: Front, things: Any) -> None:
    nowhere = things.with_options(read_preference=Secondary(tag_sets=[{"number": "none"}]))
    with pytest.raises(OperationFailure, match="no suitable member") as caught:
        nowhere.find_one({}, max_time_ms=300)
    assert caught.value.code == 6


def test_staleness_has_a_least_value(front: Front, things: Any) -> None:
    good = things.with_options(read_preference=Secondary(max_staleness=120))
    assert good.find_one({"_id": 1}) == {"_id": 1}
    bad = things.with_options(read_preference=Secondary(max_staleness=1))
    with pytest.raises(OperationFailure, match="read preference is not valid") as caught:
        bad.find_one()
    assert caught.value.code == 2


def test_a_transaction_stays_at_the_primary(front: Front, things: Any) -> None:
    with front.proxy.client("shop") as client, client.start_session() as session:
        found = client.shop[things.name]
        with Counting(front) as asked, session.start_transaction():
            found.insert_one({"_id": "new"}, session=session)
            for _ in range(TIMES):
                assert found.find_one({"_id": "new"}, session=session)
        assert asked.seen[front.replicas.primary.address] >= TIMES
