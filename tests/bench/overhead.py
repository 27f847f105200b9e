"""What a handle of the engine adds to a call: CPU time beside PyMongo's own, without a network.

    python -m tests.bench.overhead [--json FILE] [--rounds N]

Short rounds of the same calls on a raw collection and on a handle take turns. `added` is the median
over the rounds of the difference, in microseconds per call; `quiet` compares the best tenth of
both, which tells the same on a busy machine.
"""

import argparse
import asyncio
import gc
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient

from mdb_engine.background import Supervisor
from mdb_engine.database.handle import ScopedDatabase, scoped_database
from mdb_engine.database.house import House
from mdb_engine.indexes.auto import AutoIndexManager, Watching
from mdb_engine.observability.operations import Operations
from mdb_engine.scope.holdings import Holdings
from mdb_engine.scope.model import Scope
from tests.bench.stub import stubbed

CALLS = 50
"""Calls per round."""

Call = Callable[[Any, int], Awaitable[Any]]


async def aggregated(collection: Any, number: int) -> Any:
    pipeline = [
        {"$match": {"status": "pending", "n": number}},
        {"$group": {"_id": "$priority", "n": {"$sum": 1}}},
    ]
    cursor = collection.aggregate(pipeline)
    if not isinstance(collection, Raw):
        return await cursor.to_list(None)
    return await (await cursor).to_list(None)


OPERATIONS: Mapping[str, Call] = {
    "find_one": lambda c, i: c.find_one({"status": "pending", "n": i}),
    "insert_one": lambda c, i: c.insert_one({"_id": i, "title": "a task", "status": "pending"}),
    "update_one": lambda c, i: c.update_one({"_id": i}, {"$set": {"status": "done"}}),
    "delete_one": lambda c, i: c.delete_one({"_id": i}),
    "count_documents": lambda c, i: c.count_documents({"status": "pending", "n": i}),
    "aggregate": aggregated,
}


class Raw:
    """PyMongo's collection, to be told from a handle."""

    def __init__(self, collection: Any) -> None:
        for name in ("find_one", "insert_one", "update_one", "delete_one", "count_documents",
                     "aggregate"):  # fmt: skip
            setattr(self, name, getattr(collection, name))


def handle(client: AsyncMongoClient[dict[str, Any]]) -> ScopedDatabase:
    """Give a database as `engine.get_scoped_db` makes it."""
    scope = Scope("shop", "mdb", ("shop",), expose_app_id=True)
    operations = Operations()
    house = House(Holdings({"shop": frozenset({"shop_tasks"})}))
    plain = scoped_database(client["mdb"], lambda: scope, operations)
    watch = Watching(operations, AutoIndexManager(plain, Supervisor()))
    return scoped_database(client["mdb"], lambda: scope, watch, house)


async def spent(call: Call, collection: Any, calls: int) -> float:
    """Give the CPU time of so many calls, in microseconds per call."""
    began = time.process_time()
    for number in range(calls):
        await call(collection, number)
    return (time.process_time() - began) * 1e6 / calls


async def measured(rounds: int, calls: int = CALLS) -> dict[str, dict[str, float]]:
    """Give `{operation: {raw_us, added_us, quiet_us}}`."""
    found: dict[str, dict[str, float]] = {}
    with stubbed() as uri:
        async with AsyncMongoClient[dict[str, Any]](uri) as client:
            raw, ours = Raw(client["mdb"]["shop_tasks"]), handle(client).tasks
            for name, call in OPERATIONS.items():
                await spent(call, raw, calls)
                await spent(call, ours, calls)
                raws, both = [], []
                for _ in range(rounds):
                    gc.collect()
                    gc.disable()
                    raws.append(await spent(call, raw, calls))
                    both.append(await spent(call, ours, calls))
                    gc.enable()
                found[name] = figures(raws, both)
    return found


def figures(raws: list[float], both: list[float]) -> dict[str, float]:
    """Give `{raw_us, added_us, quiet_us}` of rounds that took turns."""
    differences = [ours - raw for raw, ours in zip(raws, both, strict=True)]
    tenth = max(1, len(raws) // 10)
    return {
        "raw_us": statistics.median(raws),
        "added_us": statistics.median(differences),
        "quiet_us": sorted(both)[tenth - 1] - sorted(raws)[tenth - 1],
    }


def main() -> None:
    """Print the figures, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=100)
    given = parser.parse_args()
    found = asyncio.run(measured(given.rounds))
    for name, each in found.items():
        raw, added, quiet = (each[n] for n in ("raw_us", "added_us", "quiet_us"))
        sys.stdout.write(
            f"{name:16} driver {raw:7.1f} us, added {added:6.1f} us, quiet {quiet:6.1f} us\n"
        )
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
