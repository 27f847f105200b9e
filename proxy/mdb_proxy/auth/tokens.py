"""When a token is believed: whose it is, for whom, until when, and that its issuer signed it.

Source: RFC 7519, RFC 8725. The time is handed in; PyJWT checks the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import jwt

from mdb_proxy.auth.conversation import failed
from mdb_proxy.auth.guests import Doors, Guest, SigningKey, TokenRule

MAX_TOKEN: Final = 32_768
MAX_SUBJECT: Final = 255
"""Characters of `sub` (OpenID Connect Core, section 2)."""

SKEW_SECONDS: Final = 60
"""So much an issuer's clock may be ahead of ours. None behind: what is over is over."""

_LAST: Final = 253_402_300_799
"""The end of the year 9999, in seconds since 1970."""

_PEEK: Final[Any] = {"verify_signature": False}
_CHECKS: Final[Any] = {
    "enforce_minimum_key_length": True,
    "require": ["aud", "exp", "iat", "iss", "sub"],
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
}


class UnknownKeyError(Exception):
    """The token names a key that we have not seen; `source` may have it by now."""

    def __init__(self, source: str) -> None:
        self.source = source
        super().__init__(source)


def judged(token: str, doors: Doors, now: datetime) -> Guest:
    """Who shows a token.

    Raises:
        AuthenticationFailedError: it is not to be believed. UnknownKeyError: not yet.
    """
    if len(token) > MAX_TOKEN or not token.isascii():
        raise failed()
    try:
        peeked = jwt.decode_complete(token, options=_PEEK)
        rule = _rule(peeked["payload"], doors)
        algorithm, key = _key(peeked["header"], rule, doors)
        claims = jwt.decode(
            token,
            key.public,
            algorithms=[algorithm],
            audience=rule.audience,
            issuer=rule.issuer,
            options=_CHECKS,
        )
    except (jwt.PyJWTError, TypeError, ValueError, RecursionError):
        raise failed() from None
    return _guest(claims, rule, now)


def _rule(claims: Mapping[str, Any], doors: Doors) -> TokenRule:
    """The one rule that these claims fit, which nobody has vouched for yet."""
    found = [rule for rule in doors.tokens if rule.opens(claims) is not None]
    if len(found) != 1:
        raise failed()
    return found[0]


def _key(header: Mapping[str, Any], rule: TokenRule, doors: Doors) -> tuple[str, SigningKey]:
    """The algorithm, which both the rule and the key must allow, and the key."""
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in rule.algorithms:
        raise failed()
    if not isinstance(kid, str | None):
        raise failed()
    key = doors.keys.find(rule.source, kid)
    if key is None:
        raise UnknownKeyError(rule.source)
    if algorithm not in key.algorithms:
        raise failed()
    return algorithm, key


def _guest(claims: Mapping[str, Any], rule: TokenRule, now: datetime) -> Guest:
    subject, opened = claims["sub"], rule.opens(claims)
    seconds = now.timestamp()
    ends = min(_number(claims["exp"]), _LAST)
    begins = [_number(claims[name]) for name in ("iat", "nbf") if name in claims]
    if not ends > seconds or not all(begin <= seconds + SKEW_SECONDS for begin in begins):
        raise failed()
    if opened is None or not 0 < len(subject) <= MAX_SUBJECT or not subject.isprintable():
        raise failed()
    expires_at = datetime.fromtimestamp(ends, UTC)
    return Guest(f"{rule.issuer}#{subject}", *opened, rule, expires_at)


def _number(value: Any) -> float:
    """A time as tokens have it; anything else is no time."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise failed()
    return value
