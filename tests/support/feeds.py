"""Change streams of one side: what has come, and the tokens to go on from.

A stream is read until it has seen the time of a write that nobody watches, so that both sides tell
everything that was done before it, however they cut it into batches.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import bson
from bson import Timestamp

from tests.support.comparing import plain
from tests.support.lines import Line

WAIT_MS: Final = 5
ROUNDS: Final = 400
_MADE_UP: Final = ("clusterTime", "collectionUUID", "lsid", "wallTime")
_PASSING: Final = re.compile(r"tmp(?:\.agg_out\.|[A-Za-z0-9]+\.convertToCapped\.)")
"""How the server calls a collection that it is still making (6.0.5)."""

_KEPT: Final = ("pipeline", "validator")
"""Parts of definitions that are not told (docs/differences.md)."""


def time_of(token: Mapping[str, Any]) -> Timestamp:
    """Give the time that a resume token says."""
    data = bytes.fromhex(token["_data"])
    return Timestamp(int.from_bytes(data[1:5], "big"), int.from_bytes(data[5:9], "big"))


@dataclass(slots=True)
class Feeds:
    """The streams of one side.

    Attributes:
        waiting: step -> events that its stream brought already.
        tokens, times: (step, place) -> of an event that a step read.
    """

    line: Line
    waiting: dict[int, list[Any]] = field(default_factory=dict)
    tokens: dict[tuple[int, int], Any] = field(default_factory=dict)
    times: dict[tuple[int, int], Any] = field(default_factory=dict)

    def opened(self, step: int, cursor: Mapping[str, Any]) -> None:
        """Note the first events of a stream."""
        self.waiting[step] = list(cursor["firstBatch"])

    def read(self, db: str, command: Mapping[str, Any], step: int, until: Timestamp) -> bytes:
        """Give all events up to a time as if they had been one reply."""
        asked = command["events"]
        found = self.waiting.pop(asked.step, [])
        more = {"getMore": command["cursor"], "collection": command["collection"]}
        reply: dict[str, Any] = {}
        for _ in range(ROUNDS):
            reply = plain(self.line.ask(db, {**more, "maxTimeMS": WAIT_MS}))
            if not reply["ok"]:
                break
            cursor = reply["cursor"]
            found += cursor["nextBatch"]
            if not cursor["id"] or time_of(cursor["postBatchResumeToken"]) >= until:
                break
        told = [event for event in found if not _is_passing(event)]
        for place, event in enumerate(told):
            self.tokens[step, place] = event.get("_id")
            self.times[step, place] = event.get("clusterTime")
        open_still = bool(reply["ok"] and reply["cursor"]["id"])
        errors = {} if reply["ok"] else {"errmsg": reply["errmsg"], "code": reply["code"]}
        return bson.encode(
            {"events": list(map(bare, told)), "open": open_still, **errors, "ok": 1.0}
        )

    def clear(self) -> None:
        """Forget all of them."""
        for each in (self.waiting, self.tokens, self.times):
            each.clear()


def bare(event: Mapping[str, Any]) -> dict[str, Any]:
    """Give an event without what any two servers tell otherwise."""
    found: dict[str, Any] = {}
    for name, value in event.items():
        found[name] = "<made>" if name in _MADE_UP else value
    if isinstance(found.get("_id"), dict) and "_data" in found["_id"]:
        found["_id"] = "<token>"
    found = _last_names(found, event)
    for place in ("operationDescription", "stateBeforeChange"):
        if isinstance(found.get(place), dict):
            found[place] = dict(_definition(found[place]))
    return found


def _is_passing(event: Mapping[str, Any]) -> bool:
    name = event.get("ns")
    coll = str(name.get("coll", "")) if isinstance(name, dict) else ""
    return _PASSING.match(coll) is not None and event.get("operationType") != "rename"


def _last_names(found: dict[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
    """A collection that was being made has its last name."""
    name, to = event.get("ns"), event.get("to")
    if isinstance(name, dict) and isinstance(to, dict) and _PASSING.match(str(name.get("coll"))):
        found["ns"] = {**name, "coll": to.get("coll")}
    return found


def _definition(value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        if name in ("dropTarget", "uuid"):
            yield name, "<uuid>"
        elif isinstance(item, dict) and name == "collectionOptions":
            yield name, dict(_definition(item))
        elif name not in _KEPT:
            yield name, item
