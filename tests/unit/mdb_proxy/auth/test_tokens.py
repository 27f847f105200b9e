"""Tokens: which are believed, and every way in which one is not."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdb_engine.exceptions import AuthenticationFailedError
from mdb_proxy.auth import Doors, Guest
from mdb_proxy.auth.tokens import MAX_TOKEN, SKEW_SECONDS, UnknownKeyError, judged
from tests.support.talks import NOW
from tests.support.tokens import ISSUER, RULE, Ring, keys, pem, token

AT = NOW.timestamp()
RING = Ring(keys("rsa", "ec", "dsa"))
DOORS = Doors((RULE,), keys=RING)
ROLES = Doors((replace(RULE, role_claim="may"),), keys=RING)
FIXED = Doors((replace(RULE, app="crm", claim="team", value="sales", role="read"),), keys=RING)
ANYONE = Doors((replace(RULE, app="crm", claim=""),), keys=RING)


def judge(text: str, doors: Doors = DOORS) -> Guest:
    return judged(text, doors, NOW)


@pytest.mark.parametrize(
    ("claims", "doors", "opened"),
    [
        ({}, DOORS, ("shop", "readWrite")),
        ({"kid": "ec"}, DOORS, ("shop", "readWrite")),
        ({"aud": ["other", "mdb"]}, DOORS, ("shop", "readWrite")),
        ({"nbf": AT, "jti": "7"}, DOORS, ("shop", "readWrite")),
        ({"nbf": AT + SKEW_SECONDS, "iat": AT + SKEW_SECONDS}, DOORS, ("shop", "readWrite")),
        ({"exp": AT + 0.5}, DOORS, ("shop", "readWrite")),
        ({"may": "read"}, ROLES, ("shop", "read")),
        ({"may": "readWrite"}, ROLES, ("shop", "readWrite")),
        ({"team": "sales"}, FIXED, ("crm", "read")),
        ({}, ANYONE, ("crm", "readWrite")),
    ],
)
def test_believed(claims: dict[str, Any], doors: Doors, opened: tuple[str, str]) -> None:
    found = judge(token(AT, **claims), doors)
    assert (found.app, found.role) == opened
    assert (found.name, found.rule) == (f"{ISSUER}#ann", doors.tokens[0])
    ends = found.expires_at
    assert ends == datetime.fromtimestamp(claims.get("exp", AT + 300), UTC)
    assert (found.over(NOW), found.over(ends)) == (False, True)


def test_a_token_that_lasts_for_ever_ends_with_the_calendar() -> None:
    for end in (10**30, 1e300, float("inf")):
        ends = judge(token(AT, exp=end)).expires_at
        assert ends is not None
        assert ends.year == 9999


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://other.example"},
        {"iss": ISSUER + "/"},
        {"iss": [ISSUER]},
        {"iss": None},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": {"mdb": 1}},
        {"aud": ["mdb", 5]},
        {"aud": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": ["ann"]},
        {"sub": "a" * 256},
        {"sub": "ann\n"},
        {"sub": "ann\x00"},
        {"sub": "\ud800"},
        {"exp": None},
        {"exp": AT},
        {"exp": AT - 1},
        {"exp": str(AT + 300)},
        {"exp": True},
        {"exp": float("nan")},
        {"exp": [AT + 300]},
        {"iat": None},
        {"iat": AT + SKEW_SECONDS + 1},
        {"iat": "now"},
        {"nbf": AT + SKEW_SECONDS + 1},
        {"nbf": {}},
        {"jti": 5},
        {"app": None},
        {"app": ""},
        {"app": ["shop"]},
        {"app": {"shop": 1}},
        {"app": 5},
        {"app": True},
    ],
)
def test_not_believed(claims: dict[str, Any]) -> None:
    with pytest.raises(AuthenticationFailedError, match=r"^Authentication failed\.$"):
        judge(token(AT, **claims))


@pytest.mark.parametrize(
    ("claims", "doors"),
    [
        ({}, ROLES),
        ({"may": "root"}, ROLES),
        ({"may": ["read"]}, ROLES),
        ({"may": "READ"}, ROLES),
        ({}, FIXED),
        ({"team": "it"}, FIXED),
        ({"team": ["sales"]}, FIXED),
        ({}, Doors((RULE, replace(RULE, claim="", app="crm")), keys=RING)),
        ({}, Doors((RULE, replace(RULE, role="read")), keys=RING)),
        ({"kid": "dsa"}, DOORS),
        ({}, Doors(keys=RING)),
    ],
)
def test_rules_that_do_not_fit(claims: dict[str, Any], doors: Doors) -> None:
    with pytest.raises(AuthenticationFailedError):
        judge(token(AT, **claims), doors)


def test_other_signatures_when_a_rule_allows_them() -> None:
    doors = Doors((replace(RULE, algorithms=("EdDSA", "PS256")),), keys=RING)
    assert judge(token(AT, kid="dsa"), doors).app == "shop"
    assert judge(token(AT, algorithm="PS256"), doors).app == "shop"
    with pytest.raises(AuthenticationFailedError):
        judge(token(AT), doors)


def part(value: Any) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


HEADER = {"alg": "RS256", "typ": "JWT", "kid": "rsa"}
CLAIMS = {
    "iss": ISSUER, "aud": "mdb", "sub": "ann", "iat": AT, "exp": AT + 300, "app": "shop",
}  # fmt: skip
GOOD = token(AT)
SIGNED = GOOD.rpartition(".")[2]


def forged(secret: bytes, algorithm: str) -> str:
    """Sign with a shared secret; PyJWT itself refuses to take a public key for one."""
    signer = jwt.algorithms.HMACAlgorithm(
        {"HS256": jwt.algorithms.HMACAlgorithm.SHA256}.get(
            algorithm, jwt.algorithms.HMACAlgorithm.SHA512
        )
    )
    text = f"{part({**HEADER, 'alg': algorithm})}.{part(CLAIMS)}"
    return f"{text}.{part(signer.sign(text.encode(), secret))}"


@pytest.mark.parametrize(
    "text",
    [
        f"{part({'alg': 'none', 'kid': 'rsa'})}.{part(CLAIMS)}.",
        f"{part({'alg': 'None', 'kid': 'rsa'})}.{part(CLAIMS)}.",
        f"{part({'alg': '', 'kid': 'rsa'})}.{part(CLAIMS)}.{SIGNED}",
        f"{part({'kid': 'rsa'})}.{part(CLAIMS)}.{SIGNED}",
        f"{part({'alg': ['RS256'], 'kid': 'rsa'})}.{part(CLAIMS)}.{SIGNED}",
        forged(pem("rsa"), "HS256"),
        forged(pem("rsa").strip(), "HS256"),
        forged(pem("rsa"), "HS512"),
        f"{part({**HEADER, 'alg': 'RS512'})}.{part(CLAIMS)}.{SIGNED}",
        f"{part({**HEADER, 'alg': 'ES256'})}.{part(CLAIMS)}.{SIGNED}",
        f"{part({**HEADER, 'kid': 'ec'})}.{part(CLAIMS)}.{SIGNED}",
        f"{part({**HEADER, 'kid': 5})}.{part(CLAIMS)}.{SIGNED}",
        f"{part({**HEADER, 'kid': ['rsa']})}.{part(CLAIMS)}.{SIGNED}",
        f"{part({**HEADER, 'crit': ['exp']})}.{part(CLAIMS)}.{SIGNED}",
        f"{part({**HEADER, 'b64': False, 'crit': ['b64']})}..{SIGNED}",
        f"{part(HEADER)}.{part({**CLAIMS, 'app': 'crm'})}.{SIGNED}",
        f"{part(HEADER)}.{part(CLAIMS)}.",
        f"{part(HEADER)}.{part(CLAIMS)}",
        f"{part(HEADER)}.{part([])}.{SIGNED}",
        f"{part(b'[' * 20_000)}.{part(CLAIMS)}.{SIGNED}",
        f"{part(HEADER)}.{part(b'[' * 20_000)}.{SIGNED}",
        GOOD[:-4] + ("AAAA" if GOOD[-4:] != "AAAA" else "BBBB"),
        GOOD + ".x",
        GOOD + "é",
        GOOD + "\ud800",
        GOOD.replace(".", "", 1),
        "." * 5_000,
        "",
        "x" * (MAX_TOKEN + 1),
    ],
    ids=range(29),
)
def test_forged(text: str) -> None:
    with pytest.raises(AuthenticationFailedError):
        judge(text)


def test_a_key_that_is_in_the_token_is_not_looked_at() -> None:
    """`jwk`, `jku`, `x5u`: the keys are those of the configuration."""
    header = {"jwk": {"kty": "oct", "k": part(b"secret" * 8)}, "jku": "https://evil/keys"}
    said = jwt.encode(CLAIMS, "secret" * 8, "HS256", headers={"kid": "rsa", **header})
    with pytest.raises(AuthenticationFailedError):
        judge(said)


@pytest.mark.parametrize("kid", ["unknown", "", "../../etc/passwd"])
def test_an_unknown_key_is_asked_for(kid: str) -> None:
    text = f"{part({**HEADER, 'kid': kid})}.{part(CLAIMS)}.{SIGNED}"
    ring = Ring(keys("rsa")) if kid else Ring({})
    with pytest.raises(UnknownKeyError) as caught:
        judge(text, Doors((RULE,), keys=ring))
    assert caught.value.source == RULE.source


@given(st.text(max_size=200), st.integers(0, len(GOOD) - 1), st.characters())
def test_junk_is_not_believed(junk: str, at: int, other: str) -> None:
    changed = GOOD[:at] + other + GOOD[at + 1 :]
    for text in (junk, changed):
        try:
            found = judge(text)
        except (AuthenticationFailedError, UnknownKeyError):
            continue
        assert found == judge(GOOD), "the last bits of base64 carry nothing"
