"""The store of credentials: made once, read by every proxy, never holding a password."""

import asyncio
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count, islice
from typing import Any, Final

from pymongo.errors import DuplicateKeyError

from mdb_engine.credentials import (
    SALT_BYTES,
    SCRAM_SHA_256,
    Credential,
    derive,
    from_document,
    to_document,
)
from mdb_engine.exceptions import ConfigurationError
from mdb_engine.registry.stores import CREDENTIALS, Database, store

PASSWORD_BYTES: Final = 24
MAX_NAME: Final = 64
MAX_PER_APP: Final = 1_000
"""How many default names are tried before we give up."""


async def create(
    database: Database,
    slug: str,
    *,
    name: str | None = None,
    role: str = "readWrite",
    password: str | None = None,
) -> tuple[Credential, str]:
    """Make and store a credential; gives it and its password, which is kept nowhere else.

    Args:
        database: the physical database.
        slug: the app.
        name: of the login; by default the slug, else `<slug>-2` and so on.
        role: "readWrite" or "read".
        password: a random one when absent.

    Raises:
        ConfigurationError: the name is taken (by any app) or not legal, the role is unknown, or
            the password is not usable.
    """
    secret = secrets.token_urlsafe(PASSWORD_BYTES) if password is None else password
    # Off the loop: deriving is slow on purpose.
    keys = await asyncio.to_thread(derive, secret, secrets.token_bytes(SALT_BYTES))
    names = iter((name,)) if name is not None else islice(default_names(slug), MAX_PER_APP)
    for candidate in names:
        credential = Credential(candidate, slug, role, {SCRAM_SHA_256: keys})
        document = {**to_document(credential), "created_at": datetime.now(UTC)}
        try:
            await store(database, CREDENTIALS).insert_one(document)
        except DuplicateKeyError:
            continue
        return credential, secret
    raise ConfigurationError(f"the credential name {name or slug} is taken")


def default_names(slug: str) -> Iterator[str]:
    """The slug, then `<slug>-2`, ...; a long slug is cut so that the name stays legal.

    >>> list(islice(default_names("shop"), 3))
    ['shop', 'shop-2', 'shop-3']
    """
    yield slug
    for number in count(2):
        suffix = f"-{number}"
        yield slug[: MAX_NAME - len(suffix)] + suffix


async def read_all(database: Database) -> dict[str, Credential]:
    """Every credential by name, disabled and expired ones too.

    Raises:
        ConfigurationError: a stored one is not readable.
    """
    found = store(database, CREDENTIALS).find({})
    return {document["_id"]: from_document(document) async for document in found}


async def remove(database: Database, name: str) -> bool:
    """Delete a credential; whether there was one."""
    result = await store(database, CREDENTIALS).delete_one({"_id": name})
    return result.deleted_count == 1


async def disable(database: Database, name: str, *, disabled: bool = True) -> bool:
    """Refuse a credential's logins from now on, or allow them again; whether there is one."""
    return await _amend(database, name, {"disabled": disabled})


async def expire(database: Database, name: str, at: datetime | None) -> bool:
    """Refuse a credential's logins from a time on (aware), or never; whether there is one."""
    return await _amend(database, name, {"expires_at": at})


async def lift_limits(database: Database, name: str, *, unlimited: bool = True) -> bool:
    """Let a credential read results without limit (dumps), or not; whether there is one."""
    return await _amend(database, name, {"unlimited": unlimited})


async def _amend(database: Database, name: str, fields: dict[str, Any]) -> bool:
    result = await store(database, CREDENTIALS).update_one({"_id": name}, {"$set": fields})
    return result.matched_count == 1
