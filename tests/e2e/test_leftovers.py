"""Clients that leave without a word: nothing stays open of theirs, here or in the cluster."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import bson
import pytest

from tests.support.pages import PATIENCE_SECONDS, metric, soon
from tests.support.programs import ROOT
from tests.support.proxies import Proxy, serving
from tests.support.servers import free_port
from tests.support.visitors import Visitor, batch, long

ROUNDS = 3
CLIENTS = {"transaction": 4, "stream": 8, "awaited": 8}
"""In a round: what was not given back would be missing in the last one, while one process of
two may have all that come (of sixteen streams each has eight)."""


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two"])
def served(
    request: pytest.FixtureRequest, mongo_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Proxy, str]]:
    port = free_port()
    options = ("--workers", str(request.param), "--admin", f"127.0.0.1:{port}")
    log = tmp_path_factory.mktemp("leftovers") / "log"
    with serving(mongo_uri, ROOT / "manifests", log, *options) as running:
        yield running, f"http://127.0.0.1:{port}/metrics"
        assert "Traceback" not in running.program.tail()


def session() -> dict[str, Any]:
    return {"lsid": {"id": bson.Binary(uuid4().bytes, 4)}}


class Left:
    """What is left in the cluster for a collection, and of sessions for its database."""

    def __init__(self, proxy: Proxy, name: str) -> None:
        self.proxy, self.ns = proxy, f"{proxy.db_name}.shop_{name}"

    def operations(self, kind: str) -> list[Any]:
        stages: list[dict[str, Any]] = [
            {"$currentOp": {"idleCursors": True, "idleSessions": True, "localOps": True}},
            {"$match": {"type": kind}},
        ]
        return list(self.proxy.admin.admin.aggregate(stages))

    def cursors(self) -> int:
        return sum(each["ns"] == self.ns for each in self.operations("idleCursor"))

    def transactions(self) -> int:
        return sum("transaction" in each for each in self.operations("idleSession"))

    def waiting(self) -> int:
        self.proxy.behind.noise.insert_one({})
        return sum(each.get("ns") == self.ns for each in self.operations("op"))


def leave(uri: str, name: str, number: int, way: str) -> None:
    """Open something on a connection and close that, in the middle of it all."""
    own = session() if way != "sessionless" else {}
    with Visitor(uri) as visitor:
        ask = {"find": name, "batchSize": 2, "$db": "shop", **own}
        if way == "transaction":
            ask = {
                "insert": name, "documents": [{"_id": f"t{number}"}], "$db": "shop", **own,
                "txnNumber": long(1), "autocommit": False, "startTransaction": True,
            }  # fmt: skip
        if way in ("stream", "awaited"):
            stream = [{"$changeStream": {}}]
            ask = {"aggregate": name, "pipeline": stream, "cursor": {}, "$db": "shop", **own}
        reply = visitor.ask(ask)
        assert reply["ok"], reply
        if way == "awaited":
            number = long(reply["cursor"]["id"])
            wait = {"getMore": number, "collection": name, "maxTimeMS": 60_000}
            visitor.say({**wait, "$db": "shop", **own})


@pytest.mark.parametrize("way", ["sessionless", "cursor", "transaction", "stream", "awaited"])
def test_nothing_is_left(served: tuple[Proxy, str], name: str, way: str) -> None:
    proxy, metrics = served
    uri = proxy.uris["shop"]
    left = Left(proxy, name)
    proxy.behind[f"shop_{name}"].insert_many(
        [{"_id": number, "app_id": "shop"} for number in range(10)]
    )
    transactions = left.transactions()
    opened = 'mdb_proxy_cursors_open{app="shop"}'
    for _ in range(ROUNDS):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: leave(uri, name, n, way), range(CLIENTS.get(way, 12))))
        assert soon(lambda: left.cursors() == 0, PATIENCE_SECONDS)
        assert soon(lambda: left.waiting() == 0, PATIENCE_SECONDS)
        assert soon(lambda: left.transactions() <= transactions, PATIENCE_SECONDS)
        assert soon(lambda: metric(metrics, opened) == 0, PATIENCE_SECONDS)
    assert proxy.behind[f"shop_{name}"].count_documents({}) == 10


def test_somebody_who_is_left_keeps_what_others_opened(
    served: tuple[Proxy, str], name: str
) -> None:
    """Drivers go on with a session on any connection of theirs."""
    proxy, _ = served
    uri, own = proxy.uris["shop"], session()
    with Visitor(uri) as first:
        first.ask({"insert": name, "documents": [{} for _ in range(10)], "$db": "shop"})
        kept = Visitor(uri)
        reply = first.ask({"find": name, "batchSize": 2, "$db": "shop", **own})
        number = long(reply["cursor"]["id"])
        alone = first.ask({"find": name, "batchSize": 2, "$db": "shop"})["cursor"]["id"]
    with kept:
        assert soon(lambda: Left(proxy, name).cursors() == 1), "the other had no session"
        assert not soon(lambda: Left(proxy, name).cursors() == 0, 4)
        more = {"collection": name, "$db": "shop"}
        assert len(batch(kept.ask({"getMore": number, **more, **own}))) == 8
        assert kept.ask({"getMore": long(alone), **more})["code"] == 43


def test_streams_that_were_left_do_not_count(served: tuple[Proxy, str], name: str) -> None:
    """An app that may have so many of them has them again some seconds later."""
    proxy, _ = served
    uri = proxy.uris["shop"]
    for _ in range(3):
        with Visitor(uri) as visitor:
            told = []
            for _ in range(200):
                ask = {"aggregate": name, "pipeline": [{"$changeStream": {}}], "cursor": {}}
                told.append(visitor.ask({**ask, "$db": "shop", **session()}))
                if not told[-1]["ok"]:
                    break
            assert told[-1].get("code") == 462, "more than it may"
            assert len(told) > 1, "what the last one left is free again"
        assert soon(lambda: Left(proxy, name).cursors() == 0, PATIENCE_SECONDS)
