"""SASL on the wire: whole logins in every form, and what happens to the others."""

import hashlib
from dataclasses import replace
from typing import Any

import bson
import pytest
from bson import Binary
from scramp import ScramClient

from mdb_engine.credentials import SCRAM_SHA_1, SCRAM_SHA_256
from mdb_engine.exceptions import AuthenticationFailedError, RefusedError
from mdb_proxy.auth import Doors
from mdb_proxy.sasl import Login, Talking
from tests.support.talks import (
    CLIENT_NONCE,
    NOW,
    PASSWORD,
    credential,
    decoded,
    gate,
    old_keys,
    wire_value,
)
from tests.support.tokens import RULE, SECONDS, Ring, keys, token

SUBJECT = "CN=bot,O=Example"
KNOWN = {
    "shop": credential(),
    "bot": credential("bot", "shop", x509=SUBJECT, plain=True),
    "old": replace(credential("old", "shop"), scram=old_keys("old")),
}
SAFE = {
    "secure": True,
    "subject": SUBJECT,
    "by_subject": {SUBJECT: KNOWN["bot"]}.get,
    "doors": Doors((RULE,), keys=Ring(keys("rsa"), keys("new"))),
}


def driven(talking: Talking) -> dict[str, Any]:
    """Give the reply; slow work is done at once."""
    try:
        chore = next(talking)
        while True:
            chore = talking.send(chore.work())
    except StopIteration as stop:
        return dict(stop.value)


class Visitor:
    """A client that logs in."""

    def __init__(
        self, user: str = "shop", password: str = PASSWORD, login: Login | None = None, **more: Any
    ) -> None:
        self.scram = ScramClient([SCRAM_SHA_256], user, password, c_nonce=CLIENT_NONCE)
        self.login = login or Login()
        self.gate = gate(KNOWN, **more)

    def again(self) -> "Visitor":
        """The same connection, from the beginning."""
        return Visitor(login=self.login)

    def handle(self, name: str, **fields: Any) -> dict[str, Any]:
        command = {name: 1, "$db": "admin", **fields}
        plain = dict(wire_value(command))
        return driven(self.login.handle(name, plain, self.gate))

    def first(self) -> bytes:
        return str(self.scram.get_client_first()).encode()

    def final(self, reply: dict[str, Any]) -> bytes:
        self.scram.set_server_first(reply["payload"].decode())
        return str(self.scram.get_client_final()).encode()

    def start(self, **fields: Any) -> dict[str, Any]:
        payload = fields.pop("payload") if "payload" in fields else self.first()
        return self.handle(
            "saslStart", **{"mechanism": SCRAM_SHA_256, "payload": payload, **fields}
        )

    def go_on(self, payload: Any, **fields: Any) -> dict[str, Any]:
        return self.handle("saslContinue", **{"conversationId": 1, "payload": payload, **fields})


SKIP = {"options": {"skipEmptyExchange": True}}


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize(
    ("options", "rounds"),
    [(SKIP, 1), ({}, 2), ({"options": {"skipEmptyExchange": False}}, 2), ({"options": 1}, 2)],
)
def test_a_login(options: dict[str, Any], rounds: int, text: bool) -> None:
    visitor = Visitor()
    reply = visitor.start(**options)
    assert (reply["conversationId"], reply["done"], reply["ok"]) == (1, False, 1.0)
    final = visitor.final(reply)
    reply = visitor.go_on(final.decode() if text else final)
    visitor.scram.set_server_final(reply["payload"].decode())
    assert reply["done"] == (rounds == 1)
    assert visitor.login.claimed == "shop"
    assert visitor.login.mechanism == SCRAM_SHA_256
    if rounds == 2:
        assert visitor.login.holder is None
        reply = visitor.go_on(b"")
        assert (reply["payload"], reply["done"]) == (b"", True)
    assert visitor.login.holder == KNOWN["shop"]


@pytest.mark.parametrize("db", ["admin", "$external", "shop", "whatever"])
def test_any_database_may_be_the_source(db: str) -> None:
    assert Visitor().start(**{"$db": db})["done"] is False


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"mechanism": "SCRAM-SHA-1", "payload": b"n,,n=shop"}, 18),
        ({"mechanism": "PLAIN"}, 18),
        ({"mechanism": "MONGODB-X509"}, 18),
        ({"mechanism": "MONGODB-OIDC"}, 18),
        ({"mechanism": "GSSAPI"}, 18),
        ({"mechanism": "scram-sha-256"}, 18),
        ({"mechanism": 5}, 18),
        ({"mechanism": [SCRAM_SHA_256]}, 18),
        ({"mechanism": {}}, 18),
        ({"payload": 5}, 2),
        ({"payload": None}, 2),
        ({"payload": b"nonsense"}, 18),
        ({"payload": b"\xff"}, 18),
        ({"payload": "n,,n=shop,r=\ud800".encode("utf-8", "surrogatepass")}, 18),
        ({"$db": "local"}, 13),
        ({"$db": "a.b"}, 73),
        ({"$db": {}}, 73),
        ({"$db": []}, 73),
    ],
)
def test_starts_that_fail(fields: dict[str, Any], code: int) -> None:
    visitor = Visitor()
    with pytest.raises(RefusedError) as caught:
        visitor.start(**fields)
    assert caught.value.code == code
    assert visitor.login.holder is None
    with pytest.raises(AuthenticationFailedError):
        visitor.go_on(b"x")


@pytest.mark.parametrize(
    ("user", "password"), [("shop", "wrong"), ("nobody", PASSWORD), ("crm", PASSWORD)]
)
def test_one_text_for_every_reason(user: str, password: str) -> None:
    visitor = Visitor(user, password)
    final = visitor.final(visitor.start())
    with pytest.raises(AuthenticationFailedError) as caught:
        visitor.go_on(final)
    assert (caught.value.reason, caught.value.at) == ("Authentication failed.", "")
    assert visitor.login.claimed == user
    # the connection is as usable as before
    again = visitor.again()
    again.go_on(again.final(again.start(**SKIP)))
    assert again.login.holder == KNOWN["shop"]


@pytest.mark.parametrize("number", [0, 2, None, "1", [1]])
def test_another_conversation_is_no_conversation(number: Any) -> None:
    visitor = Visitor()
    final = visitor.final(visitor.start())
    with pytest.raises(AuthenticationFailedError):
        visitor.go_on(final, conversationId=number)
    with pytest.raises(AuthenticationFailedError):
        visitor.go_on(final)


def test_a_wrong_number_also_ends_a_login_that_lacks_its_last_exchange() -> None:
    visitor = Visitor()
    visitor.go_on(visitor.final(visitor.start()))
    with pytest.raises(AuthenticationFailedError):
        visitor.go_on(b"", conversationId=2)
    with pytest.raises(AuthenticationFailedError):
        visitor.go_on(b"")
    assert visitor.login.holder is None


def test_nothing_to_go_on_with() -> None:
    with pytest.raises(AuthenticationFailedError):
        Visitor().go_on(b"x")


def test_the_proof_counts_once() -> None:
    visitor = Visitor()
    final = visitor.final(visitor.start(**SKIP))
    visitor.go_on(final)
    visitor.login.leave()
    with pytest.raises(AuthenticationFailedError):
        visitor.go_on(final)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"mechanism": "MONGODB-CR", "user": "shop"},
        {"mechanism": SCRAM_SHA_256, "user": "shop"},
        {"mechanism": "MONGODB-X509", "user": 5},
        {"mechanism": "MONGODB-X509", "user": "CN=other"},
        {"mechanism": "MONGODB-X509", "user": "nonsense"},
    ],
)
def test_authenticate_takes_certificates_only(fields: dict[str, Any]) -> None:
    visitor = Visitor(**SAFE)
    with pytest.raises(AuthenticationFailedError):
        visitor.handle("authenticate", **fields)
    assert visitor.login.holder is None


@pytest.mark.parametrize("fields", [{}, {"user": SUBJECT}, {"user": "cn=bot, o=Example"}])
def test_a_certificate(fields: dict[str, Any]) -> None:
    visitor = Visitor(**SAFE)
    reply = visitor.handle("authenticate", mechanism="MONGODB-X509", **fields)
    assert reply == {"dbname": "$external", "user": "bot", "ok": 1.0}
    assert visitor.login.holder == KNOWN["bot"]
    assert visitor.login.mechanism == "MONGODB-X509"
    visitor = Visitor(**SAFE)
    assert visitor.start(mechanism="MONGODB-X509", payload=b"")["done"] is True
    assert visitor.login.holder == KNOWN["bot"]


def test_a_certificate_over_a_wire_that_others_read_is_none() -> None:
    visitor = Visitor(**SAFE | {"secure": False})
    with pytest.raises(AuthenticationFailedError):
        visitor.handle("authenticate", mechanism="MONGODB-X509")
    assert visitor.login.claimed == ""


@pytest.mark.parametrize("options", [{}, SKIP])
def test_one_step_logins_end_at_once(options: dict[str, Any]) -> None:
    visitor = Visitor(**SAFE)
    password = f"\0bot\0{PASSWORD}".encode()
    reply = visitor.start(mechanism="PLAIN", payload=password, **options)
    assert (reply["done"], reply["payload"]) == (True, b"")
    assert visitor.login.holder == KNOWN["bot"]
    assert visitor.login.claimed == "bot"


def test_an_old_client() -> None:
    visitor = Visitor("old", digest("old"))
    visitor.scram = ScramClient([SCRAM_SHA_1], "old", digest("old"), c_nonce=CLIENT_NONCE)
    reply = visitor.start(mechanism=SCRAM_SHA_1, **SKIP)
    visitor.go_on(visitor.final(reply))
    assert visitor.login.holder == KNOWN["old"]


def digest(name: str) -> str:
    text = f"{name}:mongo:{PASSWORD}".encode()
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def shown(visitor: Visitor, **claims: Any) -> dict[str, Any]:
    """Show a token in one payload."""
    said = {"jwt": token(NOW.timestamp(), **claims)}
    return visitor.start(mechanism="MONGODB-OIDC", payload=bson.encode(said))


def test_a_token_and_another_one_on_the_same_connection() -> None:
    visitor = Visitor(**SAFE)
    assert shown(visitor)["done"] is True
    first = visitor.login.holder
    assert first is not None
    assert (first.name, first.app) == ("https://idp.example#ann", "shop")
    assert shown(visitor, exp=NOW.timestamp() + 2 * SECONDS)["done"] is True
    second = visitor.login.holder
    assert second != first
    for claims in ({"sub": "bob"}, {"app": "crm"}, {"exp": 1}):
        with pytest.raises(AuthenticationFailedError):
            shown(visitor, **claims)
        assert visitor.login.holder == second
    for other in (SCRAM_SHA_256, "MONGODB-X509", "PLAIN"):
        with pytest.raises(RefusedError) as caught:
            visitor.start(mechanism=other, payload=b"")
        assert caught.value.code == 20
    assert visitor.login.holder == second


def test_who_has_a_password_shows_no_token() -> None:
    visitor = Visitor(**SAFE)
    visitor.go_on(visitor.final(visitor.start(**SKIP)))
    with pytest.raises(RefusedError) as caught:
        shown(visitor)
    assert caught.value.code == 20


def test_a_persons_client_asks_where_first() -> None:
    rule = replace(RULE, client="our-app")
    visitor = Visitor(**SAFE | {"doors": Doors((rule,), keys=Ring(keys("rsa")))})
    reply = visitor.start(mechanism="MONGODB-OIDC", payload=bson.encode({"n": "ann"}))
    assert reply["done"] is False
    assert bson.decode(reply["payload"]) == {"issuer": rule.issuer, "clientId": "our-app"}
    said = {"jwt": token(NOW.timestamp())}
    assert visitor.go_on(bson.encode(said))["done"] is True
    assert visitor.login.holder is not None


def test_one_mechanism_does_not_go_on_with_another() -> None:
    rule = replace(RULE, client="our-app")
    visitor = Visitor(**SAFE | {"doors": Doors((rule,), keys=Ring(keys("rsa")))})
    final = visitor.final(visitor.start())
    visitor.start(mechanism="MONGODB-OIDC", payload=bson.encode({}))
    with pytest.raises(AuthenticationFailedError):
        visitor.go_on(final)
    visitor = Visitor(**SAFE)
    visitor.go_on(visitor.final(visitor.start()))
    visitor.handle("authenticate", mechanism="MONGODB-X509")
    with pytest.raises(AuthenticationFailedError):
        visitor.go_on(b"")
    assert visitor.login.holder == KNOWN["bot"]


def test_a_second_login_and_the_way_out() -> None:
    visitor = Visitor()
    visitor.go_on(visitor.final(visitor.start(**SKIP)))
    with pytest.raises(RefusedError) as caught:
        visitor.again().start()
    assert caught.value.code == 20
    assert visitor.login.holder is not None, "it stays who it was"
    assert visitor.handle("logout") == {"ok": 1.0}
    assert visitor.login.holder is None
    again = visitor.again()
    again.go_on(again.final(again.start(**SKIP)))
    assert visitor.login.holder is not None


def test_logout_forgets_a_login_that_is_under_way() -> None:
    visitor = Visitor()
    visitor.go_on(visitor.final(visitor.start()))
    visitor.handle("logout")
    with pytest.raises(AuthenticationFailedError):
        visitor.go_on(b"")


def speculative(visitor: Visitor, **fields: Any) -> dict[str, Any] | None:
    payload = fields.pop("payload") if "payload" in fields else Binary(visitor.first())
    inner = {
        "saslStart": 1,
        "mechanism": SCRAM_SHA_256,
        "payload": payload,
        "db": "admin",
        **fields,
    }
    command = dict(wire_value({"hello": 1, "speculativeAuthenticate": inner, "$db": "admin"}))
    return visitor.login.speculate(command, visitor.gate)


@pytest.mark.parametrize("options", [SKIP, {}])
def test_a_login_that_begins_in_hello(options: dict[str, Any]) -> None:
    visitor = Visitor()
    reply = speculative(visitor, **options)
    assert reply is not None
    visitor.go_on(visitor.final(reply))
    if not options:
        visitor.go_on(b"")
    assert visitor.login.holder == KNOWN["shop"]


@pytest.mark.parametrize(
    "fields",
    [
        {"payload": 5},
        {"db": {"a": 1}},
        {"db": ["admin"]},
        {"db": None},
        {"db": "local"},
    ],
)
def test_speculation_that_cannot_be_is_no_failure(fields: dict[str, Any]) -> None:
    visitor = Visitor()
    assert speculative(visitor, **fields) is None
    visitor = visitor.again()
    visitor.go_on(visitor.final(visitor.start(**SKIP)))
    assert visitor.login.holder == KNOWN["shop"]


@pytest.mark.parametrize(
    "fields",
    [
        {"mechanism": "GSSAPI"},
        {"mechanism": "MONGODB-X509"},
        {"mechanism": "MONGODB-OIDC"},
        {"payload": b"nonsense"},
    ],
)
def test_speculation_that_fails(fields: dict[str, Any]) -> None:
    visitor = Visitor()
    with pytest.raises(AuthenticationFailedError):
        speculative(visitor, **fields)
    visitor = visitor.again()
    visitor.go_on(visitor.final(visitor.start(**SKIP)))
    assert visitor.login.holder == KNOWN["shop"]


def test_nothing_slow_is_begun_in_hello() -> None:
    ring = Ring(keys("rsa"), keys("new"))
    visitor = Visitor(**SAFE | {"doors": Doors((RULE,), keys=ring)})
    plain = {"mechanism": "PLAIN", "payload": f"\0bot\0{PASSWORD}".encode()}
    assert speculative(visitor, **plain) is None
    unknown = bson.encode({"jwt": token(NOW.timestamp(), kid="new")})
    assert speculative(visitor, mechanism="MONGODB-OIDC", payload=unknown) is None
    assert (visitor.login.holder, ring.renewed) == (None, 0)
    with pytest.raises(AuthenticationFailedError):
        visitor.go_on(b"")
    assert shown(visitor, kid="new")["done"] is True
    assert ring.renewed == 1


def test_a_certificate_and_a_token_in_hello() -> None:
    visitor = Visitor(**SAFE)
    inner = {"authenticate": 1, "mechanism": "MONGODB-X509"}
    command = dict(wire_value({"hello": 1, "speculativeAuthenticate": inner, "$db": "admin"}))
    reply = visitor.login.speculate(command, visitor.gate)
    assert reply == {"dbname": "$external", "user": "bot", "ok": 1.0}
    assert visitor.login.holder == KNOWN["bot"]
    visitor = Visitor(**SAFE)
    payload = bson.encode({"jwt": token(NOW.timestamp())})
    said = speculative(visitor, mechanism="MONGODB-OIDC", payload=payload, db="$external")
    assert said is not None
    assert said["done"] is True
    assert visitor.login.holder is not None


def test_only_logins_are_speculated_with() -> None:
    for inner in ({"logout": 1}, {"saslContinue": 1}, {}):
        command = dict(wire_value({"hello": 1, "speculativeAuthenticate": inner, "$db": "admin"}))
        assert Login().speculate(command, gate()) is None


@pytest.mark.parametrize("value", [None, 1, [1]])
def test_speculation_that_is_no_document(value: Any) -> None:
    command = dict(wire_value({"hello": 1, "speculativeAuthenticate": value, "$db": "admin"}))
    assert Login().speculate(command, gate()) is None


def test_speculation_when_somebody_is_logged_in() -> None:
    visitor = Visitor()
    visitor.go_on(visitor.final(visitor.start(**SKIP)))
    assert speculative(visitor.again()) is None
    assert visitor.login.holder == KNOWN["shop"]


def test_replies_hold_what_drivers_read() -> None:
    reply = Visitor().start()
    assert list(reply) == ["conversationId", "done", "payload", "ok"]
    assert decoded(bytes(wire_value(reply).data))["payload"] == reply["payload"]
