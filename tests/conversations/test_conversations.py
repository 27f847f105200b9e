"""Whole conversations, as data: what clients say and hear, and what the cluster hears meanwhile.

A file holds a list of conversations: `it`, `clients` (name -> credential that is logged in
already, "" for nobody; default `{"shop": "shop"}`), `channels` (name -> how that client comes),
`domain` (of hosts), `limits`, and `steps`. A step holds

- `says`: a command in extended JSON; `who` (default: the first client), `batch` (document
  sequences), `flags`, `compressed` (a compressor), `query` (the namespace of an OP_QUERY);
- `waits`: seconds that pass before it;
- `cluster`: what it `hears` (documents in it), `at` which member it must be, what the client
  `prefers`, whether it is `awaited`; then what it `says` (default `{ok: 1}`) and which member does
  (`from`), or `breaks`;
- `hears`: the answer; without it there is none. `closes`: the connection ends.

In what is heard `"<any>"` stands for any value, and `"<more>": true` for further fields.
"<session 1>" is a UUID that a client made up, "<session 1 of shop>" the same as the cluster knows
it. "<first of NAME>", "<final>" and "<proven>" are the payloads of a login with SCRAM-SHA-256,
"<plain NAME>" that of one by the right password, "<token {...}>" that of one by a token with these
claims (`exp` in seconds from now), "<bson {...}>" is any other document.
"""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import bson
import pytest
from bson import Binary
from scramp import ScramClient

from mdb_engine.exceptions import UpstreamError
from mdb_proxy.auth import Guest
from mdb_proxy.channel import Channel
from mdb_proxy.decisions import Answer
from mdb_proxy.lsids import mapped
from mdb_proxy.wire import EXHAUST_ALLOWED, MORE_TO_COME, OP_COMPRESSED, OP_MSG, OP_REPLY, wrap
from tests.support.cases import plain
from tests.support.talks import (
    CLIENT_NONCE,
    MEMBER,
    PASSWORD,
    SECRET,
    Connection,
    House,
    World,
    credential,
    decoded,
    house,
    message,
    query,
    told,
)
from tests.support.tokens import RULE, Ring, keys, token

FOLDER = Path(__file__).parent
FLAGS = {"moreToCome": MORE_TO_COME, "exhaustAllowed": EXHAUST_ALLOWED}
STEP = {
    "waits",
    "who",
    "says",
    "batch",
    "flags",
    "compressed",
    "query",
    "cluster",
    "hears",
    "closes",
}
TURN = {"hears", "at", "prefers", "says", "from", "breaks", "awaited"}
RING = Ring(keys("rsa"), keys("new"))
DOORS = {
    "tokens": (replace(RULE, client="our-app"),),
    "keys": RING,
    "subjects": {"CN=crm,O=Example": Guest("CN=crm,O=Example", "crm", "read")},
}
SESSION = re.compile(r"<session (\d+)(?: of (\S+))?>")


def conversations() -> list[Any]:
    return [
        pytest.param(each, id=f"{path.stem}: {each['it']}")
        for path in sorted(FOLDER.glob("*.json"))
        for each in json.loads(path.read_text("utf-8"))
    ]


def shown(text: str, now: float) -> bytes:
    claims = json.loads(text)
    return bson.encode({"jwt": token(now, **claims | {"exp": now + claims.get("exp", 300)})})


PROOFS: dict[str, Callable[[str, float], bytes]] = {
    "nothing": lambda _text, _now: b"",
    "bson": lambda text, _: bson.encode(json.loads(text)),
    "plain": lambda name, _: f"\0{name}\0{PASSWORD}".encode(),
    "token": shown,
}


class Play:
    """One conversation that is played."""

    def __init__(self, found: House, clients: dict[str, Connection]) -> None:
        self.house, self.clients = found, clients
        self.scram: ScramClient | None = None
        self.heard: dict[str, Any] = {}

    async def step(self, step: dict[str, Any]) -> None:
        assert set(step) <= STEP, set(step) - STEP
        self.house.world.wait(step.get("waits", 0))
        turns = step.get("cluster", [])
        self.prepare(turns)
        connection = self.clients[step.get("who", next(iter(self.clients)))]
        before = len(connection.got)
        await connection.send(self.bytes_of(step))
        self.compare_cluster(turns)
        heard = connection.got[before:]
        assert len(heard) == ("hears" in step), [each.body for each in heard]
        for each in heard:
            opcode = OP_COMPRESSED if "compressed" in step else OP_MSG
            never = next(iter(step["says"]), "") in ("hello", "saslStart")
            assert each.opcode == (OP_REPLY if "query" in step else OP_MSG if never else opcode)
            self.heard = each.body
            self.matches(each.body, step["hears"], "")
        assert connection.wire.closed == step.get("closes", False)

    def prepare(self, turns: list[dict[str, Any]]) -> None:
        """Tell the cluster what to say."""
        for turn in turns:
            assert set(turn) <= TURN, set(turn) - TURN
            document = bson.encode(self.filled(plain(turn.get("says", {"ok": 1.0}))))
            broken = UpstreamError(turn["breaks"]) if "breaks" in turn else None
            self.house.cluster.answers.append(broken or Answer(document, turn.get("from", MEMBER)))
        self.house.cluster.asked.clear()

    def bytes_of(self, step: dict[str, Any]) -> bytes:
        command = self.filled(plain(step["says"]))
        if "query" in step:
            return query(command, step["query"])
        flags = sum(FLAGS[name] for name in step.get("flags", []))
        batch = {n: self.filled(plain(d)) for n, d in step.get("batch", {}).items()}
        data = message(command, flags=flags, **batch)
        return wrap(data, step["compressed"]) if "compressed" in step else data

    def compare_cluster(self, turns: list[dict[str, Any]]) -> None:
        asked = self.house.cluster.asked
        assert len(asked) == len(turns), [told(each) for each in asked]
        assert not self.house.cluster.answers
        for exchange, turn in zip(asked, turns, strict=True):
            sent = told(exchange)
            wanted = turn["hears"]
            assert next(iter(sent)) == next(iter(wanted))
            self.matches(sent, wanted, "")
            assert exchange.pin == turn.get("at")
            assert exchange.read_preference == turn.get("prefers")
            assert exchange.awaited == turn.get("awaited", False)

    def filled(self, value: Any) -> Any:
        """The value with its placeholders filled."""
        if isinstance(value, dict):
            return {name: self.filled(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.filled(item) for item in value]
        return self.text(value) if isinstance(value, str) else value

    def text(self, value: str) -> Any:
        session = SESSION.fullmatch(value)
        if session is not None:
            client, user = UUID(int=int(session[1])).bytes, session[2]
            app = user.partition("-")[0] if user else ""
            return Binary(mapped(client, app, user, SECRET) if user else client, 4)
        if value.startswith("<first of "):
            name = value.removeprefix("<first of ").removesuffix(">")
            self.scram = ScramClient(["SCRAM-SHA-256"], name, PASSWORD, c_nonce=CLIENT_NONCE)
            return self.scram.get_client_first().encode()
        kind, _, argument = value[1:-1].partition(" ")
        if value.startswith("<") and kind in PROOFS:
            return PROOFS[kind](argument, self.house.world.now.timestamp())
        if value == "<final>":
            assert self.scram is not None
            said = self.heard.get("speculativeAuthenticate", self.heard)
            self.scram.set_server_first(said["payload"].decode())
            return self.scram.get_client_final().encode()
        return value

    def matches(self, found: Any, wanted: Any, path: str) -> None:
        """Compare with what is expected there."""
        if wanted == "<any>":
            return
        if wanted == "<proven>":
            assert self.scram is not None
            self.scram.set_server_final(found.decode())
            return
        is_document = isinstance(wanted, dict) and not next(iter(wanted), "").startswith("$num")
        if is_document and isinstance(found, dict):
            names = set(wanted) - {"<more>"}
            assert found.keys() == names or ("<more>" in wanted and found.keys() >= names), (
                path, found,
            )  # fmt: skip
            for name in names:
                self.matches(found[name], wanted[name], f"{path}.{name}")
        elif isinstance(wanted, list) and isinstance(found, list):
            assert len(found) == len(wanted), (path, found)
            for index, item in enumerate(wanted):
                self.matches(found[index], item, f"{path}.{index}")
        else:
            value = decoded(bson.encode({"v": self.filled(plain(wanted))}))["v"]
            assert (type(found), found) == (type(value), value), path


@pytest.mark.parametrize("conversation", conversations())
def test_conversation(conversation: dict[str, Any]) -> None:
    async def main() -> None:
        more = (
            credential("shop-2", "shop"),
            credential("shop-ro", "shop", "read"),
            credential("bot", "shop", plain=True, x509="CN=bot,O=Example"),
        )
        world = World(*more, **conversation.get("limits", {}))
        world.open(**DOORS, domain=conversation.get("domain", ""))
        async with house(world) as found:
            given = conversation.get("clients", {"shop": "shop"})
            channels = {
                name: Channel("127.0.0.1:50000", **fields)
                for name, fields in conversation.get("channels", {}).items()
            }
            clients = {
                name: await found.visitor(user, channels.get(name)) for name, user in given.items()
            }
            play = Play(found, clients)
            for number, step in enumerate(conversation["steps"]):
                try:
                    await play.step(step)
                except AssertionError as error:
                    error.add_note(f"step {number}: {step['says']}")
                    raise

    asyncio.run(main())
