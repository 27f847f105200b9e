"""Credentials: names, keys, the stored form, and that nothing secret is ever shown."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import bson
import pytest
from scramp import ScramClient, ScramMechanism

from mdb_engine.credentials import (
    SCRAM_SHA_256,
    Credential,
    ScramKeys,
    check_name,
    derive,
    derive_sha_1,
    from_document,
    to_document,
)
from mdb_engine.exceptions import ConfigurationError

NOW = datetime(2026, 3, 1, tzinfo=UTC)
KEYS = ScramKeys(b"s" * 28, 15_000, b"k" * 32, b"v" * 32)


def credential(**changes: Any) -> Credential:
    fields: dict[str, Any] = {
        "name": "shop",
        "app": "shop",
        "role": "readWrite",
        "scram": {SCRAM_SHA_256: KEYS},
    }
    return Credential(**(fields | changes))


@pytest.mark.parametrize("name", ["a", "shop-2", "Ann.Lee_3", "x" * 64])
def test_legal_names(name: str) -> None:
    check_name(name)
    assert credential(name=name).name == name


@pytest.mark.parametrize("name", ["", "x" * 65, "shop\n", "a b", "a,b", "n=1", "é", "a/b"])
def test_illegal_names(name: str) -> None:
    with pytest.raises(ConfigurationError):
        check_name(name)
    with pytest.raises(ConfigurationError):
        credential(name=name)


@pytest.mark.parametrize("role", ["", "root", "readwrite", "READ"])
def test_unknown_roles(role: str) -> None:
    with pytest.raises(ConfigurationError):
        credential(role=role)


@pytest.mark.parametrize(
    ("changes", "live"),
    [
        ({}, True),
        ({"disabled": True}, False),
        ({"expires_at": NOW + timedelta(seconds=1)}, True),
        ({"expires_at": NOW}, False),
        ({"expires_at": NOW.astimezone(timezone(timedelta(hours=5)))}, False),
        ({"expires_at": NOW - timedelta(days=1)}, False),
        ({"expires_at": NOW + timedelta(days=1), "disabled": True}, False),
    ],
)
def test_live(changes: dict[str, Any], live: bool) -> None:
    assert credential(**changes).live(NOW) is live


@pytest.mark.parametrize("password", ["secret", "com,ma=ü", "\u2168 roman", "x" * 200])
def test_derived_keys_open_a_scram_conversation(password: str) -> None:
    keys = derive(password, b"0123456789" * 2, iterations=4_096)
    info = (keys.salt, keys.stored_key, keys.server_key, keys.iterations)
    server = ScramMechanism(SCRAM_SHA_256).make_server(lambda _name: info)
    client = ScramClient([SCRAM_SHA_256], "shop", password)
    server.set_client_first(client.get_client_first())
    client.set_server_first(server.get_server_first())
    server.set_client_final(client.get_client_final())
    client.set_server_final(server.get_server_final())


def test_rfc_7677_example() -> None:
    """The exchange printed in RFC 7677 section 3."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    said = (
        "n=user,r=rOprNGfwEbeRWgbNEkqO",
        f"r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        f"c=biws,r={nonce}",
    )
    keys = derive("pencil", salt, 4_096)
    signature = hmac.digest(keys.server_key, ",".join(said).encode(), "sha256")
    assert base64.b64encode(signature) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@pytest.mark.parametrize(
    ("password", "iterations"), [("", 15_000), ("bell\x07bell", 15_000), ("secret", 4_095)]
)
def test_unusable_passwords(password: str, iterations: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        derive(password, b"s" * 28, iterations)
    assert caught.value.__cause__ is None
    assert not password or password not in str(caught.value)


@pytest.mark.parametrize(
    "original",
    [
        credential(),
        credential(name="shop.ro", role="read", disabled=True, unlimited=True),
        credential(expires_at=NOW),
        credential(scram={}),
        credential(x509=r"CN=a\, b,O=c", plain=True),
    ],
)
def test_stored_and_read_back(original: Credential) -> None:
    stored = bson.decode(bson.encode(to_document(original)))
    assert stored["_id"] == original.name
    assert from_document(stored) == original


def test_other_fields_are_left_alone() -> None:
    stored = {**to_document(credential()), "created_at": NOW, "x509": None}
    assert from_document(stored) == credential()


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"_id": 7, "app": "shop", "role": "read"},
        {"_id": "shop", "role": "read"},
        {"_id": "shop", "app": "shop", "role": "owner"},
        {"_id": "shop", "app": "shop", "role": "read", "scram": {SCRAM_SHA_256: {}}},
        {"_id": "shop", "app": "shop", "role": "read", "scram": 3},
    ],
)
def test_unreadable_documents(stored: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        from_document(stored)


def test_keys_are_never_shown() -> None:
    shown = repr(credential(scram={SCRAM_SHA_256: derive("pw", b"s" * 28, 4_096)}))
    keys = derive("pw", b"s" * 28, 4_096)
    assert repr(keys.stored_key) not in shown
    assert repr(keys.server_key) not in shown
    assert "stored_key" not in shown


def test_the_subject_is_in_our_spelling() -> None:
    assert credential(x509="CN=a,O=b").mechanisms == ("MONGODB-X509", SCRAM_SHA_256)
    with pytest.raises(ConfigurationError):
        credential(x509="cn=a, O=b")
    stored = {**to_document(credential()), "x509": "cn=a, O=b"}
    assert from_document(stored).x509 == "CN=a,O=b"
    for wrong in (5, "a", b"CN=a", ["CN=a"]):
        with pytest.raises(ConfigurationError):
            from_document({**stored, "x509": wrong})


@pytest.mark.parametrize("plain", [None, 1, "true", "false", [], {}])
def test_plain_is_allowed_by_true_alone(plain: Any) -> None:
    assert from_document({**to_document(credential()), "plain": plain}).plain is False
    assert from_document({**to_document(credential()), "plain": True}).plain is True


@pytest.mark.parametrize("password", ["pencil", "com,ma=ü", "x" * 200])
def test_keys_for_old_clients(password: str) -> None:
    keys = derive_sha_1("shop", password, b"0123456789abcdef")
    assert (keys.iterations, len(keys.salt), len(keys.stored_key)) == (10_000, 16, 20)
    digest = hashlib.md5(f"shop:mongo:{password}".encode(), usedforsecurity=False).hexdigest()
    salted = hashlib.pbkdf2_hmac("sha1", digest.encode(), keys.salt, 10_000)
    client = hmac.digest(salted, b"Client Key", "sha1")
    assert keys.stored_key == hashlib.sha1(client, usedforsecurity=False).digest()
    assert keys.server_key == hmac.digest(salted, b"Server Key", "sha1")
    with pytest.raises(ConfigurationError):
        derive_sha_1("shop", "", b"s" * 16)
