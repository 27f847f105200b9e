"""What `mdb apps credentials` does: one short visit to the cluster per command."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from mdb_cli.cluster import cluster
from mdb_cli.uris import app_uri, certificate_uri, quoted, reachable
from mdb_engine.credentials import Credential
from mdb_engine.registry import credentials, ledger
from mdb_engine.registry.credentials import USUAL, Terms
from mdb_engine.registry.stores import Database
from mdb_proxy.config import ProxySettings
from mdb_proxy.listeners import Listening

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for: an app, a name or None, a password or None, the proxy, and the terms."""

    slug: str
    name: str | None
    password: str | None = field(repr=False)
    proxy: Listening
    terms: Terms = USUAL


@dataclass(frozen=True, slots=True)
class Made:
    """What was made; `password` "": there is none. `known`: the app is in the ledger."""

    name: str
    password: str = field(repr=False)
    uri: str = field(repr=False)
    known: bool


def create_credential(settings: ProxySettings, order: Order) -> Made:
    """Store a new credential.

    Raises:
        ConfigurationError: the name is taken, or name, role or password are not legal.
    """

    async def work(database: Database) -> Made:
        made = await credentials.create(
            database, order.slug, name=order.name, password=order.password, terms=order.terms
        )
        return await _shown(database, *made, order.proxy)

    return _visit(settings, work)


def rotate_credential(
    settings: ProxySettings, name: str, grace: timedelta, password: str | None
) -> Made:
    """Make a successor of a credential, which ends after the grace time.

    Raises:
        ConfigurationError: there is none, it does not work any more or has no password.
    """

    async def work(database: Database) -> Made:
        made = await credentials.rotate(database, name, grace=grace, password=password)
        return await _shown(database, *made, settings.listening[0])

    return _visit(settings, work)


async def _shown(
    database: Database, credential: Credential, password: str, place: Listening
) -> Made:
    entry = (await ledger.entries(database)).get(credential.app)
    address = quoted(place.path) if place.path else reachable(place.host, place.port)
    home = entry.home[0] if entry and entry.home else credential.app
    uri = app_uri(credential.name, password, address, home) + ("?tls=true" if place.tls else "")
    if not password:
        uri = certificate_uri(address, home)
    return Made(credential.name, password, uri, known=entry is not None)


def list_credentials(settings: ProxySettings) -> tuple[list[Credential], tuple[str, ...]]:
    """Give all credentials, by app and name, and the names of those that cannot be read."""

    async def work(database: Database) -> tuple[list[Credential], tuple[str, ...]]:
        found = await credentials.read_all(database)
        return sorted(found.known.values(), key=lambda row: (row.app, row.name)), found.unreadable

    return _visit(settings, work)


def remove_credential(settings: ProxySettings, name: str) -> bool:
    """Remove a credential; False: there was none."""

    async def work(database: Database) -> bool:
        return await credentials.remove(database, name)

    return _visit(settings, work)


def disable_credential(settings: ProxySettings, name: str, *, disabled: bool = True) -> bool:
    """Refuse the credential's logins from now on, or allow them again; False: there is none."""

    async def work(database: Database) -> bool:
        return await credentials.disable(database, name, disabled=disabled)

    return _visit(settings, work)


def expire_credential(settings: ProxySettings, name: str, at: datetime | None) -> bool:
    """Refuse the credential's logins from a time on, or never; False: there is none."""

    async def work(database: Database) -> bool:
        return await credentials.expire(database, name, at)

    return _visit(settings, work)


def _visit(settings: ProxySettings, work: Callable[[Database], Awaitable[Result]]) -> Result:
    """Do the work with the physical database at hand."""

    async def visit() -> Result:
        async with cluster(settings.mongo_uri.get_secret_value()) as client:
            return await work(client[settings.db_name])

    return asyncio.run(visit())
