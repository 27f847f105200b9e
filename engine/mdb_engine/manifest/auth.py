"""`auth`: users, roles, logins and what protects them.

A field that is None here and has a second spelling under `token_management` is read there
(`spellings.py`); after loading, `token_management` holds the value that counts.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, SecretStr, Strict

from mdb_engine.manifest.access import Policy
from mdb_engine.manifest.base import Collection, Count, Email, Flag, Section, Texts, Whole

MinuteOrMore = Annotated[int, Strict(), Field(ge=60)]


class DemoUser(Section):
    """A user made at the start for demonstrations; further keys are kept with the user."""

    model_config = ConfigDict(extra="allow")

    email: Email | None = None
    password: SecretStr | None = None
    role: str = "user"
    auto_create: Flag = True
    link_to_platform: Flag = False
    extra_data: dict[str, Any] = Field(default_factory=dict)


class Users(Section):
    """`auth.users`: the app's own users. Times in seconds."""

    enabled: Flag = False
    strategy: Literal["app_users", "anonymous_session", "global_users"] = "app_users"
    collection_name: Collection = "users"
    session_cookie_name: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")] = "app_session"
    session_ttl_seconds: MinuteOrMore = 86_400
    allow_registration: Flag = False
    link_platform_users: Flag = True
    anonymous_user_prefix: str = "guest"
    user_id_field: str = "app_user_id"
    demo_users: tuple[DemoUser, ...] = ()
    auto_link_platform_demo: Flag = True
    demo_user_seed_strategy: Literal["auto", "manual", "disabled"] = "auto"
    allow_demo_access: Flag = False


class RateLimit(Section):
    """`auth.rate_limits.<name>`: attempts per window of seconds."""

    max_attempts: Count | None = None
    window_seconds: Count | None = None


class Audit(Section):
    """`auth.audit`: the log of logins."""

    enabled: Flag = True
    retention_days: Count = 90


class CsrfProtection(Section):
    """`auth.csrf_protection`; a plain boolean stands for `enabled`. `token_ttl` in seconds."""

    enabled: Flag | None = None
    exempt_routes: Texts = ()
    rotate_tokens: Flag = False
    token_ttl: MinuteOrMore = 3_600


class Hsts(Section):
    """`auth.security.hsts`. `max_age` in seconds."""

    enabled: Flag = True
    max_age: Whole = 31_536_000
    include_subdomains: Flag = True
    preload: Flag = False


class Security(Section):
    """`auth.security`."""

    hsts: Hsts = Hsts()


class Jwt(Section):
    """`auth.jwt`."""

    algorithm: Literal["EdDSA", "ES256", "HS256", "RS256"] = "EdDSA"
    token_expiry_hours: Count | None = None


class PasswordPolicy(Section):
    """`auth.password_policy`."""

    min_length: Annotated[int, Strict(), Field(ge=6)] | None = None
    min_entropy_bits: Whole = 50
    require_uppercase: Flag | None = None
    require_lowercase: Flag | None = None
    require_numbers: Flag | None = None
    require_special: Flag | None = None
    check_common_passwords: Flag = True
    check_breaches: Flag = False


class SessionBinding(Section):
    """`auth.session_binding`: what a session must keep between requests."""

    bind_ip: Flag | None = None
    bind_fingerprint: Flag | None = None
    allow_ip_change_with_reauth: Flag | None = None


class OAuth(Section):
    """`auth.oauth.<name>`: a login at an OpenID provider; the secret stands in the environment."""

    issuer: str
    client_id: str
    client_secret_env: str | None = None
    scopes: Texts = ("openid", "email", "profile")
    redirects: Texts = ()


def _switch(value: Any) -> Any:
    return {"enabled": value} if isinstance(value, bool) else value


class Auth(Section):
    """`auth`."""

    mode: Literal["app", "shared"] = "app"
    roles: Texts = ()
    default_role: str | None = None
    require_role: str | None = None
    public_routes: Texts = ()
    policy: Policy = Policy()
    users: Users = Users()
    oauth: dict[str, OAuth] = Field(default_factory=dict)
    rate_limits: dict[str, RateLimit] = Field(default_factory=dict)
    audit: Audit = Audit()
    csrf_protection: Annotated[
        CsrfProtection, BeforeValidator(_switch, json_schema_input_type=bool | CsrfProtection)
    ] = CsrfProtection()
    security: Security = Security()
    jwt: Jwt = Jwt()
    password_policy: PasswordPolicy = PasswordPolicy()
    session_binding: SessionBinding = SessionBinding()
