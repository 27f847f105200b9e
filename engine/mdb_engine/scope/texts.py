"""Names in texts: what the server says of physical things becomes what the app calls them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mdb_engine.rawbson import Array, Document
from mdb_engine.scope.model import Scope
from mdb_engine.scope.names import unphysical

_SESSION: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12} - [A-Za-z0-9+/]+=* - +- *"
_PHYSICAL: Final = (
    r"(?P<bucket>system\.buckets\.)?"
    r"(?P<name>[a-z0-9][a-z0-9_-]*_(?:@[A-Za-z0-9_%-]+\.)?[A-Za-z_][A-Za-z0-9_.-]*)"
)


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

        Names that the command used go first and longest first: planner errors glue the next
        word to them (`ns=P.shop_tasksTree`, 6.0.5), so a pattern alone would take too much.
        """
        return self._pattern().sub(self._word, text)

    def _pattern(self) -> re.Pattern[str]:
        database = re.escape(self.scope.database)
        known = "|".join(re.escape(n) for n in sorted(self.names, key=len, reverse=True))
        parts = [
            rf"\b{database}\.(?:system\.buckets\.)?(?P<known>{known})" if known else "",
            rf"\b{database}\.tmp\.[A-Za-z0-9_.-]+",
            rf"\b{database}\.{_PHYSICAL}",
            rf"(?<![A-Za-z0-9_.-])(?P<bare>{known})" if known else "",
            f"(?P<session>{_SESSION})",
        ]
        return re.compile("|".join(part for part in parts if part))

    def _word(self, match: re.Match[str]) -> str:
        found = match.groupdict()
        if found["session"]:
            return ""
        if found.get("known"):
            return self.names[found["known"]]
        if found.get("bare"):
            return self.names[found["bare"]].partition(".")[2]
        return self._namespace(found["name"]) or f"{self.db}.?"

    def _namespace(self, physical: str | None) -> str | None:
        if physical is None:
            return None
        if physical in self.names:
            return self.names[physical]
        logical = unphysical(physical, self.scope)
        return None if logical is None else ".".join(logical)

    def exact(self, text: str) -> str:
        """A value that is a physical name, or a namespace, as a whole; other texts stay."""
        bare = text.removeprefix(f"{self.scope.database}.")
        plain = bare.removeprefix("system.buckets.")
        namespace = self._namespace(plain)
        if namespace is None or (bare == text and plain not in self.names):
            return text
        name = namespace if bare != text else namespace.partition(".")[2]
        if plain == bare:
            return name
        db, _, collection = name.rpartition(".") if bare == text else name.partition(".")
        return f"{db}.system.buckets.{collection}".lstrip(".")

    def values(self, value: Any) -> Any:
        """Every string of a value, through `exact`."""
        if isinstance(value, str):
            return self.exact(value)
        if isinstance(value, Document):
            return {name: self.values(item) for name, item in value.items()}
        if isinstance(value, Array):
            return [self.values(item) for item in value]
        return value

    def texts(self, value: Any) -> Any:
        """Every string of a value, through `text`."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Document):
            return {name: self.texts(item) for name, item in value.items()}
        if isinstance(value, Array):
            return [self.texts(item) for item in value]
        return value
