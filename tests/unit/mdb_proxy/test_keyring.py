"""The keys of issuers: read from files and a server of our own, kept while it is down."""

import json
import threading
from pathlib import Path
from typing import Any

import jwt
import pytest
import structlog
from structlog.testing import capture_logs

from mdb_proxy import keyring
from mdb_proxy.keyring import FRESH_SECONDS, RETRY_SECONDS, KeyRing, _usable, read_keys
from tests.support.tokens import jwk, private, published

RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})


@pytest.fixture(autouse=True)
def all_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log everything, whatever was configured before."""
    structlog.reset_defaults()
    monkeypatch.setattr(keyring, "log", structlog.get_logger())


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        ([jwk("rsa"), jwk("ec"), jwk("dsa")], {"rsa": RSA, "ec": {"ES256"}, "dsa": {"EdDSA"}}),
        ([jwk("rsa", alg="RS256")], {"rsa": {"RS256"}}),
        ([jwk("rsa", use="sig"), jwk("ec", use="enc")], {"rsa": RSA}),
        ([jwk("rsa", alg="PS512"), jwk("ec", alg="ES384")], {"rsa": {"PS512"}}),
        ([jwk("rsa"), {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"}], {"rsa": RSA}),
        ([jwk("rsa"), {"kty": "nonsense"}, 5, {"kty": "RSA", "n": 5}], {"rsa": RSA}),
        ([jwk("rsa"), {**jwk("ec"), "alg": ["ES256"]}], {"rsa": RSA}),
        ([{**jwk("rsa"), "kid": None}], {"": RSA}),
    ],
)
def test_which_keys_are_usable(entries: list[Any], found: dict[str, Any]) -> None:
    keys = _usable({"keys": entries})
    assert {name: set(key.algorithms) for name, key in keys.items()} == {
        name: set(algorithms) for name, algorithms in found.items()
    }


@pytest.mark.parametrize(
    "document",
    [
        [], "x", {}, {"keys": []}, {"keys": {}}, {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]},
        {"keys": [jwt.algorithms.RSAAlgorithm.to_jwk(private("rsa"), as_dict=True)]},
    ],
)  # fmt: skip
def test_sets_without_a_public_key(document: Any) -> None:
    with pytest.raises(ValueError, match="key"):
        _usable(document)


def test_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [jwk("rsa")]}))
    assert set(read_keys(str(path))) == {"rsa"}
    for text in ("", "[" * 100_000):
        path.write_text(text)
        ring = KeyRing()
        ring.want([str(path)])
        assert ring.renew(str(path)) == b""
        assert not ring.known(str(path))


@pytest.mark.parametrize("path", ["/keys", "/.well-known/openid-configuration"])
def test_from_an_address(path: str) -> None:
    with published("rsa", "ec") as issuer:
        assert set(read_keys(f"{issuer.issuer}{path}")) == {"rsa", "ec"}


@pytest.mark.parametrize(
    "path", ["/nothing", "/list", "/empty", "/moved", "/liar/.well-known/openid-configuration"]
)
def test_addresses_without_keys(path: str) -> None:
    with published("rsa") as issuer, pytest.raises((OSError, ValueError, jwt.PyJWTError)):
        read_keys(f"{issuer.issuer}{path}")


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_an_issuer_is_not_asked_too_often() -> None:
    clock = Clock()
    ring = KeyRing(clock)
    with published("rsa") as issuer:
        source = f"{issuer.issuer}/keys"
        assert not ring.due(source)
        ring.want([source])
        assert (ring.stale(), ring.known(source), ring.due(source)) == ([source], False, True)
        ring.renew(source)
        assert (ring.stale(), ring.known(source), ring.due(source)) == ([], True, False)
        assert ring.find(source, "rsa") == ring.find(source, None)
        assert ring.find(source, "ec") is None
        issuer.kids.append("ec")
        ring.renew(source)
        assert ring.find(source, "ec") is None, "it was asked a moment ago"
        clock.now += RETRY_SECONDS
        assert (ring.due(source), ring.stale()) == (True, [])
        ring.renew(source)
        assert ring.find(source, "ec") is not None
        assert ring.find(source, None) is None, "there are two"
    ring.want([])
    assert (ring.known(source), ring.find(source, "rsa"), ring.renew(source)) == (False, None, b"")


def test_keys_are_kept_while_the_issuer_is_down() -> None:
    clock = Clock()
    ring = KeyRing(clock)
    with published("rsa", "ec") as issuer, capture_logs() as lines:
        source = f"{issuer.issuer}/keys"
        ring.want([source])
        ring.renew(source)
        issuer.down = True
        clock.now += FRESH_SECONDS
        assert ring.stale() == [source]
        ring.renew(source)
        assert ring.find(source, "ec") is not None
        assert ring.stale() == [], "not at once again"
        clock.now += RETRY_SECONDS
        assert ring.stale() == [source]
        issuer.down = False
        issuer.kids.remove("rsa")
        ring.renew(source)
        assert ring.find(source, "rsa") is None
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["keys.failed"]


def test_all_is_read_again_when_that_is_wished() -> None:
    ring = KeyRing(Clock())
    with published("rsa") as issuer:
        source = f"{issuer.issuer}/keys"
        ring.want([source])
        ring.renew(source)
        issuer.kids.append("ec")
        ring.want([source])
        assert ring.known(source), "the same source keeps its keys"
        ring.forget()
        assert ring.stale() == [source]
        ring.renew(source)
        assert ring.find(source, "ec") is not None


def test_who_comes_while_another_asks_waits_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    ring, began, go = KeyRing(Clock()), threading.Event(), threading.Event()
    reads: list[str] = []

    def slow(source: str) -> dict[str, Any]:
        reads.append(source)
        began.set()
        go.wait(10)
        return _usable({"keys": [jwk("rsa")]})

    monkeypatch.setattr(keyring, "read_keys", slow)
    ring.want(["x"])
    first = threading.Thread(target=ring.renew, args=("x",))
    first.start()
    assert began.wait(10)
    assert ring.due("x"), "it is worth waiting"
    second = threading.Thread(target=ring.renew, args=("x",))
    second.start()
    go.set()
    for each in (first, second):
        each.join(10)
    assert reads == ["x"]
    assert ring.find("x", "rsa") is not None
