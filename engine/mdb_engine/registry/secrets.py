"""The secret that all proxies of a database share: made once by whoever comes first."""

from datetime import UTC, datetime
from secrets import token_bytes
from typing import Any, Final

from pymongo.errors import DuplicateKeyError

from mdb_engine.exceptions import ConfigurationError
from mdb_engine.registry.stores import SECRETS, Database, Store, store

SECRET_BYTES: Final = 32
PROXY: Final = "proxy"


async def proxy_secret(database: Database) -> bytes:
    """The proxies' secret, 32 bytes or more; everyone who races for it reads the same.

    Raises:
        ConfigurationError: what is stored is not a secret.
    """
    secrets = store(database, SECRETS)
    found = await secrets.find_one({"_id": PROXY})
    return value(await _make(secrets) if found is None else found)


async def _make(secrets: Store) -> dict[str, Any]:
    made = {"_id": PROXY, "v": token_bytes(SECRET_BYTES), "created_at": datetime.now(UTC)}
    try:
        await secrets.insert_one(made)
    except DuplicateKeyError:
        return await secrets.find_one({"_id": PROXY}) or {}
    return made


def value(document: dict[str, Any]) -> bytes:
    """The secret in a stored document.

    Raises:
        ConfigurationError: it is missing or too short to be one.
    """
    stored = document.get("v")
    if not isinstance(stored, bytes) or len(stored) < SECRET_BYTES:
        raise ConfigurationError(f"the stored secret is not {SECRET_BYTES} bytes or more")
    return bytes(stored)
