"""What the other apps do meanwhile: everything at once, and more than they may."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from pymongo.errors import PyMongoError

from tests.support.laboratory import COLLECTIONS, OTHERS
from tests.support.proxies import Client, Proxy
from tests.support.workloads.dice import Dice
from tests.support.workloads.values import document

LIMITS: Final = {"max_cursors": 20, "max_transactions": 2, "max_collections": 12}
"""Of the others; they run into them."""

FORBIDDEN: Final[tuple[dict[str, Any], ...]] = (
    {"find": "t", "filter": {"$where": "1"}},
    {"aggregate": "t", "pipeline": [{"$currentOp": {}}], "cursor": {}},
    {"killAllSessions": []},
    {"dropDatabase": "lab"},
    {"drop": "lab_t"},
    {"find": "lab_t"},
    {"nope": 1},
)


class Neighbour(threading.Thread):
    """One other app that is busy until it is told to stop."""

    def __init__(self, client: Client, slug: str, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._client, self._db, self._stop_asked = client, client[slug], stop
        self._dice = Dice(random.Random(slug))  # noqa: S311 - no secret
        self.done = self.refused = 0

    def run(self) -> None:
        """Do one thing after the other; errors are part of it."""
        deeds = (self._write, self._define, self._leave_open, self._transact, self._attack)
        while not self._stop_asked.is_set():
            try:
                self._dice.pick(deeds)()
            except PyMongoError:
                self.refused += 1
            self.done += 1

    def _write(self) -> None:
        found = self._db[self._dice.pick(COLLECTIONS)]
        found.insert_many(self._dice.many(document, 20, 1), ordered=False)
        found.update_many({}, {"$inc": {"n": 1}})
        found.delete_many({"n": {"$gt": 30}})

    def _define(self) -> None:
        name = self._dice.pick((*COLLECTIONS, "o1", "o2", "cap", "ts"))
        self._db.drop_collection(name)
        self._db[name].create_index("s")

    def _leave_open(self) -> None:
        next(self._db.t.find(batch_size=2), None)

    def _transact(self) -> None:
        with self._client.start_session() as session, session.start_transaction():
            self._db.t.insert_one({"s": "tea"}, session=session)
            self._db.t.update_many({}, {"$set": {"g": 1}}, session=session)
            if self._dice.chance(0.5):
                session.abort_transaction()

    def _attack(self) -> None:
        self._db.command(self._dice.pick(FORBIDDEN))


@contextmanager
def bustle(proxy: Proxy) -> Iterator[list[Neighbour]]:
    """Let all others be busy."""
    stop = threading.Event()
    clients = [proxy.client(slug) for slug in OTHERS]
    found = [Neighbour(c, slug, stop) for c, slug in zip(clients, OTHERS, strict=True)]
    for each in found:
        each.start()
    try:
        yield found
    finally:
        stop.set()
        for each in found:
            each.join(60)
        for client in clients:
            client.close()
