"""`token_management`: life and protection of the tokens that the sidecar hands out."""

from typing import Annotated, Literal

from pydantic import Field, Strict

from mdb_engine.manifest.base import Count, Flag, Section

MinuteOrMore = Annotated[int, Strict(), Field(ge=60)]
HourOrMore = Annotated[int, Strict(), Field(ge=3_600)]


class LoginRate(Section):
    """Attempts per window of seconds."""

    max_attempts: Count = 5
    window_seconds: Count = 300


class RegisterRate(Section):
    """Attempts per window of seconds."""

    max_attempts: Count = 3
    window_seconds: Count = 600


class RefreshRate(Section):
    """Attempts per window of seconds."""

    max_attempts: Count = 10
    window_seconds: Count = 60


class RateLimiting(Section):
    """`token_management.security.rate_limiting`."""

    login: LoginRate = LoginRate()
    register_: Annotated[RegisterRate, Field(alias="register")] = RegisterRate()
    refresh: RefreshRate = RefreshRate()


class TokenPasswordPolicy(Section):
    """`token_management.security.password_policy`."""

    allow_plain_text: Flag = False
    min_length: Count = 8
    require_uppercase: Flag = True
    require_lowercase: Flag = True
    require_numbers: Flag = True
    require_special: Flag = False


class SessionFingerprinting(Section):
    """`token_management.security.session_fingerprinting`."""

    enabled: Flag = True
    validate_on_login: Flag = True
    validate_on_refresh: Flag = True
    validate_on_request: Flag = False
    strict_mode: Flag = False


class AccountLockout(Section):
    """`token_management.security.account_lockout`."""

    enabled: Flag = True
    max_failed_attempts: Count = 5
    lockout_duration_seconds: Count = 900
    reset_on_success: Flag = True


class IpValidation(Section):
    """`token_management.security.ip_validation`."""

    enabled: Flag = False
    strict: Flag = False
    allow_ip_change: Flag = True


class TokenFingerprinting(Section):
    """`token_management.security.token_fingerprinting`."""

    enabled: Flag = True
    bind_to_device: Flag = True


class TokenSecurity(Section):
    """`token_management.security`."""

    require_https: Flag = False
    cookie_secure: Literal["auto", "true", "false"] = "auto"
    cookie_samesite: Literal["strict", "lax", "none"] = "lax"
    cookie_httponly: Flag = True
    csrf_protection: Flag = True
    rate_limiting: RateLimiting = RateLimiting()
    password_policy: TokenPasswordPolicy = TokenPasswordPolicy()
    session_fingerprinting: SessionFingerprinting = SessionFingerprinting()
    account_lockout: AccountLockout = AccountLockout()
    ip_validation: IpValidation = IpValidation()
    token_fingerprinting: TokenFingerprinting = TokenFingerprinting()


class TokenManagement(Section):
    """`token_management`. Times in seconds."""

    enabled: Flag = True
    access_token_ttl: MinuteOrMore = 900
    refresh_token_ttl: HourOrMore = 604_800
    token_rotation: Flag = True
    max_sessions_per_user: Count = 10
    session_inactivity_timeout: MinuteOrMore = 1_800
    security: TokenSecurity = TokenSecurity()
    auto_setup: Flag = True
