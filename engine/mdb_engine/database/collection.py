"""A collection of one app: PyMongo's methods, each phrased as a logical command."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mdb_engine.database.defining import Defining
from mdb_engine.database.reading import Reading
from mdb_engine.database.rim import Options
from mdb_engine.database.writing import Writing


class ScopedCollection(Reading, Writing, Defining):
    """What `db.<name>` gives: a collection whose documents are the app's own, all of them."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """The logical name."""
        return self._name

    @property
    def full_name(self) -> str:
        """Logical database and name."""
        return f"{self._rim.scope().home[0]}.{self._name}"

    @property
    def codec_options(self) -> Any:
        """How documents become Python's."""
        return self._options.codec

    @property
    def read_preference(self) -> Any:
        """Which member is read from; None: as the client's URI says."""
        return self._options.read_preference

    @property
    def read_concern(self) -> Any:
        """How safe what is read must be; None: as the client's URI says."""
        return self._options.read_concern

    @property
    def write_concern(self) -> Any:
        """How safe what is written must be; None: as the client's URI says."""
        return self._options.write_concern

    def with_options(
        self,
        codec_options: Any = None,
        read_preference: Any = None,
        write_concern: Any = None,
        read_concern: Any = None,
    ) -> ScopedCollection:
        """The same collection, read and written in another way."""
        return ScopedCollection(
            self._rim,
            self._name,
            merged(self._options, codec_options, read_preference, write_concern, read_concern),
        )

    def __getattr__(self, name: str) -> ScopedCollection:
        if name.startswith("_"):
            msg = f"a collection has no attribute {name!r}; write [{name!r}] for a collection"
            raise AttributeError(msg)
        return self[name]

    def __getitem__(self, name: str) -> ScopedCollection:
        """The collection `<this name>.<name>`."""
        return ScopedCollection(self._rim, f"{self._name}.{name}", self._options)

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Refuse: a method that does not exist looks like a collection.

        Raises:
            TypeError: always.
        """
        msg = f"a collection has no method {self._name.rpartition('.')[2]!r}"
        raise TypeError(msg)

    def __bool__(self) -> bool:
        msg = "a collection has no truth value; compare it with None"
        raise NotImplementedError(msg)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ScopedCollection):
            return (self.full_name, self._rim.scope().slug) == (
                other.full_name,
                other._rim.scope().slug,
            )
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self._name, self._rim.scope().slug))

    def __repr__(self) -> str:
        return f"ScopedCollection({self._name!r}, app={self._rim.scope().slug!r})"


def merged(
    options: Options,
    codec_options: Any,
    read_preference: Any,
    write_concern: Any,
    read_concern: Any,
) -> Options:
    """Options, with those replaced that are given."""
    given = {
        "codec": codec_options,
        "read_preference": read_preference,
        "write_concern": write_concern,
        "read_concern": read_concern,
    }
    return replace(options, **{name: value for name, value in given.items() if value is not None})
