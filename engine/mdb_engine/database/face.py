"""What every part of a collection's face knows: its name, how it reads and writes, and the door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mdb_engine.database.bare import Bare
from mdb_engine.database.rim import Ask, Options, Rim
from mdb_engine.database.sessions import ScopedSession
from mdb_engine.rawbson import Document


class Face:
    """Name, options and the door to the cluster. Nothing here leads to the driver."""

    __slots__ = ("__weakref__", "_bared", "_name", "_options", "_rim")

    def __init__(self, rim: Rim, name: str, options: Options) -> None:
        """Check the name.

        Raises:
            RefusedError: it is malformed, reserved or another app's (a ValueError).
        """
        if not isinstance(name, str):
            msg = f"a collection's name is a str, not {type(name).__name__}"
            raise TypeError(msg)
        rim.name(name)
        self._rim, self._name, self._options = rim, name, options
        self._bared: Bare | None = None

    @property
    def _bare(self) -> Bare:
        """The short way of this collection's calls."""
        if self._bared is None:
            self._bared = self._rim.bare(self._name, self._options)
        return self._bared

    def _request(
        self,
        operation: str,
        fields: Mapping[str, Any],
        session: ScopedSession | None = None,
        batch: Mapping[str, Sequence[Document]] | None = None,
    ) -> Ask:
        return Ask(operation, fields, self._options, session, batch or {})

    async def _ask(
        self,
        operation: str,
        fields: Mapping[str, Any],
        session: ScopedSession | None = None,
        batch: Mapping[str, Sequence[Document]] | None = None,
    ) -> Any:
        return await self._rim.ask(self._request(operation, fields, session, batch))

    async def _run(
        self, fields: Mapping[str, Any], session: ScopedSession | None = None
    ) -> dict[str, Any]:
        plain = replace(self._options, codec=self._options.codec.with_options(document_class=dict))
        return await self._rim.run(Ask("run", fields, plain, session))

    def _concern(self) -> Any:
        """The write concern of commands, when this handle has one of its own."""
        concern = self._options.write_concern
        return None if concern is None else concern.document
