"""Clients that write and read without a pause, and remember what they were told."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pymongo import MongoClient
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError, WriteError

from tests.support.replicas import until

Client = MongoClient[dict[str, Any]]
BATCH = 3


@dataclass(slots=True)
class Worker:
    """One client and its own collection's documents.

    Attributes:
        acknowledged: `_id` of documents that were said to be stored.
        steps: increments that were said to be done. tried: increments that were asked for.
        rounds: of an insert, a batch, an increment and a read.
        errors: what it was told instead. slowest: seconds that the longest command took.
    """

    name: str
    client: Client = field(repr=False)
    acknowledged: list[str] = field(default_factory=list, repr=False)
    steps: int = 0
    tried: int = 0
    rounds: int = 0
    errors: list[PyMongoError] = field(default_factory=list)
    slowest: float = 0.0

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop."""
        things = self.client.get_default_database("shop")["load"]
        counts = self.client.get_default_database("shop")["counts"]
        change = {"$inc": {"n": 1}}
        while not stop.is_set():
            one, *more = [f"{self.name}-{self.rounds}-{n}" for n in range(BATCH + 1)]
            self._ask(lambda one=one: things.insert_one({"_id": one}), [one])
            self._ask(lambda more=more: things.insert_many([{"_id": n} for n in more]), more)
            self.tried += 1
            if self._ask(lambda: counts.update_one({"_id": self.name}, change, upsert=True), []):
                self.steps += 1
            self._ask(lambda one=one: things.find_one({"_id": one}), [])
            self.rounds += 1

    def _ask(self, work: Callable[[], object], ids: Sequence[str]) -> bool:
        began = time.monotonic()
        try:
            work()
        except PyMongoError as error:
            self.errors.append(error)
            return False
        finally:
            self.slowest = max(self.slowest, time.monotonic() - began)
        self.acknowledged += ids
        return True


def codes(errors: Sequence[PyMongoError]) -> Counter[tuple[str, int]]:
    """Count errors by the place of their code: "reply", "statement", "concern", "network"."""
    return Counter(found for error in errors for found in _places(error))


def _places(error: PyMongoError) -> list[tuple[str, int]]:
    if isinstance(error, BulkWriteError):
        details = error.details
        return [
            *[("statement", each["code"]) for each in details["writeErrors"]],
            *[("concern", each["code"]) for each in details["writeConcernErrors"]],
        ]
    if isinstance(error, WriteError):
        return [("statement", error.code or 0)]
    if isinstance(error, OperationFailure):
        concern = "concern" if type(error).__name__ == "WriteConcernError" else "reply"
        return [(concern, error.code or 0)]
    # the driver turns the codes of elections into errors of the connection
    details = getattr(error, "details", None)
    return [("reply", details["code"]) if isinstance(details, dict) else ("network", 0)]


@contextmanager
def load(workers: Sequence[Worker]) -> Iterator[Callable[[int], None]]:
    """Let them work; gives a function that waits until each has done so many rounds more."""
    stop = threading.Event()
    threads = [threading.Thread(target=worker.run, args=(stop,)) for worker in workers]

    def more(rounds: int) -> None:
        goals = {worker.name: worker.rounds + rounds for worker in workers}
        until(lambda: all(w.rounds >= goals[w.name] for w in workers), "the load to go on")

    for thread in threads:
        thread.start()
    try:
        yield more
    finally:
        stop.set()
        for thread in threads:
            thread.join()
