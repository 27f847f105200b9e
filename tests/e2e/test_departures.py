"""A client that leaves in the middle of a read takes it along, in a fraction of a second.

Of writes a server does not take note whether somebody still waits for them (6.0.5).
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from bson import Int64
from pymongo.errors import AutoReconnect

from tests.support.proxies import Proxy
from tests.support.replicas import until

MOST_SECONDS = 3
"""A server looks every half second (6.0.5); a busy machine may take longer."""

DOCUMENTS = 5_000
HARD = {"$size": {"$filter": {"input": {"$range": [0, 1000]}, "cond": {"$gt": ["$$this", "$_id"]}}}}
SLOW = {"$expr": {"$eq": [{"$add": [HARD] * 20}, -1]}}


def wait_for_news(things: Any) -> object:
    """As a change stream does; the driver's own would be opened again at once."""
    ask = things.database.command
    stream = ask({"aggregate": things.name, "pipeline": [{"$changeStream": {}}], "cursor": {}})
    number = Int64(stream["cursor"]["id"])
    return ask({"getMore": number, "collection": things.name, "maxTimeMS": 60_000})


WAYS: dict[str, Callable[[Any], object]] = {
    "aggregate": lambda c: list(c.aggregate([{"$match": SLOW}])),
    "count": lambda c: c.count_documents(SLOW),
    "find": lambda c: list(c.find(SLOW)),
    "watch": wait_for_news,
}


@pytest.mark.parametrize("way", WAYS)
def test_what_a_client_leaves_behind(proxy: Proxy, name: str, measured: Any, way: str) -> None:
    physical = f"{proxy.db_name}.shop_{name}"

    def running() -> bool:
        # a server that waits for news looks whether it was killed when there is news for anybody
        proxy.behind.noise.insert_one({})
        found = proxy.admin.admin.command("currentOp")["inprog"]
        return any(each.get("ns") == physical for each in found)

    with proxy.client("shop") as client:
        client.shop[name].insert_many([{"_id": number} for number in range(DOCUMENTS)])
    options = {"retryReads": False, "retryWrites": False, "socketTimeoutMS": 1_500}
    with proxy.client("shop", **options) as client, ThreadPoolExecutor() as pool:
        client.admin.command("ping")
        asked = pool.submit(WAYS[way], client.shop[name])
        until(running, "the operation to begin", 30)
        with pytest.raises(AutoReconnect):
            asked.result(30)
        left = time.monotonic()
        until(lambda: not running(), "the operation to end", 30)
        seconds = time.monotonic() - left
    measured(f"{way}: gone {seconds:.3f} s after its client")
    assert seconds < MOST_SECONDS
    proxy.behind[f"shop_{name}"].drop()
