"""Names in texts: what the server says of physical things becomes what the app calls them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mdb_engine.rawbson import Array, Document, find, map_texts
from mdb_engine.scope.model import Scope
from mdb_engine.scope.names import owner, unphysical

_SESSION: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12} - [A-Za-z0-9+/]+=* - +- *"
_APP: Final = r"[a-z0-9][a-z0-9_-]*_(?:@[A-Za-z0-9_%@-]+\.)?[A-Za-z0-9_.-]+"
_GLUED: Final = r"(?<=default collation)"
"""Behind what the server forgets a space (6.0.5)."""

_ENGINE: Final = r"(?:_mdb_engine_|apps_config|system\.|tmp\.)[A-Za-z0-9_.-]*"

NAME_FIELDS: Final = frozenset({"$merge", "$out", "$unionWith", "coll", "from", "into"})
"""Members of an explanation that hold a collection's name without its database."""

HOST_FIELDS: Final = frozenset({"connectionString", "host"})
"""Members of a sharded cluster's explanation that name its members."""

OWN_VALUES: Final = frozenset({
    b"consideredValue", b"consideredValues", b"failingDocumentId", b"keyPattern", b"keyValue",
})  # fmt: skip
"""Members of an error that show the app's own documents: never rewritten."""


@dataclass(frozen=True, slots=True)
class Words:
    """How one command's reply is put into the app's words.

    Attributes:
        scope: whose words. db: the logical database of the command.
        names: physical -> logical namespace of what the command named.
    """

    scope: Scope
    db: str
    names: Mapping[str, str] = field(default_factory=dict)

    def text(self, text: str) -> str:
        """A text without physical names, other apps' names and digests of sessions.

        Planner errors glue the next word to a name (`ns=P.shop_tasksTree`, 6.0.5), so where the
        name of an own collection ends is told by the names that the command used.
        """
        return self._pattern().sub(self._word, text)

    def _pattern(self) -> re.Pattern[str]:
        database = re.escape(self.scope.database)
        known = "|".join(re.escape(n) for n in self._longest_first())
        parts = [
            rf"(?:(?<![A-Za-z0-9_])|{_GLUED}){database}\.(?:system\.buckets\.)?(?P<name>{_APP})",
            rf"(?<![A-Za-z0-9_]){database}\.(?P<engine>{_ENGINE})",
            rf"(?<![A-Za-z0-9_.-])(?P<bare>{known})(?![A-Za-z0-9_-])" if known else "",
            rf"(?<= on ){database}(?= to execute)|(?<=\$db: [\"']){database}(?=[\"'])",
            rf"(?<![A-Za-z0-9_]){database}(?=\.\$cmd)",
            f"(?P<session>{_SESSION})",
        ]
        return re.compile("|".join(part for part in parts if part))

    def _longest_first(self) -> list[str]:
        return sorted(self.names, key=len, reverse=True)

    def _word(self, match: re.Match[str]) -> str:
        found = match.groupdict()
        if found["name"]:
            return self._namespace(found["name"])
        if found["engine"]:
            return f"{self.db}.?"
        if found.get("bare"):
            return self._logical(found["bare"]).partition(".")[2]
        return "" if found["session"] else self.db

    def _namespace(self, token: str) -> str:
        """The namespace that begins with a physical name; what follows the name is kept."""
        name = token.rstrip(".")
        if owner(name, self.scope.slugs) in (self.scope.slug, *self.scope.readable):
            known = (n for n in self._longest_first() if name.startswith(n))
            name = next(known, name)
        return (self._logical(name) or f"{self.db}.?") + token[len(name) :]

    def _logical(self, physical: str) -> str:
        """The namespace of a physical collection; "" when the app has no word for it."""
        if physical in self.names:
            return self.names[physical]
        return ".".join(unphysical(physical, self.scope) or ())

    def texts(self, value: Any) -> Any:
        """An error in the app's words: every string, except those of its own documents."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Document | Array):
            mapped = map_texts(value.data, lambda _, __, text: self.text(text), OWN_VALUES)
            return type(value)(mapped)
        return value

    def explained(self, value: Any) -> Any:
        """A part of an explanation in the app's words: namespaces, and names where they stand."""
        if isinstance(value, Document | Array):
            return type(value)(map_texts(value.data, self._explained))
        return value

    def _explained(self, around: bytes, name: str, text: str) -> str:
        if name in NAME_FIELDS:
            return self._logical(text).partition(".")[2] or text
        if name == "db" and text == self.scope.database:
            target = find(around, "coll")
            logical = self._logical(target) if isinstance(target, str) else ""
            return logical.partition(".")[0] or self.db
        if name in HOST_FIELDS:
            return self.scope.address
        return self.text(text) if f"{self.scope.database}." in text else text
