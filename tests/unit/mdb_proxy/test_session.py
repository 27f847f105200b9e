"""One connection: who may say what, in which order it is looked at, and in what form it leaves."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import bson
import pytest
from bson import Binary, Int64
from scramp import ScramClient

from mdb_engine.credentials import SCRAM_SHA_256
from mdb_engine.exceptions import AuthenticationFailedError
from mdb_proxy.channel import Channel
from mdb_proxy.decisions import Close, Forward, Reply, Run
from mdb_proxy.directory import Directory
from mdb_proxy.session import MAX_INVALID, MAX_NOTED, Attempt, Refusal
from mdb_proxy.wire import (
    COMPRESSORS,
    EXHAUST_ALLOWED,
    MORE_TO_COME,
    OP_COMPRESSED,
    OP_MSG,
    OP_REPLY,
    Frame,
    WireError,
    frame,
    wrap,
)
from tests.support.talks import (
    CLIENT_NONCE,
    NOW,
    PASSWORD,
    Talk,
    World,
    carry_out,
    credential,
    heard,
    message,
    one_frame,
    query,
    told,
)
from tests.support.tokens import RULE, Ring, keys, token

PING = {"ping": 1, "$db": "admin"}
FIND = {"find": "tasks", "$db": "shop"}
FOUND = {"cursor": {"id": Int64(0), "ns": "appdata.shop_tasks", "firstBatch": []}, "ok": 1.0}
UUID1 = {"id": Binary.from_uuid(UUID(int=1))}
BROKEN = b"\6\0\0\0\xee\0"


def receive(talk: Talk, data: bytes) -> Any:
    return talk.session.receive(one_frame(data))


# Who may say what.


@pytest.mark.parametrize(
    ("command", "code", "text"),
    [
        (FIND, 13, "Command find requires authentication"),
        ({"nonsense": 1, "$db": "x"}, 13, "Command nonsense requires authentication"),
        ({"eval": 1, "$db": "admin"}, 13, "Command eval requires authentication"),
        ({"endSessions": [], "$db": "admin"}, 13, "Command endSessions requires authentication"),
        ({"connectionStatus": 1, "$db": "x"}, 13, "Command connectionStatus requires"),
        ({"startSession": 1, "$db": "x"}, 13, "Command startSession requires authentication"),
        ({"listCommands": 1, "$db": "x"}, 13, "Command listCommands requires authentication"),
        # the envelope comes first
        ({"find": "tasks"}, 40571, "require a $db argument"),
        # what is allowed before a login has its own rules
        ({"ping": 1, "x": 1, "$db": "x"}, 40415, "unknown field"),
    ],
)
def test_before_the_login(command: dict[str, Any], code: int, text: str) -> None:
    world = World()
    reply = Talk(world).ask(command)
    assert (reply["code"], text in reply["errmsg"]) == (code, True)
    assert world.events == [Refusal(next(iter(command)) if code != 40571 else "", code,
                                    reply.get("at", ""))]  # fmt: skip


@pytest.mark.parametrize("command", [PING, {"hello": 1, "$db": "x"}, {"buildInfo": 1, "$db": "x"}])
def test_what_needs_no_login(command: dict[str, Any]) -> None:
    assert Talk(World()).ask(command)["ok"] == 1.0


# verdict -> fields -> names -> operators, each worse than the next
ORDER: list[tuple[Mapping[str, Any], int]] = [
    ({"nonsense": "a$b", "x": 1, "filter": {"$where": "1"}}, 59),
    ({"createUser": "a$b", "x": 1}, 13),
    ({"find": "a$b", "filter": {"$where": "1"}, "lsid": {**UUID1, "uid": 1}}, 73),
    ({"find": "tasks", "filter": {"$where": "1"}, "x": 1}, 2),
    ({"find": "tasks", "x": 1}, 40415),
    ({"nonsense": 1, "lsid": {**UUID1, "uid": 1}}, 59),
    ({"find": "tasks", "lsid": {**UUID1, "uid": 1}}, 72),
    ({"count": "tasks", "lsid": 5}, 2),
    ({"ping": 1, "lsid": {**UUID1, "uid": 1}}, 72),
]


@pytest.mark.parametrize(("command", "code"), ORDER)
def test_the_order_of_the_checks(command: dict[str, Any], code: int) -> None:
    assert Talk(World(), "shop").ask({**command, "$db": "shop"})["code"] == code


def test_a_login_and_the_way_out() -> None:
    world = World()
    talk = Talk(world)
    assert talk.session.app == ""
    talk.log_in("shop")
    assert talk.session.app == "shop"
    assert world.events == [Attempt("shop", SCRAM_SHA_256, 0, "shop")]
    assert talk.ask(FIND, FOUND)["ok"] == 1.0
    assert talk.ask({"saslStart": 1, "mechanism": SCRAM_SHA_256, "payload": b"", "$db": "x"})[
        "code"
    ] == 20  # fmt: skip
    assert talk.ask({"logout": 1, "$db": "admin"}) == {"ok": 1.0}
    assert talk.session.app == ""
    assert talk.ask(FIND)["code"] == 13
    talk.log_in("crm")
    assert talk.session.app == "crm"


@pytest.mark.parametrize(
    ("user", "password"), [("shop", "wrong"), ("nobody", PASSWORD), ("shop\u00e9", PASSWORD)]
)
def test_a_login_that_fails(user: str, password: str) -> None:
    world = World()
    talk = Talk(world)
    with pytest.raises(AssertionError, match="Authentication failed"):
        talk.log_in(user, password)
    assert world.events == [Attempt(user, SCRAM_SHA_256, 18)]
    assert password not in repr(world.events)
    talk.log_in("shop")
    assert talk.session.app == "shop"


def test_a_login_without_a_known_mechanism() -> None:
    world = World()
    assert Talk(world).ask({"saslStart": 1, "mechanism": "GSSAPI", "$db": "x"})["code"] == 18
    assert world.events == [Attempt("", "", 18)]


def test_a_claimed_name_is_cut_in_the_log() -> None:
    world = World()
    payload = f"n,,n={'x' * 500},r=abc".encode()
    start = {"saslStart": 1, "mechanism": SCRAM_SHA_256, "payload": payload, "$db": "admin"}
    talk = Talk(world)
    talk.ask(start)
    talk.ask({"saslContinue": 1, "conversationId": 1, "payload": b"nonsense", "$db": "admin"})
    assert world.events == [Attempt("x" * MAX_NOTED, SCRAM_SHA_256, 18)]


@pytest.mark.parametrize("gone", [{"name": "shop"}, {"app": "shop"}])
def test_gone_between_the_steps_of_a_login(gone: dict[str, str]) -> None:
    world = World()
    talk = Talk(world)
    scram = ScramClient([SCRAM_SHA_256], "shop", PASSWORD, c_nonce=CLIENT_NONCE)
    first = scram.get_client_first()
    start = {"saslStart": 1, "mechanism": SCRAM_SHA_256, "payload": first, "$db": "admin"}
    reply = talk.ask({**start, "options": {"skipEmptyExchange": True}})
    world.forget(**gone)
    scram.set_server_first(reply["payload"].decode())
    final = {"saslContinue": 1, "conversationId": 1, "payload": scram.get_client_final()}
    assert talk.ask({**final, "$db": "admin"})["code"] == 18
    assert talk.session.app == ""


@pytest.mark.parametrize(
    "change",
    [{"disabled": True}, {"expires_at": NOW}, {"expires_at": NOW - timedelta(1)}, {"app": "crm"}],
)
@pytest.mark.parametrize("command", [FIND, PING, {"hello": 1, "$db": "x"}])
def test_who_is_no_longer_welcome_leaves_at_the_next_command(
    change: dict[str, Any], command: dict[str, Any]
) -> None:
    world = World()
    talk = Talk(world, "shop")
    world.change("shop", **change)
    assert talk.decide(command) == Close("the app or the credential is gone")


def test_expiry_needs_no_reload() -> None:
    world = World()
    talk = Talk(world, "shop")
    world.change("shop", expires_at=NOW + timedelta(seconds=10))
    assert talk.ask(PING)["ok"] == 1.0
    world.wait(10)
    assert isinstance(talk.decide(PING), Close)


def test_role_and_limits_follow_the_credential() -> None:
    world = World(max_results=3)
    talk = Talk(world, "shop")
    assert told(talk.forward(FIND).exchange)["limit"] == 3
    world.change("shop", unlimited=True, role="read")
    assert told(talk.forward(FIND).exchange)["limit"] == 2**31 - 1
    assert talk.ask({"insert": "tasks", "documents": [{}], "$db": "shop"})["code"] == 13
    status = talk.ask({"connectionStatus": 1, "$db": "admin"})["authInfo"]
    assert status["authenticatedUserRoles"] == [{"role": "read", "db": "shop"}]


def test_an_app_may_have_so_many_connections() -> None:
    world = World(max_connections=2)
    world.apps["shop"] = 2
    talk = Talk(world)
    with pytest.raises(AssertionError, match="SystemOverloadedError"):
        talk.log_in("shop")
    assert talk.session.app == ""
    assert Attempt("shop", SCRAM_SHA_256, 462) in world.events
    talk.log_in("crm")
    world.apps["shop"] = 1
    Talk(world, "shop")


def test_an_app_may_ask_so_often() -> None:
    world = World(requests_per_second=2.0)
    one, other = Talk(world, "shop"), Talk(world, "shop")
    count = {"count": "tasks", "$db": "shop"}
    assert one.ask(count, {"n": 1, "ok": 1.0})["n"] == 1
    assert other.ask(count, {"n": 1, "ok": 1.0})["n"] == 1
    assert one.ask(count)["code"] == 462
    assert one.ask({"ping": 1, "$db": "shop"})["ok"] == 1.0
    assert Talk(world, "crm").ask({**count, "$db": "crm"}, {"n": 1, "ok": 1.0})["n"] == 1
    world.wait(0.5)
    assert one.ask(count, {"n": 1, "ok": 1.0})["n"] == 1


# hello.


@pytest.mark.parametrize("skip", [True, False])
def test_a_login_that_begins_in_hello(skip: bool) -> None:
    talk = Talk(World())
    scram = ScramClient([SCRAM_SHA_256], "shop", PASSWORD, c_nonce=CLIENT_NONCE)
    start = {
        "saslStart": 1,
        "mechanism": SCRAM_SHA_256,
        "payload": Binary(scram.get_client_first().encode()),
        "autoAuthorize": 1,
        "options": {"skipEmptyExchange": skip},
        "db": "admin",
    }
    hello = {"ismaster": 1, "helloOk": True, "speculativeAuthenticate": start, "$db": "admin"}
    reply = talk.ask(hello)["speculativeAuthenticate"]
    scram.set_server_first(reply["payload"].decode())
    final = {"conversationId": reply["conversationId"], "payload": scram.get_client_final()}
    reply = talk.ask({"saslContinue": 1, **final, "$db": "admin"})
    scram.set_server_final(reply["payload"].decode())
    assert reply["done"] is skip
    if not skip:
        rest = {"saslContinue": 1, "conversationId": 1, "payload": b"", "$db": "admin"}
        assert talk.ask(rest)["done"] is True
    assert talk.session.app == "shop"


def test_speculation_that_comes_to_nothing() -> None:
    start = {"saslStart": 1, "mechanism": "GSSAPI", "payload": b"", "db": "admin"}
    world = World()
    reply = Talk(world).ask({"hello": 1, "speculativeAuthenticate": start, "$db": "admin"})
    assert reply["ok"] == 1.0
    assert "speculativeAuthenticate" not in reply
    assert world.events == []


def test_before_the_stores_were_read_nobody_is_told_from_anybody() -> None:
    world = World()
    known, world.directory = world.directory, Directory({}, {}, b"", unread=True)
    talk = Talk(world)
    start = {"saslStart": 1, "mechanism": SCRAM_SHA_256, "payload": b"", "db": "admin"}
    hello = {"hello": 1, "speculativeAuthenticate": start, "$db": "admin"}
    reply = talk.ask(hello)
    assert (reply["msg"], "speculativeAuthenticate" in reply) == ("isdbgrid", False)
    assert talk.ask(PING)["ok"] == 1.0
    assert not talk.session.early
    reply = talk.ask({**start, "$db": "admin"})
    assert talk.session.early
    assert (reply["code"], reply["baseBackoffMS"] > 0) == (462, True)
    assert reply["errorLabels"] == ["SystemOverloadedError", "RetryableError"]
    assert talk.ask(FIND)["code"] == 13
    assert not talk.session.early
    world.directory = known
    talk.log_in("shop")
    assert (talk.session.app, talk.session.user) == ("shop", "shop")


def test_client_metadata_is_sent_once() -> None:
    talk = Talk(World())
    hello = {"hello": 1, "client": {"driver": {"name": "x"}}, "$db": "admin"}
    assert talk.ask({"hello": 1, "client": "x", "$db": "admin"})["code"] == 2
    assert talk.ask(hello)["ok"] == 1.0
    assert talk.ask({"hello": 1, "$db": "admin"})["ok"] == 1.0
    reply = talk.ask(hello)
    assert (reply["code"], reply["at"]) == (20, "client")
    assert Talk(World()).ask(hello)["ok"] == 1.0


def test_a_streaming_hello_is_answered_once_and_at_once() -> None:
    command = {"hello": 1, "maxAwaitTimeMS": Int64(10_000), "$db": "admin"}
    decision = Talk(World()).decide(command, flags=EXHAUST_ALLOWED)
    assert isinstance(decision, Reply)
    found = heard(one_frame(decision.message))
    assert (found.flags, found.body["ok"]) == (0, 1.0)
    assert "topologyVersion" not in found.body


@pytest.mark.parametrize(
    ("command", "namespace", "flags", "fields"),
    [
        ({"ismaster": 1, "helloOk": True, "client": {}, "compression": ["none"]}, "admin.$cmd", 0,
         {"ismaster": True, "helloOk": True, "compression": []}),
        ({"isMaster": 1}, "whatever.$cmd", 0, {"ismaster": True}),
        ({"hello": 1}, "admin.$cmd", 0, {"isWritablePrimary": True}),
        ({"$query": {"ismaster": 1}, "$readPreference": {}}, "x.$cmd", 0, {"ismaster": True}),
        ({"query": {"ismaster": 1}}, "x.$cmd", 0, {"ismaster": True}),
        ({"ping": 1}, "admin.$cmd", 0, {"code": 352}),
        ({"saslStart": 1}, "admin.$cmd", 0, {"code": 352}),
        ({"$query": {"find": "x"}}, "admin.$cmd", 0, {"code": 352}),
        ({"$query": {}}, "admin.$cmd", 0, {"code": 352}),
        ({"$query": 5}, "admin.$cmd", 0, {"code": 352}),
        ({}, "admin.$cmd", 0, {"code": 352}),
        ({"ismaster": 1, "client": 5}, "admin.$cmd", 0, {"code": 2}),
        ({}, "shop.tasks", 2, {"code": 5739101, "ok": 0.0}),
        ({"ismaster": 1}, "shop.$cmd.sys.inprog", 2, {"code": 5739101}),
        ({"ismaster": 1}, "shop", 2, {"code": 5739101}),
    ],
)  # fmt: skip
def test_the_old_form(
    command: dict[str, Any], namespace: str, flags: int, fields: dict[str, Any]
) -> None:
    world = World()
    decision = receive(Talk(world), query(command, namespace, number=12))
    found = heard(one_frame(decision.message))
    assert (found.opcode, found.response_to, found.flags) == (OP_REPLY, 12, flags)
    assert found.body.items() >= fields.items()
    assert [each.code for each in world.events if isinstance(each, Refusal)] == [
        code for name, code in fields.items() if name == "code"
    ]
    if flags:
        assert "OP_QUERY is no longer supported" in found.body["$err"]


# Bytes.


@pytest.mark.parametrize("opcode", [0, 1, 2001, 2002, 2005, 2006, 2007, 2010, -1])
def test_other_opcodes_end_it(opcode: int) -> None:
    decision = Talk(World()).session.receive(Frame(1, 0, opcode, bytes(30)))
    assert decision == Close(f"opcode {opcode} is not supported")


@pytest.mark.parametrize("form", [message, query, lambda body: wrap(message(body), "zlib")])
def test_bodies_that_are_not_bson_end_it_after_some(form: Any) -> None:
    talk = Talk(World())
    for _ in range(MAX_INVALID - 1):
        assert heard(one_frame(receive(talk, form(BROKEN)).message)).body["code"] == 22
        assert talk.ask(PING)["ok"] == 1.0
    assert receive(talk, form(BROKEN)) == Close("too many bodies that are not BSON")


def test_names_that_are_not_text_reach_the_log_as_text() -> None:
    world = World()
    body = b"\x17\0\0\0\x10\xff\0\1\0\0\0\x02$db\0\2\0\0\0x\0\0"
    decision = Talk(world).decide(body)
    assert isinstance(decision, Reply)
    (event,) = world.events
    assert isinstance(event, Refusal)
    assert event.command == "\ufffd"


@pytest.mark.parametrize("name", sorted(COMPRESSORS))
@pytest.mark.parametrize("user", ["", "shop"])
def test_answers_are_compressed_as_the_question_was(name: str, user: str) -> None:
    talk = Talk(World(), user)
    command = FIND if user else PING
    answers = [FOUND] if user else []
    data = carry_out(receive(talk, wrap(message(command, number=9), name)), answers)
    found = heard(one_frame(data))
    assert (found.opcode, found.response_to, found.body["ok"]) == (OP_COMPRESSED, 9, 1.0)


def test_plans_are_compressed_too() -> None:
    talk = Talk(World(), "shop")
    decision = receive(talk, wrap(message({"listCollections": 1, "$db": "shop"}), "zlib"))
    assert isinstance(decision, Run)
    assert heard(one_frame(carry_out(decision, [FOUND]))).opcode == OP_COMPRESSED


@pytest.mark.parametrize(
    "command",
    [
        {"hello": 1, "$db": "admin"},
        {"ismaster": 1, "$db": "admin"},
        {"saslStart": 1, "$db": "admin"},
        {"saslContinue": 1, "$db": "admin"},
        {"logout": 1, "$db": "admin"},
    ],
)
def test_a_login_is_never_compressed(command: dict[str, Any]) -> None:
    decision = receive(Talk(World()), wrap(message(command), "zlib"))
    assert one_frame(decision.message).opcode == OP_MSG


def test_a_compressor_that_was_not_offered_is_understood_but_not_used() -> None:
    decision = receive(Talk(World(), compressors=("zstd",)), wrap(message(PING), "zlib"))
    assert one_frame(decision.message).opcode == OP_MSG


@pytest.mark.parametrize("flags", [MORE_TO_COME])
def test_what_wants_no_answer_gets_none(flags: int) -> None:
    world = World()
    talk = Talk(world, "shop")
    assert talk.decide(FIND, flags=flags, number=1).quiet is True  # type: ignore[union-attr]
    assert talk.decide(PING, flags=flags) == Reply(b"")
    assert talk.decide({"nonsense": 1, "$db": "x"}, flags=flags) == Reply(b"")
    assert receive(talk, wrap(message(PING, flags=flags), "zlib")) == Reply(b"")
    insert = {"insert": "tasks", "writeConcern": {"w": 0}, "$db": "shop"}
    decision = talk.decide(insert, flags=flags, documents=[{"_id": 1}])
    assert isinstance(decision, Forward)
    assert told(decision.exchange)["writeConcern"] == {"w": 1}
    assert carry_out(decision, [{"ok": 1.0, "n": 1}]) == b""
    kill = {"killCursors": "tasks", "cursors": [Int64(5)], "$db": "shop"}
    decision = talk.decide(kill, flags=flags)
    assert isinstance(decision, Run)
    assert (decision.quiet, carry_out(decision)) == (True, b"")


def inside(opcode: int, body: bytes) -> bytes:
    return wrap(frame(opcode, 1, 0, (body,)), "zlib")


@pytest.mark.parametrize(
    "data",
    [
        frame(OP_MSG, 1, 0, (b"",)),
        frame(OP_MSG, 1, 0, (b"\4\0\0\0\0" + bson.encode({}),)),
        inside(2004, bytes(40)),
        inside(OP_MSG, b""),
        frame(OP_COMPRESSED, 1, 0, (b"",)),
        wrap(wrap(message(PING), "zlib"), "zlib"),
        query({})[:-3] + b"abc",
    ],
)
def test_bytes_that_are_no_message(data: bytes) -> None:
    with pytest.raises(WireError):
        receive(Talk(World()), data)


def test_before_the_login_nothing_large_is_inflated() -> None:
    bomb = wrap(message({"ping": 1, "x": bytes(100_000), "$db": "x"}), "zlib")
    assert len(bomb) < 1_000
    with pytest.raises(WireError, match="uncompressed size"):
        receive(Talk(World()), bomb)
    decision = receive(Talk(World(), "shop"), bomb)
    assert heard(one_frame(decision.message)).body["code"] == 40415


def test_the_name_of_the_last_command() -> None:
    talk = Talk(World(), "shop")
    talk.decide(FIND)
    assert talk.session.command == "find"
    talk.decide(BROKEN)
    assert talk.session.command == ""
    receive(talk, query({"ismaster": 1}))
    assert talk.session.command == "ismaster"


def test_each_app_sees_its_own() -> None:
    world = World(credential("shop-ro", "shop", "read"))
    for user, physical in (("shop", "shop_tasks"), ("shop-ro", "shop_tasks"), ("crm", "crm_tasks")):
        assert told(Talk(world, user).forward({**FIND, "$db": user.partition("-")[0]}).exchange)[
            "find"
        ] == physical  # fmt: skip


def test_a_new_address_is_shown_at_once() -> None:
    world = World()
    talk = Talk(world, "shop")
    world.directory = replace(world.directory, address="elsewhere:1")
    assert talk.ask({"isdbgrid": 1, "$db": "x"})["hostname"] == "elsewhere:1"


def test_who_is_welcome() -> None:
    world = World()
    talk, nobody = Talk(world, "shop"), Talk(world)
    assert talk.session.welcome
    world.change("shop", disabled=True)
    assert not talk.session.welcome
    assert nobody.session.welcome
    world.change("shop", disabled=False)
    world.forget(app="shop")
    assert not talk.session.welcome


# The other ways to log in; what is said in each stands in tests/conversations/mechanisms.json.


SAFE = Channel("127.0.0.1:50000", secure=True, subject="CN=bot", server_name="shop.db.example.com")


def other_ways(**doors: Any) -> World:
    world = World(credential("bot", "shop", x509="CN=bot", plain=True))
    world.open(tokens=(RULE,), keys=Ring(keys("rsa"), keys("new")), **doors)
    return world


def by_token(world: World, **claims: Any) -> dict[str, Any]:
    payload = bson.encode({"jwt": token(world.now.timestamp(), **claims)})
    return {"saslStart": 1, "mechanism": "MONGODB-OIDC", "payload": payload, "$db": "$external"}


BY_CARD = {"authenticate": 1, "mechanism": "MONGODB-X509", "$db": "$external"}
BY_PASSWORD = {
    "saslStart": 1,
    "mechanism": "PLAIN",
    "payload": f"\0bot\0{PASSWORD}".encode(),
    "$db": "$external",
}


def test_each_way_is_noted_by_its_name() -> None:
    world = other_ways()
    for command, name, mechanism in (
        (BY_CARD, "bot", "MONGODB-X509"),
        (BY_PASSWORD, "bot", "PLAIN"),
        (by_token(world), "https://idp.example#ann", "MONGODB-OIDC"),
    ):
        talk = Talk(world, channel=SAFE)
        assert talk.ask(command)["ok"] == 1.0
        assert talk.session.app == "shop"
        assert world.events.pop() == Attempt(name, mechanism, 0, "shop")
    assert world.events == []


def test_what_fails_is_noted_without_what_was_shown() -> None:
    world = other_ways()
    wrong = {**BY_PASSWORD, "payload": b"\0bot\0s3cret"}
    with pytest.raises(AuthenticationFailedError):
        Talk(world, channel=SAFE).ask(wrong)
    assert world.events.pop() == Attempt("bot", "PLAIN", 18)
    for command, name in (
        ({**BY_CARD, "user": "CN=somebody"}, "CN=bot"),
        (by_token(world, sub="somebody", exp=1), ""),
        (by_token(world, sub="somebody", app=""), ""),
    ):
        assert Talk(world, channel=SAFE).ask(command)["code"] == 18
        attempt = world.events.pop()
        assert attempt == Attempt(name, command.get("mechanism", ""), 18)
    assert world.events == []


def test_a_failed_guess_inside_hello_is_noted_too() -> None:
    world = other_ways()
    guess = {**by_token(world, exp=1), "db": "$external"}
    reply = Talk(world).ask({"hello": 1, "speculativeAuthenticate": guess, "$db": "admin"})
    assert "speculativeAuthenticate" not in reply
    assert world.events == [Attempt("", "MONGODB-OIDC", 18)]


def test_a_token_that_is_over() -> None:
    world = other_ways()
    talk = Talk(world)
    assert talk.ask(by_token(world, exp=world.now.timestamp() + 9))["ok"] == 1.0
    world.wait(9)
    assert talk.session.welcome
    assert talk.ask(FIND)["code"] == 391
    assert world.events.pop() == Refusal("find", 391, "", "shop")
    assert talk.ask({"hello": 1, "$db": "admin"})["ok"] == 1.0
    assert talk.ask(by_token(world))["ok"] == 1.0
    assert talk.ask(FIND, FOUND)["ok"] == 1.0
    assert [type(event) for event in world.events] == [Attempt, Attempt]


def test_who_shows_another_token_is_no_further_connection() -> None:
    world = World(max_connections=1)
    world.open(tokens=(RULE,), keys=Ring(keys("rsa")))
    talk = Talk(world)
    assert talk.ask(by_token(world))["ok"] == 1.0
    world.apps["shop"] = 1
    assert talk.ask(by_token(world))["ok"] == 1.0
    assert Talk(world).ask(by_token(world))["code"] == 462


def test_a_rule_that_is_withdrawn_shows_its_guests_out() -> None:
    world = other_ways()
    talk = Talk(world)
    talk.ask(by_token(world))
    world.open()
    assert not talk.session.welcome
    assert talk.decide(FIND) == Close("the app or the credential is gone")


@pytest.mark.parametrize(
    ("host", "nameless", "code"),
    [
        ("shop.db.example.com", False, None),
        ("crm.db.example.com", False, 18),
        ("", False, 18),
        ("", True, None),
    ],
)
@pytest.mark.parametrize("user", ["", "shop"])
def test_the_host_that_was_asked_for(
    host: str, nameless: bool, code: int | None, user: str
) -> None:
    world = other_ways(domain="db.example.com", nameless=nameless)
    talk = Talk(world, channel=replace(SAFE, server_name=host))
    if user and code:
        with pytest.raises(AssertionError, match="Authentication failed"):
            talk.log_in(user)
    elif user:
        talk.log_in(user)
    else:
        assert talk.ask(BY_CARD).get("code") == code
    assert talk.session.app == ("" if code else "shop")


def test_slow_work_is_not_done_by_the_session() -> None:
    world = other_ways()
    for command in (BY_PASSWORD, by_token(world, kid="new")):
        decision = Talk(world, channel=SAFE).decide(command)
        assert isinstance(decision, Run)
        assert not decision.quiet
    quiet = Talk(world, channel=SAFE).decide(BY_PASSWORD, flags=MORE_TO_COME)
    assert isinstance(quiet, Run)
    assert quiet.quiet


def test_a_login_that_is_disabled_while_its_password_is_checked() -> None:
    world = other_ways()
    talk = Talk(world, channel=SAFE)
    decision = talk.decide(BY_PASSWORD)
    world.change("bot", disabled=True)
    with pytest.raises(AuthenticationFailedError):
        carry_out(decision)
    assert talk.session.app == ""
    assert world.events == [Attempt("bot", "PLAIN", 18)]


SPECULATING = {
    "hello": 1,
    "speculativeAuthenticate": {
        "saslStart": 1,
        "mechanism": SCRAM_SHA_256,
        "payload": f"n,,n=shop,r={CLIENT_NONCE}".encode(),
        "db": "admin",
    },
    "$db": "admin",
}


def test_who_fails_too_often_is_not_looked_at() -> None:
    world = World()
    talk = Talk(world)
    for _ in range(10):
        with pytest.raises(AssertionError, match="Authentication failed"):
            talk.log_in("shop", "wrong")
    for password in ("wrong", PASSWORD):
        with pytest.raises(AssertionError, match="too many failed logins") as error:
            talk.log_in("shop", password)
        assert "SystemOverloadedError" in str(error.value)
        assert "baseBackoffMS" in str(error.value)
    codes = [event.code for event in world.events if isinstance(event, Attempt)]
    assert codes == 10 * [18] + 2 * [462]
    talk.log_in("crm")
    other = Talk(world, channel=Channel("10.9.9.9:1"))
    other.log_in("shop")
    assert other.session.app == "shop"
    assert "speculativeAuthenticate" not in Talk(world).ask(SPECULATING)
    world.wait(20)
    assert "speculativeAuthenticate" in Talk(world).ask(SPECULATING)


@pytest.mark.parametrize("balanced", [True, False])
def test_a_client_that_stands_behind_a_balancer(balanced: bool) -> None:
    talk = Talk(World(), channel=Channel("h:1", balanced=balanced))
    talk.ask({"hello": 1, "loadBalanced": True, "$db": "admin"})
    assert talk.session.balanced is balanced
    talk.ask({"hello": 1, "$db": "admin"})
    assert talk.session.balanced is balanced


def test_before_the_stores_were_read_nobody_is_judged() -> None:
    world = other_ways()
    world.directory = replace(world.directory, unread=True)
    for command in (BY_CARD, BY_PASSWORD, by_token(world)):
        talk = Talk(world, channel=SAFE)
        inner = {**command, "db": "$external"}
        hello = {"hello": 1, "speculativeAuthenticate": inner, "$db": "admin"}
        assert "speculativeAuthenticate" not in talk.ask(hello)
        assert not talk.session.early
        reply = talk.ask(command)
        assert (reply["code"], talk.session.early) == (462, True)
        assert talk.session.app == ""
