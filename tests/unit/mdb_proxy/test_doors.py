"""The ways in that settings and manifests know."""

import json

from mdb_engine.manifest import Manifest, parse
from mdb_proxy.auth import Doors, Guest, TokenRule
from mdb_proxy.auth.guests import NoKeys
from mdb_proxy.doors import Entrances, doors
from tests.support.tokens import RULE

KEYS = NoKeys()


def manifest(slug: str, **proxy: object) -> Manifest:
    return parse({"slug": slug, "name": "App", "proxy": proxy})


def test_from_settings_and_manifests() -> None:
    entrances = Entrances((RULE,), "db.example.com", True)
    ours = {"issuer": "https://idp.example/", "audience": "shop", "algorithms": ["EdDSA"]}
    team = {**ours, "audience": "all", "claim": "app", "jwks": "keys.json", "role": "read"}
    found = doors(
        entrances,
        [
            manifest("shop", oidc=[ours, team]),
            manifest("crm", oidc=[{**team, "value": "sales"}], x509=[{"subject": "cn=a, O=b"}]),
        ],
        KEYS,
    )
    discovered = "https://idp.example/.well-known/openid-configuration"
    rest = ("https://idp.example/", "all", "keys.json", ("EdDSA",))
    assert found == Doors(
        (
            RULE,
            TokenRule("https://idp.example/", "shop", discovered, ("EdDSA",), app="shop"),
            TokenRule(*rest, app="shop", claim="app", value="shop", role="read"),
            TokenRule(*rest, app="crm", claim="app", value="sales", role="read"),
        ),
        {"CN=a,O=b": Guest("CN=a,O=b", "crm", "readWrite")},
        KEYS,
        "db.example.com",
        True,
    )


def test_packed_and_unpacked() -> None:
    entrances = Entrances((RULE,), "db.example.com", True)
    assert Entrances.unpacked(json.loads(json.dumps(entrances.packed()))) == entrances
    assert Entrances.unpacked(Entrances().packed()) == Entrances()
