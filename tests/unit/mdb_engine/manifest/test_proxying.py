"""`proxy`."""

from typing import Any

import pytest

from mdb_engine.exceptions import ManifestValidationError
from mdb_engine.manifest import parse
from mdb_engine.manifest.proxying import Proxy, as_mongo, shared_login

TOKEN = {"issuer": "https://id", "audience": "mdb"}


def proxy(**keys: Any) -> Proxy:
    return parse({"slug": "shop", "name": "Shop", "proxy": keys}).proxy


def test_defaults() -> None:
    found = proxy()
    assert (found.audit, found.auto_index, found.tls.require) == ("off", "suggest", False)
    assert found.read_preference is None


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("secondary", {"mode": "secondary"}),
        (
            {"mode": "nearest", "tags": [{"dc": "a"}, {}], "maxStalenessSeconds": 90},
            {"mode": "nearest", "tags": [{"dc": "a"}, {}], "maxStalenessSeconds": 90},
        ),
    ],
)
def test_read_preference(written: Any, expected: dict[str, Any]) -> None:
    found = proxy(read_preference=written).read_preference
    assert found is not None
    assert as_mongo(found) == expected


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"read_preference": "anywhere"}, "read_preference.mode"),
        (
            {"read_preference": {"mode": "nearest", "maxStalenessSeconds": 5}},
            "read_preference.maxStalenessSeconds",
        ),
        ({"oidc": [{"issuer": "x"}]}, "oidc.0.audience"),
        ({"oidc": [{**TOKEN, "algorithms": ["HS256"]}]}, "oidc.0.algorithms.0"),
        ({"oidc": [{**TOKEN, "algorithms": []}]}, "oidc.0.algorithms"),
        ({"oidc": [{**TOKEN, "role": "root"}]}, "oidc.0.role"),
        ({"oidc": [{**TOKEN, "issuer": "idp"}]}, "oidc.0"),
        ({"oidc": [{**TOKEN, "issuer": "http://idp.example"}]}, "oidc.0"),
        ({"oidc": [{**TOKEN, "jwks": "http://idp.example/keys"}]}, "oidc.0"),
        ({"x509": [{"subject": ""}]}, "x509.0.subject"),
        ({"x509": [{"subject": "/CN=a"}]}, "x509.0.subject"),
        ({"audit": True}, "audit"),
    ],
)
def test_refused(keys: dict[str, Any], path: str) -> None:
    with pytest.raises(ManifestValidationError) as caught:
        proxy(**keys)
    assert caught.value.path == f"proxy.{path}"


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ({}, {}, None),
        ({"x509": [{"subject": "CN=a"}]}, {"x509": [{"subject": "CN=b"}]}, None),
        ({"x509": [{"subject": "CN=a"}]}, {"x509": [{"subject": "CN=a"}]}, "proxy.x509"),
        ({"x509": [{"subject": "CN=a"}]}, {"x509": [{"subject": "cn = a"}]}, "proxy.x509"),
        ({"oidc": [TOKEN]}, {"oidc": [TOKEN]}, "proxy.oidc"),
        ({"oidc": [TOKEN]}, {"oidc": [{**TOKEN, "audience": "b"}]}, None),
        ({"oidc": [TOKEN]}, {"oidc": [{**TOKEN, "claim": "app", "value": "b"}]}, "proxy.oidc"),
        (
            {"oidc": [{**TOKEN, "claim": "app", "value": "a"}]},
            {"oidc": [{**TOKEN, "claim": "app", "value": "b"}]},
            None,
        ),
        (
            {"oidc": [{**TOKEN, "claim": "app", "value": "a"}]},
            {"oidc": [{**TOKEN, "claim": "group", "value": "b"}]},
            "proxy.oidc",
        ),
    ],
)
def test_shared_login(one: dict[str, Any], other: dict[str, Any], shared: str | None) -> None:
    assert shared_login(proxy(**one), proxy(**other)) == shared
    assert shared_login(proxy(**other), proxy(**one)) == shared
