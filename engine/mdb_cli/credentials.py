"""What `mdb apps credentials` does: one short visit to the cluster per command."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pymongo.asynchronous.database import AsyncDatabase

from mdb_cli.cluster import cluster
from mdb_cli.uris import app_uri, quoted, reachable
from mdb_engine.credentials import Credential
from mdb_engine.registry import credentials, ledger
from mdb_proxy.config import ProxySettings
from mdb_proxy.listeners import Listening

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for: an app, a name or None, a role, a password or None, the proxy."""

    slug: str
    name: str | None
    role: str
    password: str | None = field(repr=False)
    proxy: Listening


@dataclass(frozen=True, slots=True)
class Made:
    """What was made; `known`: the app is in the ledger."""

    name: str
    password: str = field(repr=False)
    uri: str = field(repr=False)
    known: bool


def create_credential(settings: ProxySettings, order: Order) -> Made:
    """Store a new credential.

    Raises:
        ConfigurationError: the name is taken, or name, role or password are not legal.
    """

    async def work(database: AsyncDatabase[dict[str, Any]]) -> Made:
        entry = (await ledger.entries(database)).get(order.slug)
        credential, password = await credentials.create(
            database, order.slug, name=order.name, role=order.role, password=order.password
        )
        place = order.proxy
        address = quoted(place.path) if place.path else reachable(place.host, place.port)
        home = entry.home[0] if entry and entry.home else order.slug
        options = "?tls=true" if place.tls else ""
        uri = app_uri(credential.name, password, address, home) + options
        return Made(credential.name, password, uri, known=entry is not None)

    return _visit(settings, work)


def list_credentials(settings: ProxySettings) -> list[Credential]:
    """Give all credentials, by app and name."""

    async def work(database: AsyncDatabase[dict[str, Any]]) -> list[Credential]:
        found = await credentials.read_all(database)
        return sorted(found.values(), key=lambda row: (row.app, row.name))

    return _visit(settings, work)


def remove_credential(settings: ProxySettings, name: str) -> bool:
    """Remove a credential; False: there was none."""

    async def work(database: AsyncDatabase[dict[str, Any]]) -> bool:
        return await credentials.remove(database, name)

    return _visit(settings, work)


def disable_credential(settings: ProxySettings, name: str) -> bool:
    """Refuse the credential's logins from now on; False: there is none."""

    async def work(database: AsyncDatabase[dict[str, Any]]) -> bool:
        return await credentials.disable(database, name)

    return _visit(settings, work)


def _visit(
    settings: ProxySettings, work: Callable[[AsyncDatabase[dict[str, Any]]], Awaitable[Result]]
) -> Result:
    """Do the work with the physical database at hand."""

    async def visit() -> Result:
        async with cluster(settings.mongo_uri.get_secret_value()) as client:
            return await work(client[settings.db_name])

    return asyncio.run(visit())
