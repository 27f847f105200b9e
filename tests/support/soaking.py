"""All kinds of work without an end, by clients that behave badly, too."""

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

import bson
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.support.proxies import Client, Proxy
from tests.support.visitors import Visitor, long

PAUSE = 0.02
KEPT = 500


class Soaker:
    """One app's clients: each deed is done again and again in a thread of its own."""

    def __init__(self, proxy: Proxy, slug: str) -> None:
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._proxy, self.slug, self._stop = proxy, slug, threading.Event()
        self._client = proxy.client(slug, maxPoolSize=8)
        self._things = self._client[slug]["soaked"]
        self._random = random.Random(slug)  # noqa: S311 - no secret

    @property
    def deeds(self) -> tuple[Callable[[], None], ...]:
        return (
            self.write, self.leave_cursors, self.abort, self.watch, self.log_in,
            self.fail_to_log_in, self.leave, self.cut,
        )  # fmt: skip

    def write(self) -> None:
        self._things.insert_many([{"n": n, "text": "x" * 200} for n in range(20)])
        self._things.update_many({"n": 7}, {"$inc": {"m": 1}})
        assert len(list(self._things.find(batch_size=10).limit(40))) <= 40
        old = [each["_id"] for each in self._things.find({}, {"_id": 1}).skip(KEPT)]
        self._things.delete_many({"_id": {"$in": old}})

    def leave_cursors(self) -> None:
        for _ in range(3):
            next(self._things.find(batch_size=2), None)

    def abort(self) -> None:
        with self._client.start_session() as session, session.start_transaction():
            self._things.insert_one({"n": -1}, session=session)
            if self._random.random() < 0.5:
                session.abort_transaction()

    def watch(self) -> None:
        with self._things.watch(max_await_time_ms=50) as stream:
            stream.try_next()

    def log_in(self) -> None:
        with self._proxy.client(self.slug) as client:
            client.admin.command("ping")

    def fail_to_log_in(self) -> None:
        uri = self._proxy.uris[self.slug].replace(f"{self.slug}:", f"{self.slug}:not", 1)
        client: Client
        with suppress(PyMongoError), MongoClient(uri, serverSelectionTimeoutMS=500) as client:
            client.admin.command("ping")
        time.sleep(1)

    def leave(self) -> None:
        """Open a cursor, a stream and a transaction, and leave, alone at its address."""
        own: dict[str, Any] = {"lsid": {"id": bson.Binary(uuid4().bytes, 4)}, "$db": self.slug}
        stream = {"aggregate": "soaked", "pipeline": [{"$changeStream": {}}], "cursor": {}}
        address = f"127.0.1.{self._random.randrange(1, 250)}"
        with Visitor(self._proxy.uris[self.slug], address) as visitor:
            visitor.ask({"find": "soaked", "batchSize": 2, **own})
            visitor.ask({"find": "soaked", "batchSize": 2, "$db": self.slug})
            visitor.ask({**stream, **own})
            began = {"txnNumber": long(1), "autocommit": False, "startTransaction": True}
            visitor.ask({"insert": "soaked", "documents": [{"n": -2}], **own, **began})
            visitor.say({"find": "soaked", "$db": self.slug})
        time.sleep(0.2)

    def cut(self) -> None:
        """Leave in the middle of a frame, before and after the greeting."""
        place = (self._proxy.host, self._proxy.port)
        with socket.create_connection(place, 5) as wire:
            wire.sendall(b"\x40\0\0\0" + bytes(random.randrange(40)))  # noqa: S311 - no secret

    def run(self, deed: Callable[[], None]) -> None:
        while not self._stop.is_set():
            try:
                deed()
                self.done[deed.__name__] += 1
            except (PyMongoError, OSError, EOFError, AssertionError) as error:
                self.failed[f"{deed.__name__}: {str(error)[:60]}"] += 1
            self._stop.wait(PAUSE)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Have all deeds done while the block runs; then every client leaves."""
        threads = [threading.Thread(target=self.run, args=(deed,)) for deed in self.deeds]
        for each in threads:
            each.start()
        try:
            yield
        finally:
            self._stop.set()
            for each in threads:
                each.join()
            self._client.close()
