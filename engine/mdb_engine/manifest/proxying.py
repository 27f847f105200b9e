"""`proxy`: how clients of the wire log in as this app and what the proxy keeps of it."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, Strict, model_validator

from mdb_engine.exceptions import ConfigurationError
from mdb_engine.manifest.base import Flag, Section, broken_rule
from mdb_engine.subjects import canonical

RoleName = Literal["readWrite", "read"]
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]
"""Signatures with a public key only: a key that verifies must not be able to sign."""


DISCOVERY: Final = "/.well-known/openid-configuration"
"""Where an issuer says where its keys are (OpenID Connect Discovery, section 4)."""

ADDRESSES: Final = ("http", "https")
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def check_address(address: str) -> str:
    """Refuse an address whose answers others could change on the way; files may be anywhere.

    Raises:
        ConfigurationError: it is an address without TLS, and not on this machine.
    """
    parts = urlsplit(address)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ConfigurationError("keys are fetched by https")
    return address


def keys_of(issuer: str, keys: str | None) -> str:
    """Where an issuer's keys are: where it is said, or where the issuer itself says.

    Raises:
        ConfigurationError: the issuer is no address, or its keys would come without TLS.
    """
    if urlsplit(issuer).scheme not in ADDRESSES or not set(issuer).isdisjoint("# \t\r\n"):
        raise ConfigurationError("an issuer is an address (https://...), without a fragment")
    return check_address(keys or issuer.rstrip("/") + DISCOVERY)


def _in_our_spelling(subject: str) -> str:
    try:
        return canonical(subject)
    except ConfigurationError as error:
        raise broken_rule(str(error)) from None


class ReadPreference(Section):
    """`proxy.read_preference`; a plain text stands for `mode`. Staleness in seconds."""

    mode: Literal["primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest"]
    tags: tuple[dict[str, str], ...] = ()
    max_staleness_seconds: Annotated[
        int | None, Strict(), Field(alias="maxStalenessSeconds", ge=90)
    ] = None


class Tls(Section):
    """`proxy.tls`."""

    require: Flag = False


class Oidc(Section):
    """`proxy.oidc[]`: a token of this issuer whose claim has this value logs in as the app.

    `jwks` is a file or a URL; by default it is discovered at the issuer. `value` is the slug unless
    it is given.
    """

    issuer: str
    audience: str
    jwks: str | None = None
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("RS256", "ES256")
    claim: str | None = None
    value: str | None = None
    role: RoleName = "readWrite"

    @model_validator(mode="after")
    def _keys(self) -> Self:
        try:
            keys_of(self.issuer, self.jwks)
        except ConfigurationError as error:
            raise broken_rule(str(error)) from None
        return self


class X509(Section):
    """`proxy.x509[]`: a client certificate with this subject logs in as the app."""

    subject: Annotated[str, Field(min_length=1), AfterValidator(_in_our_spelling)]
    role: RoleName = "readWrite"


def _mode(value: Any) -> Any:
    return {"mode": value} if isinstance(value, str) else value


class Proxy(Section):
    """`proxy`."""

    allow_read_only: Flag = False
    read_preference: (
        Annotated[
            ReadPreference,
            BeforeValidator(_mode, json_schema_input_type=str | ReadPreference),
        ]
        | None
    ) = None
    tls: Tls = Tls()
    oidc: tuple[Oidc, ...] = ()
    x509: tuple[X509, ...] = ()
    audit: Literal["off", "writes", "all"] = "off"
    auto_index: Literal["off", "suggest", "create"] = "suggest"


def shared_login(one: Proxy, other: Proxy) -> str | None:
    """How one token or certificate could log in as two apps; None when it cannot.

    >>> shared_login(Proxy(), Proxy()) is None
    True
    """
    subjects = {entry.subject for entry in one.x509} & {entry.subject for entry in other.x509}
    if subjects:
        return "proxy.x509"
    overlap = any(_overlap(a, b) for a in one.oidc for b in other.oidc)
    return "proxy.oidc" if overlap else None


def _overlap(one: Oidc, other: Oidc) -> bool:
    if (one.issuer, one.audience) != (other.issuer, other.audience):
        return False
    # Only one claim with two values tells tokens apart: a token may carry any two claims.
    told_apart = one.claim is not None and one.claim == other.claim and one.value != other.value
    return not told_apart


def as_mongo(preference: ReadPreference) -> Mapping[str, Any]:
    """The `$readPreference` that a driver would send."""
    document: dict[str, Any] = {"mode": preference.mode}
    if preference.tags:
        document["tags"] = [dict(tag) for tag in preference.tags]
    if preference.max_staleness_seconds is not None:
        document["maxStalenessSeconds"] = preference.max_staleness_seconds
    return document
