"""`auth.policy`: who may do what in the app's own routes."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from mdb_engine.manifest.base import Collection, Email, Flag, Section, Texts


class InitialRole(Section):
    """A role that a user has from the start."""

    user: Email
    role: str
    resource: str = "app"


class InitialPolicy(Section):
    """A permission that a role has from the start."""

    role: str
    resource: str = "documents"
    action: str


class Authorization(Section):
    """`auth.policy.authorization`. `model` is "rbac", "acl" or the path of a model file."""

    model: str = "rbac"
    policies_collection: Collection = "casbin_policies"
    link_users_roles: Flag = True
    default_roles: Texts = ()
    api_key: SecretStr | None = None
    url: str | None = None
    initial_roles: tuple[InitialRole, ...] = ()
    initial_policies: tuple[InitialPolicy, ...] = ()


class Policy(Section):
    """`auth.policy`."""

    required: Flag = True
    provider: Literal["casbin", "oso", "custom"] = "casbin"
    engine: Literal["cloud", "library"] = "cloud"
    class_: Annotated[str | None, Field(alias="class")] = None
    authorization: Authorization = Authorization()
    allowed_roles: Texts = ()
    allowed_users: Texts = ()
    denied_users: Texts = ()
    required_permissions: Texts = ()
    custom_resource: Annotated[str, Field(pattern=r"^[a-z0-9_:]+$")] | None = None
    custom_actions: Texts = ()
    allow_anonymous: Flag = False
    owner_can_access: Flag = True
