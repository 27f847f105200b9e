import hashlib
from base64 import b64decode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient, ScramException

from mdb_engine.credentials import Credential, derive
from mdb_engine.exceptions import AuthenticationFailedError
from mdb_proxy.auth.conversation import Step
from mdb_proxy.auth.scram import ScramConversation, scram_sha_1, scram_sha_256
from tests.support.talks import PASSWORD, gate, old_keys

KEYS = derive("pencil", b"s" * 28, 4096)
SHOP = Credential("shop-2", "shop", "readWrite", {"SCRAM-SHA-256": KEYS})
CREDENTIALS = {
    "shop-2": SHOP,
    "off": replace(SHOP, name="off", disabled=True),
    "old": replace(SHOP, name="old", scram={"SCRAM-SHA-1": KEYS}),
    "broken": replace(SHOP, name="broken", scram={"SCRAM-SHA-256": replace(KEYS, iterations=1)}),
    "a b": SHOP,
}
FIRST = b"n,,n=shop-2,r=clientnonce"


def begin(nonce: str = "servernonce", secret: bytes = b"k" * 32) -> ScramConversation:
    return scram_sha_256(gate(CREDENTIALS, nonce=nonce, secret=secret))


def login(name: str, password: str) -> Step:
    """Drive both sides to the end."""
    client = ScramClient(["SCRAM-SHA-256"], name, password)
    server = begin()
    first = server.step(client.get_client_first().encode())
    assert (first.done, first.holder) == (False, None)
    client.set_server_first(first.payload.decode())
    final = server.step(client.get_client_final().encode())
    client.set_server_final(final.payload.decode())
    return final


def test_the_right_password_opens() -> None:
    final = login("shop-2", "pencil")
    assert (final.done, final.holder) == (True, SHOP)


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("shop-2", "pencil2"),
        ("nobody", "pencil"),
        ("off", "pencil"),
        ("old", "pencil"),
        ("a b", "pencil"),
        ("x" * 65, "pencil"),
    ],
)
def test_everything_else_fails_at_the_proof(name: str, password: str) -> None:
    with pytest.raises(AuthenticationFailedError, match=r"^Authentication failed\.$"):
        login(name, password)


def test_a_client_can_tell_a_server_that_does_not_know_its_keys() -> None:
    server = begin()
    client = ScramClient(["SCRAM-SHA-256"], "shop-2", "pencil")
    client.set_server_first(server.step(client.get_client_first().encode()).payload.decode())
    server.step(client.get_client_final().encode())
    with pytest.raises(ScramException):
        client.set_server_final("v=AAAA")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"n,,n=shop-2",
        b"n,,n=,r=x",
        b"n,,n=shop-2\0,r=x",
        b"n,a=other,n=shop-2,r=x",
        b"y,,m=ext,n=shop-2,r=x",
        b"p=tls-unique,,n=shop-2,r=x",
        b"n,,n=broken,r=x",
        b"c=biws,r=xy,p=AAAA",
    ],
)
def test_a_malformed_beginning_is_refused_and_ends_it(payload: bytes) -> None:
    server = begin()
    with pytest.raises(AuthenticationFailedError):
        server.step(payload)
    with pytest.raises(AuthenticationFailedError):
        server.step(FIRST)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        FIRST,
        b"c=biws,r=clientnonceservernonce",
        b"c=biws,r=clientnonceservernonce,p=AAAA",
        b"c=biws,r=clientnonceother,p=AAAA",
        b"c=AAAA,r=clientnonceservernonce,p=AAAA",
    ],
)
def test_a_malformed_end_is_refused(payload: bytes) -> None:
    server = begin()
    server.step(FIRST)
    with pytest.raises(AuthenticationFailedError):
        server.step(payload)


def test_a_finished_conversation_answers_no_more() -> None:
    server = begin()
    client = ScramClient(["SCRAM-SHA-256"], "shop-2", "pencil")
    client.set_server_first(server.step(client.get_client_first().encode()).payload.decode())
    final = client.get_client_final().encode()
    assert server.step(final).done
    with pytest.raises(AuthenticationFailedError):
        server.step(final)


def first(name: str, secret: bytes = b"k" * 32) -> dict[str, str]:
    answer = begin(secret=secret).step(f"n,,n={name},r=clientnonce".encode()).payload.decode()
    return dict(part.split("=", 1) for part in answer.split(","))


def test_an_unknown_name_looks_like_a_known_one() -> None:
    known, unknown = first("shop-2"), first("nobody")
    assert list(known) == list(unknown) == ["r", "s", "i"]
    assert known["r"] == unknown["r"] == "clientnonceservernonce"
    assert len(b64decode(unknown["s"])) == len(b64decode(known["s"])) == 28
    assert unknown["i"] == "15000"
    assert first("nobody") == unknown
    assert first("nobody2")["s"] != unknown["s"]
    assert first("nobody", secret=b"other" * 8)["s"] != unknown["s"]
    assert first("off")["s"] != known["s"]


def test_the_claimed_name_is_known_after_the_first_step() -> None:
    server = begin()
    assert server.name == ""
    server.step(FIRST)
    assert server.name == "shop-2"


def test_a_defect_of_the_lookup_is_not_a_failed_login() -> None:
    def lookup(name: str) -> None:
        raise RuntimeError(name)

    with pytest.raises(RuntimeError):
        scram_sha_256(replace(gate(), lookup=lookup)).step(FIRST)


@given(st.lists(st.binary(max_size=60), max_size=3), st.integers(0, 24), st.integers(0, 255))
def test_junk_is_a_failed_login_and_nothing_else(junk: list[bytes], at: int, byte: int) -> None:
    for payloads in (junk, [FIRST[:at] + bytes([byte]) + FIRST[at + 1 :], *junk]):
        server = begin()
        try:
            for payload in payloads:
                assert server.step(payload).holder is None
        except AuthenticationFailedError:
            continue


OLD = replace(SHOP, name="both", scram=old_keys("both"))


def first_of_old(name: str) -> dict[str, str]:
    server = scram_sha_1(gate({"both": OLD, "shop-2": SHOP}))
    answer = server.step(f"n,,n={name},r=clientnonce".encode()).payload.decode()
    return dict(part.split("=", 1) for part in answer.split(","))


def test_sha_1_of_an_unknown_name_looks_like_a_known_one() -> None:
    known, unknown, newer = (first_of_old(name) for name in ("both", "nobody", "shop-2"))
    assert list(known) == list(unknown) == list(newer) == ["r", "s", "i"]
    assert len(b64decode(unknown["s"])) == len(b64decode(known["s"])) == 16
    assert unknown["i"] == known["i"] == newer["i"] == "10000"
    assert unknown["s"] != first("nobody")["s"]


@pytest.mark.parametrize(("name", "opens"), [("both", True), ("shop-2", False), ("nobody", False)])
def test_sha_1_needs_keys_of_its_own(name: str, opens: bool) -> None:
    text = f"{name}:mongo:{PASSWORD}".encode()
    password = hashlib.md5(text, usedforsecurity=False).hexdigest()
    client = ScramClient(["SCRAM-SHA-1"], name, password)
    server = scram_sha_1(gate({"both": OLD, "shop-2": SHOP}))
    client.set_server_first(server.step(client.get_client_first().encode()).payload.decode())
    final = client.get_client_final().encode()
    if opens:
        assert server.step(final).holder == OLD
    else:
        with pytest.raises(AuthenticationFailedError):
            server.step(final)
