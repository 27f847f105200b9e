"""Which extra of the package a manifest needs, and whether it is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Final

from mdb_engine.manifest.model import Manifest

PROVIDERS: Final[Mapping[str, tuple[str, ...]]] = {
    "casbin": ("casbin",),
    "oso": ("oso_cloud", "oso"),
}
"""Provider of `auth.policy`, which is also the name of its extra -> modules; one is enough."""


def installed(module: str) -> bool:
    """Whether a module can be imported; it is not."""
    return find_spec(module) is not None


def missing_extra(manifest: Manifest, there: Callable[[str], bool] = installed) -> str | None:
    """What is missing for the provider that a manifest names, in words; None when nothing is."""
    policy = manifest.auth.policy
    if "provider" not in policy.model_fields_set:
        return None
    modules = PROVIDERS.get(policy.provider, ())
    if not modules or any(there(module) for module in modules):
        return None
    return (
        f"auth.policy.provider is '{policy.provider}', which is not installed:"
        f" pip install mdb-engine[{policy.provider}]"
    )
