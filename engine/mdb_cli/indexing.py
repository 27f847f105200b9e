"""Plans and applies the indexes of manifests: short visits to the cluster."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from mdb_cli.cluster import cluster
from mdb_engine.exceptions import ConfigurationError
from mdb_engine.indexes import Report, apply_indexes, plan_indexes
from mdb_engine.manifest import Manifest, load_folder
from mdb_engine.registry.ledger import slugs
from mdb_proxy.config import ProxySettings, load_settings

Row = dict[str, str]
Work = Callable[[Any, Manifest], Awaitable[Report]]


def planned(flags: Mapping[str, Any], slug: str | None) -> list[Row]:
    """What applying would do, a row per index: `{app, outcome, index}`.

    Raises:
        ConfigurationError: no such manifest, or the app was never served on this cluster.
    """
    return asyncio.run(_visited(flags, slug, plan_indexes))


def applied(flags: Mapping[str, Any], slug: str | None, *, replace: bool) -> list[Row]:
    """Apply, and say what became of each.

    Raises:
        ConfigurationError: as `planned`.
    """
    return asyncio.run(_visited(flags, slug, partial(apply_indexes, replace=replace)))


async def _visited(flags: Mapping[str, Any], slug: str | None, work: Work) -> list[Row]:
    settings = load_settings(ProxySettings, dict(flags))
    manifests = chosen(load_folder(settings.manifests), slug)
    async with cluster(settings.mongo_uri.get_secret_value()) as client:
        database = client[settings.db_name]
        known = await slugs(database)
        for name in manifests:
            if name not in known:
                msg = f"the app {name} was never served on this cluster"
                raise ConfigurationError(msg)
        return [
            row
            for name, each in manifests.items()
            for row in rows(name, await work(database, each))
        ]


def chosen(manifests: Mapping[str, Manifest], slug: str | None) -> Mapping[str, Manifest]:
    """All manifests, or one of them.

    Raises:
        ConfigurationError: there is none of that slug.
    """
    if slug is None:
        return manifests
    if slug not in manifests:
        msg = f"there is no manifest of {slug}"
        raise ConfigurationError(msg)
    return {slug: manifests[slug]}


def rows(app: str, report: Report) -> list[Row]:
    """A report as rows."""
    return [
        {"app": app, "outcome": outcome, "index": text}
        for outcome, texts in asdict(report).items()
        for text in texts
    ]
