"""The store of credentials: made once, read by every proxy, never holding a password."""

import asyncio
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import Any, Final

from pymongo.errors import DuplicateKeyError

from mdb_engine.credentials import (
    SALT_BYTES,
    SCRAM_SHA_1,
    SCRAM_SHA_256,
    Credential,
    ScramKeys,
    check_name,
    derive,
    derive_sha_1,
    from_document,
    to_document,
)
from mdb_engine.exceptions import ConfigurationError
from mdb_engine.registry.stores import CREDENTIALS, Database, store
from mdb_engine.subjects import canonical

PASSWORD_BYTES: Final = 24
MAX_NAME: Final = 64
MAX_PER_APP: Final = 1_000
"""How many default names are tried before we give up."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a new credential may do, how it is proven besides by a password, and until when.

    Attributes:
        role: "readWrite" or "read". sha_1: clients that only know SCRAM-SHA-1 may come.
        plain: the password may come as it is, over TLS.
        subject: of a certificate that opens it; then there is no password unless one is given.
        expires_at: aware; None for never. unlimited: results are not limited.
    """

    role: str = "readWrite"
    sha_1: bool = False
    plain: bool = False
    subject: str = ""
    expires_at: datetime | None = None
    unlimited: bool = False


USUAL: Final = Terms()


async def create(
    database: Database,
    slug: str,
    *,
    name: str | None = None,
    password: str | None = None,
    terms: Terms = USUAL,
) -> tuple[Credential, str]:
    """Make and store a credential; gives it and its password, which is kept nowhere else.

    Args:
        database: the physical database.
        slug: the app.
        name: of the login; by default the slug, else `<slug>-2` and so on.
        password: a random one when absent, or none where a certificate proves it.
        terms: what else it is.

    Raises:
        ConfigurationError: the name or the subject is taken (by any app) or not legal, the role
            is unknown, or the password is not usable.
    """
    subject = canonical(terms.subject) if terms.subject else ""
    secret = _password(password, terms)
    if subject:
        await _unique_subjects(database)
    known = {} if not secret else await asyncio.to_thread(_keys, secret)
    names = iter((name,)) if name is not None else islice(default_names(slug), MAX_PER_APP)
    for candidate in names:
        more = await asyncio.to_thread(_old_keys, candidate, secret) if terms.sha_1 else {}
        credential = Credential(
            candidate,
            slug,
            terms.role,
            {**known, **more},
            expires_at=terms.expires_at,
            unlimited=terms.unlimited,
            plain=terms.plain,
            x509=subject,
        )
        document = {**to_document(credential), "created_at": datetime.now(UTC)}
        try:
            await store(database, CREDENTIALS).insert_one(document)
        except DuplicateKeyError as error:
            if "x509" in (error.details or {}).get("keyPattern", ()):
                raise ConfigurationError("the subject is that of another credential") from None
            continue
        return credential, secret
    raise ConfigurationError(f"the credential name {name or slug} is taken")


def _password(given: str | None, terms: Terms) -> str:
    if given is not None:
        if not given:
            raise ConfigurationError("the password is empty")
        return given
    if terms.subject:
        if terms.plain or terms.sha_1:
            raise ConfigurationError("what is proven by a certificate alone has no password")
        return ""
    return secrets.token_urlsafe(PASSWORD_BYTES)


def _keys(password: str) -> dict[str, ScramKeys]:
    """Slow on purpose: not on the loop."""
    salt = secrets.token_bytes(SALT_BYTES[SCRAM_SHA_256])
    return {SCRAM_SHA_256: derive(password, salt)}


def _old_keys(name: str, password: str) -> dict[str, ScramKeys]:
    check_name(name)
    salt = secrets.token_bytes(SALT_BYTES[SCRAM_SHA_1])
    return {SCRAM_SHA_1: derive_sha_1(name, password, salt)}


async def _unique_subjects(database: Database) -> None:
    """One subject opens one credential, whoever writes it."""
    which = {"x509": {"$type": "string"}}
    await store(database, CREDENTIALS).create_index(
        "x509", unique=True, partialFilterExpression=which
    )


async def rotate(
    database: Database, name: str, *, grace: timedelta, password: str | None = None
) -> tuple[Credential, str]:
    """Make a second credential that may do what this one may, which ends after the grace time.

    Both work until then. Gives the new one and its password.

    Raises:
        ConfigurationError: there is none of that name, it does not work any more, or it has no
            password.
    """
    now = datetime.now(UTC)
    found = await store(database, CREDENTIALS).find_one({"_id": name})
    if found is None:
        raise ConfigurationError(f"there is no credential {name}")
    old = from_document(found)
    if not old.live(now):
        raise ConfigurationError(f"the credential {name} is disabled or has expired")
    if SCRAM_SHA_256 not in old.scram:
        raise ConfigurationError(f"the credential {name} has no password; renew its certificate")
    terms = Terms(old.role, SCRAM_SHA_1 in old.scram, old.plain, unlimited=old.unlimited)
    made = await create(database, old.app, password=password, terms=terms)
    end = now + grace
    await expire(database, name, end if old.expires_at is None else min(end, old.expires_at))
    return made


def default_names(slug: str) -> Iterator[str]:
    """The slug, then `<slug>-2`, ...; a long slug is cut so that the name stays legal.

    >>> list(islice(default_names("shop"), 3))
    ['shop', 'shop-2', 'shop-3']
    """
    yield slug
    for number in count(2):
        suffix = f"-{number}"
        yield slug[: MAX_NAME - len(suffix)] + suffix


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store holds.

    Attributes:
        known: by name, disabled and expired ones too.
        unreadable: names (shortened) of documents that are no credentials.
    """

    known: Mapping[str, Credential]
    unreadable: tuple[str, ...] = ()


async def read_all(database: Database) -> Stored:
    """Every credential; a document that is none does not keep the others from being served."""
    known: dict[str, Credential] = {}
    unreadable: list[str] = []
    async for document in store(database, CREDENTIALS).find({}):
        try:
            credential = from_document(document)
        except ConfigurationError:
            unreadable.append(f"{document['_id']!s:.{MAX_NAME}}")
        else:
            known[credential.name] = credential
    return Stored(known, tuple(sorted(unreadable)))


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
