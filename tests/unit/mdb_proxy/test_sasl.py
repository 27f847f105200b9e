"""SASL on the wire: whole logins in every form, and what happens to the others."""

from typing import Any

import pytest
from bson import Binary
from scramp import ScramClient

from mdb_engine.credentials import SCRAM_SHA_256, Credential
from mdb_engine.exceptions import AuthenticationFailedError, RefusedError
from mdb_proxy.sasl import Login
from tests.support.talks import CLIENT_NONCE, PASSWORD, SECRET, credential, decoded, wire_value

NONCE = "3rfcNHYJY1ZVvWVs7j"
KNOWN = {"shop": credential()}


def lookup(name: str) -> Credential | None:
    return KNOWN.get(name)


class Visitor:
    """A client that logs in."""

    def __init__(
        self, user: str = "shop", password: str = PASSWORD, login: Login | None = None
    ) -> None:
        self.scram = ScramClient([SCRAM_SHA_256], user, password, c_nonce=CLIENT_NONCE)
        self.login = login or Login()

    def again(self) -> "Visitor":
        """The same connection, from the beginning."""
        return Visitor(login=self.login)

    def handle(self, name: str, **fields: Any) -> dict[str, Any]:
        command = {name: 1, "$db": "admin", **fields}
        plain = dict(wire_value(command))
        return self.login.handle(name, plain, lookup, NONCE, SECRET)

    def first(self) -> bytes:
        return str(self.scram.get_client_first()).encode()

    def final(self, reply: dict[str, Any]) -> bytes:
        self.scram.set_server_first(reply["payload"].decode())
        return str(self.scram.get_client_final()).encode()

    def start(self, **fields: Any) -> dict[str, Any]:
        given = {"mechanism": SCRAM_SHA_256, "payload": self.first(), **fields}
        return self.handle("saslStart", **given)

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
        assert visitor.login.credential is None
        reply = visitor.go_on(b"")
        assert (reply["payload"], reply["done"]) == (b"", True)
    assert visitor.login.credential == KNOWN["shop"]


@pytest.mark.parametrize("db", ["admin", "$external", "shop", "whatever"])
def test_any_database_may_be_the_source(db: str) -> None:
    assert Visitor().start(**{"$db": db})["done"] is False


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"mechanism": "SCRAM-SHA-1"}, 18),
        ({"mechanism": "PLAIN"}, 18),
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
    assert visitor.login.credential is None
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
    assert again.login.credential == KNOWN["shop"]


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
    assert visitor.login.credential is None


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


def test_authenticate_is_no_way_in() -> None:
    with pytest.raises(AuthenticationFailedError):
        Visitor().handle("authenticate", mechanism="MONGODB-X509", user="CN=x")


def test_a_second_login_and_the_way_out() -> None:
    visitor = Visitor()
    visitor.go_on(visitor.final(visitor.start(**SKIP)))
    with pytest.raises(RefusedError) as caught:
        visitor.again().start()
    assert caught.value.code == 20
    assert visitor.login.credential is not None, "it stays who it was"
    assert visitor.handle("logout") == {"ok": 1.0}
    assert visitor.login.credential is None
    again = visitor.again()
    again.go_on(again.final(again.start(**SKIP)))
    assert visitor.login.credential is not None


def test_logout_forgets_a_login_that_is_under_way() -> None:
    visitor = Visitor()
    visitor.go_on(visitor.final(visitor.start()))
    visitor.handle("logout")
    with pytest.raises(AuthenticationFailedError):
        visitor.go_on(b"")


def speculative(visitor: Visitor, **fields: Any) -> dict[str, Any] | None:
    inner = {
        "saslStart": 1,
        "mechanism": SCRAM_SHA_256,
        "payload": Binary(visitor.first()),
        "db": "admin",
        **fields,
    }
    command = dict(wire_value({"hello": 1, "speculativeAuthenticate": inner, "$db": "admin"}))
    return visitor.login.speculate(command, lookup, NONCE, SECRET)


@pytest.mark.parametrize("options", [SKIP, {}])
def test_a_login_that_begins_in_hello(options: dict[str, Any]) -> None:
    visitor = Visitor()
    reply = speculative(visitor, **options)
    assert reply is not None
    visitor.go_on(visitor.final(reply))
    if not options:
        visitor.go_on(b"")
    assert visitor.login.credential == KNOWN["shop"]


@pytest.mark.parametrize(
    "fields",
    [
        {"mechanism": "SCRAM-SHA-1"},
        {"mechanism": "MONGODB-X509"},
        {"payload": 5},
        {"db": {"a": 1}},
        {"db": ["admin"]},
        {"db": None},
        {"db": "local"},
    ],
)
def test_speculation_that_comes_to_nothing_is_no_failure(fields: dict[str, Any]) -> None:
    visitor = Visitor()
    assert speculative(visitor, **fields) is None
    visitor = visitor.again()
    visitor.go_on(visitor.final(visitor.start(**SKIP)))
    assert visitor.login.credential == KNOWN["shop"]


@pytest.mark.parametrize("value", [None, 1, [1]])
def test_speculation_that_is_no_document(value: Any) -> None:
    command = dict(wire_value({"hello": 1, "speculativeAuthenticate": value, "$db": "admin"}))
    assert Login().speculate(command, lookup, NONCE, SECRET) is None


def test_speculation_when_somebody_is_logged_in() -> None:
    visitor = Visitor()
    visitor.go_on(visitor.final(visitor.start(**SKIP)))
    assert speculative(visitor.again()) is None
    assert visitor.login.credential == KNOWN["shop"]


def test_replies_hold_what_drivers_read() -> None:
    reply = Visitor().start()
    assert list(reply) == ["conversationId", "done", "payload", "ok"]
    assert decoded(bytes(wire_value(reply).data))["payload"] == reply["payload"]
