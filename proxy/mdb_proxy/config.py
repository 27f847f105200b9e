"""Settings: flags over environment over TOML over defaults; alone reads the environment.

Each field is also `MDB_PROXY_<FIELD>` in the environment and a top-level key of `mdb-proxy.toml`
(another file: `MDB_PROXY_CONFIG`). `MONGO_URI` and `MONGO_DB_NAME` are read as well, and the secret
may stand in a file: `MONGO_URI_FILE`.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from mdb_engine.exceptions import ConfigurationError
from mdb_engine.manifest.proxying import Algorithm, RoleName, keys_of
from mdb_proxy.auth import TokenRule
from mdb_proxy.bounds import Bounds
from mdb_proxy.doors import Entrances
from mdb_proxy.listeners import (
    Clients,
    Keys,
    Listening,
    format_address,
    parse_address,
    read_listener,
)

__all__ = ["format_address", "parse_address"]

PREFIX = "MDB_PROXY_"
URI_NAMES = ("MDB_PROXY_MONGO_URI", "MONGO_URI")

Chosen = TypeVar("Chosen", bound="Settings")


def cores() -> int:
    """How many cores this process may use."""
    known = getattr(os, "sched_getaffinity", None)
    return len(known(0)) if known is not None else os.cpu_count() or 1


def environment(**changes: str) -> dict[str, str]:
    """The environment of a process that we start."""
    return {**os.environ, **changes}


class FileSource(PydanticBaseSettingsSource):
    """`MONGO_URI_FILE` in the environment: the path of a file that holds the secret."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Give the content of the file that is named for this field, without its line end."""
        names = URI_NAMES if field_name == "mongo_uri" else ()
        paths = [(name, os.environ.get(f"{name}_FILE")) for name in names]
        found = next((_secret(Path(path), f"{name}_FILE") for name, path in paths if path), None)
        return found, next(iter(names), field_name), False

    def __call__(self) -> dict[str, Any]:
        """Give the values of all fields that are named so, under their first alias."""
        fields = self.settings_cls.model_fields.items()
        found = [self.get_field_value(field, name) for name, field in fields]
        return {key: value for value, key, _ in found if value is not None}


class Issuer(BaseModel):
    """`[[oidc]]`: whose tokens log in as the app that a claim names."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    issuer: str
    audience: str = Field(min_length=1)
    jwks: str | None = Field(None, description="a file or a URL; else the issuer says where")
    algorithms: tuple[Algorithm, ...] = Field(("RS256", "ES256"), min_length=1)
    claim: str = Field(min_length=1, description="its value is the app's slug")
    role: RoleName = "readWrite"
    role_claim: str = Field("", description="its value is the role; a token without it is refused")
    client_id: str = Field("", description="told to people's clients, so that they can ask there")
    scopes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _source(self) -> Self:
        keys_of(self.issuer, self.jwks)
        return self

    def rule(self) -> TokenRule:
        """The rule that tokens are judged by."""
        return TokenRule(
            issuer=self.issuer,
            audience=self.audience,
            source=keys_of(self.issuer, self.jwks),
            algorithms=self.algorithms,
            claim=self.claim,
            role=self.role,
            role_claim=self.role_claim,
            client=self.client_id,
            scopes=self.scopes,
        )


class Settings(BaseSettings, Bounds):
    """What can be set; `mdb dev` embeds a server when no cluster is named."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    mongo_uri: SecretStr | None = Field(
        None, validation_alias=AliasChoices(*URI_NAMES, "mongo_uri"), description="the cluster"
    )
    db_name: str = Field(
        "mdb",
        min_length=1,
        validation_alias=AliasChoices(f"{PREFIX}DB_NAME", "MONGO_DB_NAME", "db_name"),
        description="the physical database that holds all apps",
    )
    manifests: Path = Field(Path("manifests"), description="the folder of <slug>.json files")
    listen: str = Field(
        "127.0.0.1:27018", description="where clients connect; several stand between blanks"
    )
    listeners: list[dict[str, Any]] = Field(
        default_factory=list, description="the same as tables: `listen`, and what it has of its own"
    )
    tls_certificate: Path | None = Field(None, description="PEM: the chain, and perhaps the key")
    tls_key: Path | None = Field(None, description="PEM: the key, where it stands alone")
    tls_client_ca: Path | None = Field(None, description="PEM: who signs clients' certificates")
    tls_client_certificates: Clients = Field("none", description="none, optional or required")
    admin: str | None = Field(None, description="where the admin pages are served")
    workers: int = Field(1, ge=0, description="processes; 0 or auto: one for every core")
    apply_indexes: bool = Field(False, description="make the manifests' indexes at start")
    settle_seconds: float = Field(
        5.0, ge=0, description="how long a new app waits for other proxies to learn of it"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: lines for people on a terminal, JSON elsewhere"
    )
    oidc: tuple[Issuer, ...] = Field((), description="whose tokens log in")
    sni_domain: str = Field(
        "", pattern=r"^([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*)?$", description="<slug>.<domain> is a host"
    )
    sni_required: bool = Field(True, description="with it: no login without a host's name")
    data: Path = Field(Path(".mdb"), description="the folder of `mdb dev`; not used by `serve`")

    @field_validator("listen", mode="before")
    @classmethod
    def _lines(cls, value: Any) -> Any:
        return " ".join(map(str, value)) if isinstance(value, list | tuple) else value

    @field_validator("admin")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None:
            parse_address(value)
        return value

    @model_validator(mode="after")
    def _places(self) -> Self:
        try:
            found = self.listening
        except ConfigurationError as error:
            raise ValueError(f"listen: {error}") from None
        if not found:
            raise ValueError("listen: there is nowhere to listen")
        return self

    @property
    def listening(self) -> tuple[Listening, ...]:
        """The listeners; the default one only where no other is named.

        Raises:
            ConfigurationError: one is not usable.
        """
        usual = Keys(
            certificate=self.tls_certificate,
            key=self.tls_key,
            client_ca=self.tls_client_ca,
            client_certificates=self.tls_client_certificates,
        )
        alone = not self.listeners or "listen" in self.model_fields_set
        lines = [read_listener(line, {}, usual) for line in self.listen.split() if alone]
        tables = [dict(table) for table in self.listeners]
        return (*lines, *(read_listener(str(t.pop("listen", "")), t, usual) for t in tables))

    @property
    def bounds(self) -> Bounds:
        """What clients may take, as a value of its own."""
        return Bounds(**{name: getattr(self, name) for name in Bounds.model_fields})

    @field_validator("workers", mode="before")
    @classmethod
    def _auto(cls, value: Any) -> Any:
        return 0 if value == "auto" else value

    @property
    def entrances(self) -> Entrances:
        """The ways in besides credentials."""
        rules = tuple(each.rule() for each in self.oidc)
        return Entrances(rules, self.sni_domain, not self.sni_required)

    @property
    def processes(self) -> int:
        """How many processes serve."""
        return self.workers or cores()

    @field_validator("mongo_uri")
    @classmethod
    def _uri(cls, value: SecretStr | None) -> SecretStr | None:
        schemes = ("mongodb://", "mongodb+srv://")
        if value is not None and not value.get_secret_value().startswith(schemes):
            raise ValueError("a URI begins with mongodb:// or mongodb+srv://")
        return value

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *sources: Any, **named: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: flags, environment, secret files, TOML."""
        flags, environment, _dotenv, _secrets = sources or tuple(named.values())
        return flags, environment, FileSource(settings_cls), _toml(settings_cls)


class ProxySettings(Settings):
    """What `mdb-proxy serve` needs to know: there is always a cluster."""

    mongo_uri: SecretStr = Field(
        validation_alias=AliasChoices(*URI_NAMES, "mongo_uri"), description="the cluster"
    )


def load_settings(kind: type[Chosen], flags: Mapping[str, Any]) -> Chosen:
    """Give the settings; flags that are None were not given.

    Raises:
        ConfigurationError: a value is missing or not usable; names the setting, never its value.
    """
    try:
        return kind(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise ConfigurationError(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    """One line for the first thing that is wrong."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    name = "mongo_uri" if name in URI_NAMES else name
    if name == "mongo_uri" and first["type"] == "missing":
        return "no cluster is named: give --mongo-uri or set MONGO_URI"
    if first["type"] == "extra_forbidden":
        return f"{name}: there is no such setting"
    said = first["msg"].removeprefix("Value error, ")
    return f"{name}: {said}" if name else said


def _toml(kind: type[BaseSettings]) -> TomlConfigSettingsSource:
    """Give the source that reads the TOML file, which need not exist unless it is named."""
    named = os.environ.get(f"{PREFIX}CONFIG")
    if named and not Path(named).is_file():
        raise ConfigurationError(f"{PREFIX}CONFIG: there is no file {named}")
    path = Path(named or "mdb-proxy.toml")
    try:
        return TomlConfigSettingsSource(kind, path)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _secret(path: Path, name: str) -> str:
    """Give what the file holds, without the line end that editors add."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"{name}: {path}: {error.strerror}") from None
