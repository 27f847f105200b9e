"""The manifest as a whole: one app, all of its sections."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from mdb_engine.manifest.auth import Auth
from mdb_engine.manifest.base import Email, Flag, Section, Texts, known_keys, unknown_key
from mdb_engine.manifest.collections import CollectionSettings, DataApi
from mdb_engine.manifest.indexes import IndexDefinition
from mdb_engine.manifest.limits import LimitsSection
from mdb_engine.manifest.proxying import Proxy
from mdb_engine.manifest.services import Cors, Embeddings, Memory, Observability, WebSocket
from mdb_engine.manifest.tokens import TokenManagement

OWN_KEYS = "x-"
"""What root keys of an app's own begin with."""


class DataAccess(Section):
    """`data_access`: whose documents the app may read beside its own."""

    read_scopes: Texts = ()
    write_scope: str | None = None
    cross_app_policy: Literal["explicit", "deny_all"] = "explicit"
    expose_app_id: Flag | None = None


def _one(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Names = Annotated[
    tuple[str, ...],
    Field(min_length=1),
    BeforeValidator(_one, json_schema_input_type=str | list[str]),
]


class Manifest(Section):
    """One app. Made by `parse` or the loaders, which check the rules between sections too."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"additionalProperties": False, "patternProperties": {"^x-": {}}},
    )

    schema_: Annotated[str | None, Field(alias="$schema")] = None
    schema_version: Annotated[Literal["2.0"], Field(description="Newest: 2.0")] = "2.0"
    slug: Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?$")]
    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    status: Literal["active", "inactive", "archived", "draft"] = "active"
    developer_id: Email | None = None
    database: Names | None = None
    databases: Literal["any", "home"] = "any"
    data_access: DataAccess = DataAccess()
    limits: LimitsSection = LimitsSection()
    proxy: Proxy = Proxy()
    auth: Auth = Auth()
    token_management: TokenManagement = TokenManagement()
    managed_indexes: dict[str, Annotated[tuple[IndexDefinition, ...], Field(min_length=1)]] = Field(
        default_factory=dict
    )
    collection_settings: dict[str, CollectionSettings] = Field(default_factory=dict)
    data_api: dict[str, DataApi] = Field(default_factory=dict)
    initial_data: dict[str, tuple[dict[str, Any], ...]] = Field(default_factory=dict)
    websockets: dict[str, WebSocket] = Field(default_factory=dict)
    embedding_config: Embeddings = Embeddings()
    memory_config: Memory = Memory()
    cors: Cors = Cors()
    observability: Observability = Observability()
    metadata: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_root_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            known = known_keys(cls)
            for key in data:
                if key not in known and not str(key).startswith(OWN_KEYS):
                    raise unknown_key(str(key), known)
        return data

    @property
    def homes(self) -> tuple[str, ...]:
        """Logical names of the home namespace; the first is the one that is shown."""
        return self.database or (self.slug,)

    @property
    def read_scopes(self) -> tuple[str, ...]:
        """Slugs whose documents the app may read, without its own."""
        if self.data_access.cross_app_policy == "deny_all":
            return ()
        granted = self.data_access.read_scopes
        return tuple(dict.fromkeys(slug for slug in granted if slug != self.slug))

    @property
    def active(self) -> bool:
        """Whether the app is served."""
        return self.status == "active"
