"""What lies behind a rim: a request meets the kernel, and the driver's objects are laid out for it.

For this room only: what handles hold is made in `rim.py` and `bare.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bson.codec_options import CodecOptions
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from mdb_engine.database.calls import Here
from mdb_engine.database.forms import Codec, logical, ordered
from mdb_engine.database.house import House
from mdb_engine.database.refusals import detailed, statement_error
from mdb_engine.database.sessions import ScopedSession, driver_session
from mdb_engine.exceptions import RefusedError
from mdb_engine.observability.operations import Observer
from mdb_engine.rawbson import Document
from mdb_engine.scope.commands import rewrite
from mdb_engine.scope.model import Scope
from mdb_engine.scope.replies import Asked

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """How a handle reads and writes; None: as the client's URI says."""

    codec: Codec = field(default_factory=CodecOptions)
    read_preference: Any = None
    read_concern: ReadConcern | None = None
    write_concern: WriteConcern | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of a handle.

    Attributes:
        operation: a row of CALLS.
        fields: the logical command in Python's values, without `$db`; None members are left out.
        batch: its documents to store, as bytes, by field.
        more: what the driver's method needs beside the command.
    """

    operation: str
    fields: Fields
    options: Options
    session: ScopedSession | None = None
    batch: Mapping[str, Sequence[Document]] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)


_ON_ADMIN: Final = frozenset({"renameCollection"})


@dataclass(frozen=True, slots=True)
class Door:
    """What lies behind a rim: the physical database, the app's scope now, observer and house."""

    database: AsyncDatabase[Any]
    scope: Callable[[], Scope]
    observer: Observer
    house: House = field(default_factory=House)

    def enter(self, asked: Asked, session: ScopedSession | None) -> None:
        """Refuse what the app may not add or hold now.

        Raises:
            RefusedError: some quota is used up, or the ledger was not read for a while.
        """
        try:
            self.house.check(asked.scope, asked.name, asked.physical.command)
            if session is not None and session.in_transaction:
                self.house.transaction(asked.scope, session)
        except RefusedError as error:
            self.observer.refused(asked.scope.slug, asked.name, error)
            raise


def prepared(ask: Ask, scope: Scope, observer: Observer) -> Asked:
    """The request as the cluster may see it.

    Raises:
        RefusedError: some rule says no, also of one statement of a batch.
    """
    name = next(iter(ask.fields))
    db = "admin" if name in _ON_ADMIN else scope.home[0]
    given = logical({**ask.fields, "$db": db}, ask.options.codec)
    command = {**given, **ask.batch} if ask.batch else given
    try:
        physical = rewrite(command, scope)
        if physical.refused:
            raise statement_error(physical, ask.batch, scope.limits)
    except RefusedError as error:
        observer.refused(scope.slug, name, error)
        raise detailed(error, name) from None
    return Asked(command, physical, scope)


def laid_out(door: Door, request: Ask, asked: Asked) -> Here:
    """The driver's objects for one request; they live as long as it does."""
    options = request.options
    given = asked.physical.command.get("writeConcern")
    concern = WriteConcern(**ordered(given)) if given else options.write_concern
    target = door.database.with_options(
        codec_options=options.codec,
        read_preference=options.read_preference,
        read_concern=options.read_concern,
        write_concern=concern,
    )
    session = driver_session(request.session)
    return Here(target, asked, session, request.more, door.house)
