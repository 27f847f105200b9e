"""An issuer of tokens: its keys, what it signs, and a server that publishes them."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mdb_proxy.auth import SigningKey, TokenRule
from mdb_proxy.keyring import _usable

ISSUER = "https://idp.example"
AUDIENCE = "mdb"
SOURCE = f"{ISSUER}/keys"
SECONDS = 300

RULE = TokenRule(ISSUER, AUDIENCE, SOURCE, ("RS256", "ES256"), claim="app")


@cache
def private(kid: str) -> Any:
    """Give the private key of that name, always the same: `e...` on a curve, `d...` EdDSA."""
    if kid.startswith("e"):
        return ec.generate_private_key(ec.SECP256R1())
    if kid.startswith("d"):
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwk(kid: str, **more: Any) -> dict[str, Any]:
    """Give the public half as issuers publish it."""
    public = private(kid).public_key()
    algorithm = {"e": jwt.algorithms.ECAlgorithm, "d": jwt.algorithms.OKPAlgorithm}.get(
        kid[0], jwt.algorithms.RSAAlgorithm
    )
    return {**algorithm.to_jwk(public, as_dict=True), "kid": kid, **more}


def pem(kid: str) -> bytes:
    """Give the public half as a text, which some take for a shared secret."""
    found: bytes = (
        private(kid).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return found


def token(now: float, *, kid: str | None = "rsa", algorithm: str = "", **claims: Any) -> str:
    """Give a token of the issuer; claims that are None are left out."""
    usual = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ann",
        "iat": now,
        "exp": now + SECONDS,
        "app": "shop",
    }
    said = {name: value for name, value in (usual | claims).items() if value is not None}
    signs = {"e": "ES256", "d": "EdDSA"}.get((kid or "rsa")[0], "RS256")
    headers = {"kid": kid} if kid else None
    payload = json.dumps(said).encode()
    return jwt.PyJWS().encode(payload, private(kid or "rsa"), algorithm or signs, headers)


@dataclass
class Ring:
    """The keys of one issuer, without a network: what `renew` brings is said before."""

    keys: dict[str, SigningKey] | None = None
    coming: dict[str, SigningKey] = field(default_factory=dict)
    may: bool = True
    renewed: int = 0

    def known(self, _source: str) -> bool:
        return self.keys is not None

    def find(self, _source: str, kid: str | None) -> SigningKey | None:
        keys = self.keys or {}
        return keys.get(kid) if kid else next(iter(keys.values()), None)

    def due(self, _source: str) -> bool:
        return self.may

    def renew(self, _source: str) -> bytes:
        self.renewed += 1
        if self.coming:
            self.keys = {**(self.keys or {}), **self.coming}
        return b""


def keys(*kids: str) -> dict[str, SigningKey]:
    """Give public keys as the proxy keeps them."""
    return _usable({"keys": [jwk(kid) for kid in kids]})


@dataclass
class Published:
    """An issuer on this machine; `/token?claim=value` gives a token, `exp` in seconds from now.

    Attributes:
        issuer: its address. kids: the keys that it publishes. asked: the paths asked for.
    """

    issuer: str
    kids: list[str]
    asked: list[str] = field(default_factory=list)
    down: bool = False

    def documents(self) -> Mapping[str, Any]:
        """Give what it answers, by path."""
        return {
            "/keys": {"keys": [jwk(kid) for kid in self.kids]},
            "/.well-known/openid-configuration": {
                "issuer": self.issuer,
                "jwks_uri": f"{self.issuer}/keys",
            },
            "/liar/.well-known/openid-configuration": {
                "issuer": self.issuer,
                "jwks_uri": f"{self.issuer}/keys",
            },
            "/list": [],
            "/empty": {"keys": []},
        }

    def token(self, now: float, **claims: Any) -> str:
        """Give a token of this issuer."""
        return token(now, **{"iss": self.issuer, **claims})


@contextmanager
def published(*kids: str) -> Iterator[Published]:
    """Run an issuer while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            path, _, query = self.path.partition("?")
            document = found.documents().get(path)
            if path == "/token":
                claims = {name: json.loads(text) for name, text in parse_qsl(query)}
                now = time.time()
                claims["exp"] = now + claims.get("exp", SECONDS)
                document = {"access_token": found.token(now, **claims)}
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", f"{found.issuer}/keys")
                self.end_headers()
                return
            self.send_response(503 if found.down else 404 if document is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *_: Any) -> None:
            pass

    for kid in kids:
        private(kid)  # made before several threads ask at once
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Published(f"http://127.0.0.1:{server.server_port}", list(kids))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
